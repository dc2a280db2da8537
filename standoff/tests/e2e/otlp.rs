//! Services that take part with OpenTelemetry's protocol alone, through the exporters that anybody would use, against a
//! real collector.

mod live;
mod refusals;
mod traffic;

use opentelemetry::Context;
use opentelemetry_otlp::Protocol;
use standoff_protocol::api::{Alert, AlertState, Confirmation, Resolution, Severity};

use crate::agents;
use crate::support::Collector;

use live::{Live, arrived};

/// Settled, since nobody could be asked.
fn assert_settled(alert: &Alert) {
    assert_eq!(alert.summary, "A → B → A");
    assert_eq!(alert.confirmation, Some(Confirmation::Settled));
    assert_eq!(alert.severity, Severity::Warning);
}

/// Two services that wait for each other, until they end, and once more until the first of them gives up.
async fn two_services_deadlock(protocol: Protocol) {
    let collector = Collector::start_with_otlp().await;
    let (a, b) = (
        Live::start("service-a", protocol, &collector),
        Live::start("service-b", protocol, &collector),
    );
    let turn_of_a = a.turn("A", &Context::new());
    let call_of_a = a.call("B", &turn_of_a, None);
    let turn_of_b = b.turn("B", &arrived(&call_of_a));
    let call_of_b = b.call("A", &turn_of_b, None);
    let alert = collector.alert(AlertState::Firing).await;
    assert_settled(&alert);
    let services: Vec<&str> = alert.core.iter().map(|it| &*it.service).collect();
    assert_eq!(services, ["service-a", "service-b"]);
    for span in [call_of_b, turn_of_b, call_of_a, turn_of_a] {
        span.end();
    }
    let over = collector.alert(AlertState::Resolved).await;
    assert_eq!((&over.id, over.resolution), (&alert.id, Some(Resolution::Finished)));

    let turn_of_a = a.turn("A", &Context::new());
    let call_of_a = a.call("B", &turn_of_a, Some(4));
    let turn_of_b = b.turn("B", &arrived(&call_of_a));
    let _call_of_b = b.call("A", &turn_of_b, None);
    let again = collector.alert(AlertState::Firing).await;
    assert_settled(&again);
    assert!(again.fired_at < again.first_timeout_at, "{again:?}");
    assert_eq!((again.fingerprint, again.occurrences), (alert.fingerprint, 2));
    let what = "the timeout to end it, of which nobody has told";
    collector
        .alert_that(what, |it| {
            it.id == again.id && it.resolution == Some(Resolution::Timeout)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_that_speak_otlp_over_grpc_deadlock() {
    two_services_deadlock(Protocol::Grpc).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_that_speak_otlp_over_http_deadlock() {
    two_services_deadlock(Protocol::HttpBinary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_that_speak_otlp_in_json_deadlock() {
    two_services_deadlock(Protocol::HttpJson).await;
}

/// Half of it is asked, and the other half waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_with_the_library_and_one_without_deadlock() {
    let collector = Collector::start_with_otlp().await;
    let a = agents::Service::start("a", &collector.upstream());
    let b = Live::start("b", Protocol::Grpc, &collector);
    let turn_of_a = a.turn("A", &Context::new());
    let call_of_a = a.call("B", &turn_of_a);
    let turn_of_b = b.turn("B", &agents::received(&agents::sent(&call_of_a)));
    let call_of_b = b.call("A", &turn_of_b, None);
    let alert = collector.alert(AlertState::Firing).await;
    assert_settled(&alert);
    call_of_b.end();
    turn_of_b.end();
    collector.all_over().await;
    drop((call_of_a, turn_of_a));
}
