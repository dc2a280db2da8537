//! The receiver beyond what OTLP asks for: it stops when told to, and counts what it does.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail like tests")]

use standoff_otlp::{Counts, Receiver, Settings};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[path = "support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests of the checklist")]
mod support;

use support::{DEADLINE, framed, json_span, open_span, request, serve};

#[tokio::test]
async fn it_stops_when_told_to_although_somebody_is_connected() {
    let (queue, _batches) = mpsc::channel(1);
    let receiver = Receiver::new(Settings::default(), queue);
    let stop = CancellationToken::new();
    for grpc in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (serving, token) = (receiver.clone(), stop.child_token());
        let stop = token.clone();
        let served = tokio::spawn(async move {
            if grpc {
                serving.serve_grpc(listener, token).await
            } else {
                serving.serve_http(listener, token).await
            }
        });
        let idle = TcpStream::connect(address).await.unwrap();
        stop.cancel();
        tokio::time::timeout(DEADLINE, served).await.unwrap().unwrap().unwrap();
        drop(idle);
    }
}

#[tokio::test]
async fn it_counts_what_it_takes_and_refuses() {
    let mut served = serve().await;
    let ended = json_span(r#""endTimeUnixNano":"1","kind":2"#);
    assert_eq!(served.post_json(ended).await.status, 200);
    let mut rejected = open_span();
    rejected.trace_id.clear();
    let spans = request(vec![open_span(), rejected]);
    served.export("identity", framed(false, &spans)).await;
    served.post_json("nonsense").await;
    let counts = served.receiver.counts();
    assert!(counts.memory_bytes > 0, "what waits in the queue is counted");
    served.batch().await;
    served.batch().await;
    assert_eq!(
        served.receiver.counts(),
        Counts {
            accepted: 2,
            refused: 0,
            invalid: 1,
            spans_started: 1,
            spans_finished: 1,
            spans_rejected: 1,
            memory_bytes: 0,
        }
    );
}

#[tokio::test]
async fn long_requests_are_decoded_elsewhere_and_mean_the_same() {
    let mut served = serve().await;
    let spans: Vec<_> = (1..20_000_u64)
        .map(|n| {
            let mut span = open_span();
            span.span_id = n.to_be_bytes().to_vec();
            span.end_time_unix_nano = n % 2;
            span
        })
        .collect();
    assert_eq!(served.post_protobuf(request(spans)).await.body, "");
    let batch = served.batch().await;
    assert_eq!((batch.started.len(), batch.finished.len()), (9_999, 10_000));
}

#[tokio::test]
async fn ordinary_logs_and_metrics_are_accepted_and_say_nothing() {
    let mut served = serve().await;
    let record = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hello"},"attributes":[
        {"key":"partial.eve","value":{"stringValue":"heartbeat"}}]}]}]}]}"#;
    let json = [("content-type", "application/json")];
    assert_eq!(served.post("/v1/logs", &json, record).await.body, "{}");
    assert_eq!(
        served
            .post("/v1/metrics", &json, r#"{"resourceMetrics":[{}]}"#)
            .await
            .body,
        "{}"
    );
    assert!(served.batches.try_recv().is_err(), "nobody is told");
    assert_eq!(served.receiver.counts().accepted, 2);
}
