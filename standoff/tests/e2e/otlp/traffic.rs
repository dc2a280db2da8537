//! What is not stuck raises nothing, and leaves nothing behind.

use opentelemetry::Context;
use opentelemetry_otlp::Protocol;
use serde_json::{Value, json};

use super::live::{Live, arrived};
use crate::support::Collector;

/// Who ask service A at the same time, each for a name of its own.
const WORKERS: usize = 8;
/// How often each of them asks.
const ROUNDS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_only_work_raise_nothing() {
    let collector = Collector::start_with_otlp().await;
    let a = Live::start("service-a", Protocol::HttpBinary, &collector.otlp_http());
    let b = Live::start("service-b", Protocol::Grpc, &collector.otlp_grpc());
    let (first, second) = (&a, &b);
    let worker = |number: usize| async move {
        // Every other one goes the other way round.
        let (a, b) = if number.is_multiple_of(2) {
            (first, second)
        } else {
            (second, first)
        };
        for _ in 0..ROUNDS {
            let turn_of_a = a.turn(&format!("A {number}"), &Context::new());
            let call = a.call(&format!("B {number}"), &turn_of_a, None);
            tokio::task::yield_now().await;
            let turn_of_b = b.turn(&format!("B {number}"), &arrived(&call));
            tokio::task::yield_now().await;
            for span in [turn_of_b, call, turn_of_a] {
                span.end();
            }
        }
    };
    futures_util::future::join_all((0..WORKERS).map(worker)).await;
    a.flush().await;
    b.flush().await;
    let stats = collector
        .stats("all calls to have ended", |stats| {
            stats.events_total > 0 && stats.open_calls == 0
        })
        .await;
    assert_eq!(stats.losses, []);
    assert_eq!(collector.alerts().await, []);
}

/// Spans in one request.
const SPANS: u64 = 500;

/// A request with spans that have ended, as a service sends them that tells of no starts.
fn ended(request: u64) -> Value {
    let span = |number: u64| {
        let id = request * SPANS + number + 1;
        // Calls and what serves them, by turns.
        json!({
            "traceId": format!("{:032x}", id.div_ceil(2)),
            "spanId": format!("{id:016x}"),
            "parentSpanId": if id.is_multiple_of(2) { format!("{:016x}", id - 1) } else { String::new() },
            "name": "GET /users/{id}",
            "kind": if id.is_multiple_of(2) { 2 } else { 3 },
            "startTimeUnixNano": "1700000000000000000",
            "endTimeUnixNano": "1700000000100000000",
        })
    };
    let spans: Vec<Value> = (0..SPANS).map(span).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "service-c"}},
            {"key": "service.instance.id", "value": {"stringValue": "service-c-1"}},
        ]},
        "scopeSpans": [{"spans": spans}],
    }]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordinary_finished_spans_raise_nothing_and_leave_nothing_behind() {
    /// Requests of one round.
    const REQUESTS: u64 = 200;
    /// Rounds before which the tables of what has ended of late have about found their size.
    const FIRST_ROUNDS: u64 = 2;
    const ROUNDS: u64 = 4;
    /// What each span may leave behind after that: its id and that of its parent would be as much.
    const BYTES_PER_SPAN: u64 = 16;
    let collector = Collector::start_with_otlp().await;
    let (client, url) = (reqwest::Client::new(), format!("{}/v1/traces", collector.otlp_http()));
    // The same spans again and again, since more of them could be remembered for a minute.
    let requests: Vec<String> = (0..REQUESTS).map(|request| ended(request).to_string()).collect();
    let rounds = async |count: u64| {
        for _ in 0..count {
            for request in &requests {
                let post = client.post(&url).header("content-type", "application/json");
                assert_eq!(post.body(request.clone()).send().await.unwrap().status(), 200);
            }
        }
        collector.memory_bytes()
    };
    let before = rounds(FIRST_ROUNDS).await;
    let after = rounds(ROUNDS).await;
    let most = before + BYTES_PER_SPAN * SPANS * REQUESTS * ROUNDS;
    assert!(after <= most, "{before} bytes at first, {after} bytes in the end");
    let stats = collector.stats("its instance", |stats| stats.instances == 1).await;
    assert_eq!((stats.open_calls, stats.losses.as_slice()), (0, [].as_slice()));
    assert_eq!(collector.all_alerts().await, []);
}
