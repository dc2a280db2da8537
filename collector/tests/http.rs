//! The HTTP API as any client sees it.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use standoff_collector::Collector;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::started;

/// The whole answer to a request.
async fn answer(collector: &Collector, method: &str, path: &str) -> String {
    let mut connection = TcpStream::connect(collector.http()).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_collector_without_alerts_says_so() {
    let collector = started().await;
    assert!(answer(&collector, "GET", "/livez").await.starts_with("HTTP/1.1 200 "));
    assert!(answer(&collector, "GET", "/readyz").await.starts_with("HTTP/1.1 200 "));
    let alerts = answer(&collector, "GET", "/api/v1/alerts?state=all&page_size=5&page_token=").await;
    assert!(alerts.starts_with("HTTP/1.1 200 "), "{alerts}");
    assert!(alerts.ends_with(r#"{"alerts":[],"next_page_token":""}"#), "{alerts}");
    collector.stop().await;
}

#[tokio::test]
async fn every_error_is_a_problem_in_json() {
    let collector = started().await;
    let cases = [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/alerts/0123456789abcdef", 404),
        ("GET", "/api/v1/alerts/%FF", 400),
        ("GET", "/api/v1/alerts?state=burning", 400),
        ("GET", "/api/v1/alerts?state=all&state=all", 400),
        ("GET", "/api/v1/alerts?page_size=0", 400),
        ("GET", "/api/v1/alerts?page_size=-1", 400),
        ("GET", "/api/v1/alerts?page_token=nonsense", 400),
        ("POST", "/api/v1/alerts", 405),
    ];
    for (method, path, status) in cases {
        let answer = answer(&collector, method, path).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{method} {path}: {answer}"
        );
        assert!(
            answer.contains("content-type: application/problem+json"),
            "{method} {path}: {answer}"
        );
        assert!(
            answer.contains(&format!(r#""status":{status}"#)),
            "{method} {path}: {answer}"
        );
    }
    collector.stop().await;
}
