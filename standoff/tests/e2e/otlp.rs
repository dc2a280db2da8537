//! Services that take part with OpenTelemetry's protocol alone, through the exporters that anybody would use, against a
//! real collector.

mod live;
mod refusals;
mod traffic;

use opentelemetry::Context;
use opentelemetry_otlp::Protocol;
use standoff_protocol::api::{Alert, AlertState, Confirmation, Resolution, Severity};

use crate::agents;
use crate::support::{Collector, Running, free_address, standoff};

use live::{Live, arrived};

/// Settled, since nobody could be asked.
fn assert_settled(alert: &Alert) {
    assert_eq!(alert.summary, "A → B → A");
    assert_eq!(alert.confirmation, Some(Confirmation::Settled));
    assert_eq!(alert.severity, Severity::Warning);
}

/// Two services that wait for each other, until they end, and once more until the first of them gives up.
async fn two_services_deadlock(collector: &Collector, protocol: Protocol, url: &str) {
    let (a, b) = (
        Live::start("service-a", protocol, url),
        Live::start("service-b", protocol, url),
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
    let collector = Collector::start_with_otlp().await;
    two_services_deadlock(&collector, Protocol::Grpc, &collector.otlp_grpc()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_that_speak_otlp_over_http_deadlock() {
    let collector = Collector::start_with_otlp().await;
    two_services_deadlock(&collector, Protocol::HttpBinary, &collector.otlp_http()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_that_speak_otlp_in_json_deadlock() {
    let collector = Collector::start_with_otlp().await;
    two_services_deadlock(&collector, Protocol::HttpJson, &collector.otlp_http()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_that_report_to_a_relay_deadlock() {
    let collector = Collector::start().await;
    let (stream, http, grpc) = (free_address(), free_address(), free_address());
    let options = [
        ("--stream", stream.to_string()),
        ("--otlp-http", http.to_string()),
        ("--otlp-grpc", grpc.to_string()),
        ("--upstream", collector.upstream()),
        ("--http", "off".to_owned()),
    ];
    let args = options.iter().flat_map(|(flag, value)| [*flag, value.as_str()]);
    let relay = Running::start("relay", standoff(&[&["agent"][..], &args.collect::<Vec<_>>()].concat()));
    relay.logs(&["relay listens"]).await;
    two_services_deadlock(&collector, Protocol::Grpc, &format!("http://{grpc}")).await;
}

/// Half of it is asked, and the other half waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_with_the_library_and_one_without_deadlock() {
    let collector = Collector::start_with_otlp().await;
    let a = agents::Service::start("a", &collector.upstream());
    let b = Live::start("b", Protocol::Grpc, &collector.otlp_grpc());
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

/// What a service tells twice is told by the library alone, which can be asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_have_the_library_and_send_otlp_too_are_asked() {
    let collector = Collector::start_with_otlp().await;
    let live = |name| {
        Live::with_the_library(
            name,
            Protocol::HttpBinary,
            &collector.otlp_http(),
            &collector.upstream(),
        )
    };
    let (a, b) = (live("service-a"), live("service-b"));
    let turn_of_a = a.turn("A", &Context::new());
    let call_of_a = a.call("B", &turn_of_a, None);
    let turn_of_b = b.turn("B", &arrived(&call_of_a));
    let call_of_b = b.call("A", &turn_of_b, None);
    let alert = collector.alert(AlertState::Firing).await;
    assert_eq!((&*alert.summary, alert.core_total), ("A → B → A", 2));
    assert_eq!(alert.confirmation, Some(Confirmation::Probed));
    for span in [call_of_b, turn_of_b, call_of_a, turn_of_a] {
        span.end();
    }
    collector.all_over().await;
}
