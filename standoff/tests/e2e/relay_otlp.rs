//! Services that speak OTLP only, behind real relays: nobody can be asked, and what relay and collector make of it must
//! hold nevertheless.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use standoff_protocol::api::{Alert, AlertState, Confirmation, Resolution, Severity};

use crate::relay::Relay;
use crate::support::Collector;

/// Kinds of spans, by OTLP's numbers.
const INTERNAL: u32 = 1;
const SERVER: u32 = 2;
const CLIENT: u32 = 3;

/// A span that is open, or has ended.
#[derive(Clone, Copy)]
struct Span {
    id: u64,
    parent: u64,
    kind: u32,
    /// An attribute.
    names: Option<(&'static str, &'static str)>,
    has_ended: bool,
}

fn span(id: u64, parent: u64, kind: u32) -> Span {
    Span {
        id,
        parent,
        kind,
        names: None,
        has_ended: false,
    }
}

fn handle(id: u64, parent: u64, resource: &'static str) -> Span {
    Span {
        names: Some(("standoff.resource", resource)),
        ..span(id, parent, SERVER)
    }
}

fn call(id: u64, parent: u64, target: &'static str) -> Span {
    Span {
        names: Some(("standoff.target", target)),
        ..span(id, parent, CLIENT)
    }
}

fn ended(span: Span) -> Span {
    Span {
        has_ended: true,
        ..span
    }
}

/// A service, and what it exports where.
struct Foreign<'a> {
    name: &'static str,
    relay: &'a Relay,
}

impl Foreign<'_> {
    async fn sends(&self, spans: &[Span]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let mut json = String::new();
        for span in spans {
            let end = if span.has_ended { now } else { 0 };
            let parent = if span.parent == 0 {
                String::new()
            } else {
                format!("{:016x}", span.parent)
            };
            let attributes = span.names.map_or(String::new(), |(key, name)| {
                format!(r#"{{"key":"{key}","value":{{"stringValue":"{name}"}}}}"#)
            });
            write!(
                json,
                r#"{}{{"traceId":"{:032x}","spanId":"{:016x}","parentSpanId":"{parent}","name":"span","kind":{},
                "startTimeUnixNano":"{now}","endTimeUnixNano":"{end}","attributes":[{attributes}]}}"#,
                if json.is_empty() { "" } else { "," },
                7,
                span.id,
                span.kind,
            )
            .unwrap();
        }
        let name = self.name;
        let body = format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[
                {{"key":"service.name","value":{{"stringValue":"{name}"}}}},
                {{"key":"service.instance.id","value":{{"stringValue":"{name}-1"}}}}]}},
                "scopeSpans":[{{"spans":[{json}]}}]}}]}}"#
        );
        let request = reqwest::Client::new().post(self.relay.otlp_url());
        let request = request.header("content-type", "application/json").body(body);
        request.send().await.unwrap().error_for_status().unwrap();
    }
}

const TURN_OF_A: u64 = 1;
const CALL_OF_A: u64 = 2;
const MESSAGE: u64 = 3;
const TURN_OF_B: u64 = 4;
const CALL_OF_B: u64 = 5;

/// A turn of A calls B, by a message whose span has ended: only that leads from the call to what answers it.
fn half_of_a() -> Vec<Span> {
    vec![
        handle(TURN_OF_A, 0, "A"),
        span(CALL_OF_A, TURN_OF_A, CLIENT),
        ended(span(MESSAGE, CALL_OF_A, INTERNAL)),
    ]
}

/// B's turn, which that message began, needs A's next one, which there will never be.
fn half_of_b() -> Vec<Span> {
    vec![handle(TURN_OF_B, MESSAGE, "B"), call(CALL_OF_B, TURN_OF_B, "A")]
}

/// How it goes on once somebody has given up.
fn over(half: Vec<Span>) -> Vec<Span> {
    half.into_iter().map(ended).collect()
}

fn assert_settled(alert: &Alert) {
    assert_eq!(alert.summary, "A → B → A");
    assert_eq!(
        (alert.confirmation, alert.severity),
        (Some(Confirmation::Settled), Severity::Warning)
    );
}

fn a(relay: &Relay) -> Foreign<'_> {
    Foreign { name: "a", relay }
}

fn b(relay: &Relay) -> Foreign<'_> {
    Foreign { name: "b", relay }
}

