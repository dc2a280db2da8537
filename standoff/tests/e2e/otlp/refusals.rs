//! What is not taken is said: to the sender, in the evidence, and to whoever starts a collector.

use std::net::TcpListener;

use serde_json::json;
use standoff_protocol::api::{Loss, LossCause};

use crate::support::{Collector, Running, free_address, standoff};

#[tokio::test]
async fn rejected_spans_are_told_to_their_sender_and_in_the_evidence() {
    let collector = Collector::start_with_otlp().await;
    let (client, url) = (reqwest::Client::new(), format!("{}/v1/traces", collector.otlp_http()));
    let span =
        |id: &str| json!({"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": id, "kind": 3, "name": "ask"});
    let request = json!({"resourceSpans": [{"scopeSpans": [{"spans": [
        span("00f067aa0ba902b7"), span("00f067aa0ba902"), span("0000000000000000"),
    ]}]}]});
    let answer = client.post(&url).json(&request).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "2", "{answer}");
    let unreadable = client.post(&url).header("content-type", "application/json").body("{");
    assert_eq!(unreadable.send().await.unwrap().status(), 400);
    let stats = collector
        .stats("what was rejected", |stats| {
            stats.events_lost == 3 && stats.open_calls == 1
        })
        .await;
    let rejected = Loss {
        cause: LossCause::OtlpRejected,
        count: 3,
        instances: vec![],
    };
    assert_eq!(stats.losses, [rejected]);
}

#[tokio::test]
async fn a_port_of_otlp_that_is_taken_is_a_mistake_that_says_what_to_do() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, what) in [("--otlp-grpc", "OTLP over gRPC"), ("--otlp-http", "OTLP over HTTP")] {
        for part in ["collector", "agent"] {
            let (http, stream) = (free_address().to_string(), free_address().to_string());
            let args = [part, "--http", &http, "--stream", &stream, flag, &address];
            let mut process = Running::start(part, standoff(&args));
            assert_eq!(process.ends().await.code(), Some(2));
            let expected = format!(
                "standoff: cannot listen on {address} ({what}); set another address with {flag}, or `off`: Address already in use"
            );
            assert!(process.log().contains(&expected), "{}", process.log());
        }
    }
}