#[tokio::test]
async fn a_deadlock_that_only_otlp_tells_of_is_found_through_a_relay_and_resolves() {
    let collector = Collector::start().await;
    let relay = Relay::start(&[&collector]).await;
    a(&relay).sends(&half_of_a()).await;
    b(&relay).sends(&half_of_b()).await;
    assert_settled(&collector.alert(AlertState::Firing).await);
    relay
        .status("both sources, and their open spans", |status| {
            status["otlp"]["sources"] == 2 && status["otlp"]["open_spans"] == 4 && status["ended_total"] == 1
        })
        .await;
    b(&relay).sends(&over(half_of_b())).await;
    let resolved = collector.alert(AlertState::Resolved).await;
    assert_eq!(resolved.resolution, Some(Resolution::Finished));
    a(&relay).sends(&over(half_of_a())).await;
    collector
        .stats("nothing to be open", |stats| stats.open_calls == 0)
        .await;
    assert_eq!(collector.alerts().await.len(), 1);
}

#[tokio::test]
async fn a_deadlock_across_two_hosts_that_only_otlp_tells_of_is_found() {
    let collector = Collector::start().await;
    let (first, second) = (Relay::start(&[&collector]).await, Relay::start(&[&collector]).await);
    b(&second).sends(&half_of_b()).await;
    a(&first).sends(&half_of_a()).await;
    assert_settled(&collector.alert(AlertState::Firing).await);
    b(&second).sends(&over(half_of_b())).await;
    collector.all_over().await;
}

/// A call that is answered is no reason for an alert, also where nothing was ever said of the handler but its end.
#[tokio::test]
async fn what_was_answered_by_a_handler_that_was_never_seen_open_is_no_deadlock() {
    let collector = Collector::start().await;
    let relay = Relay::start(&[&collector]).await;
    // A's call needs B, which is busy with a turn that needs A, but was answered by an earlier turn of B.
    let calls_b = call(CALL_OF_A, TURN_OF_A, "B");
    a(&relay).sends(&[handle(TURN_OF_A, 0, "A"), calls_b]).await;
    b(&relay)
        .sends(&[
            ended(handle(9, CALL_OF_A, "B")),
            handle(TURN_OF_B, 0, "B"),
            call(CALL_OF_B, TURN_OF_B, "A"),
        ])
        .await;
    // The same again, in which it was not.
    let others = [
        handle(11, 0, "C"),
        call(12, 11, "D"),
        handle(14, 0, "D"),
        call(15, 14, "C"),
    ];
    a(&relay).sends(&others).await;
    let alert = collector.alert(AlertState::Firing).await;
    assert_eq!(alert.summary, "C → D → C");
    assert_eq!(collector.alerts().await.len(), 1);
}

#[tokio::test]
async fn a_collector_that_starts_again_behind_a_relay_finds_it_again_as_the_same() {
    let mut collector = Collector::start().await;
    let relay = Relay::start(&[&collector]).await;
    a(&relay).sends(&half_of_a()).await;
    b(&relay).sends(&half_of_b()).await;
    let alert = collector.alert(AlertState::Firing).await;
    collector.kill();
    collector.start_again().await;
    let again = collector.alert(AlertState::Firing).await;
    assert_settled(&again);
    assert_eq!(again.id, alert.id);
    b(&relay).sends(&over(half_of_b())).await;
    collector.all_over().await;
}

/// What the relay had heard is as lost as the relay: unknown, and so not deadlocked.
#[tokio::test]
async fn a_relay_that_is_killed_and_started_again_invents_nothing() {
    let collector = Collector::start().await;
    let mut relay = Relay::start(&[&collector]).await;
    a(&relay).sends(&half_of_a()).await;
    collector
        .stats("the call to be known", |stats| stats.open_calls == 1)
        .await;
    relay.process.kill();
    relay.start_again().await;
    b(&relay).sends(&half_of_b()).await;
    collector
        .stats("A to be silent, as far as anybody knows", |stats| {
            stats.instances_silent == 1 && stats.open_calls == 2
        })
        .await;
    // A deadlock of which all is known is found meanwhile, and nothing else is.
    let others = [
        handle(11, 0, "C"),
        call(12, 11, "D"),
        handle(14, 0, "D"),
        call(15, 14, "C"),
    ];
    a(&relay).sends(&others).await;
    let alert = collector.alert(AlertState::Firing).await;
    assert_eq!(alert.summary, "C → D → C");
    assert_eq!(collector.alerts().await.len(), 1);
}
