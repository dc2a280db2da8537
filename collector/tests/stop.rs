//! A collector ends when it is told to, whatever those who are connected to it do or leave undone.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use standoff_collector::Collector;
use standoff_protocol::stream::FromInstance;
use standoff_protocol::stream::wait_stream_client::WaitStreamClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::started;

/// Far more than it takes, far less than for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// HTTP/2's preface and empty settings. Who says no more than that answers nothing from then on.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Somebody who says this, hears the beginning of an answer, and does nothing more.
async fn peer(address: SocketAddr, says: &[u8]) -> TcpStream {
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(says).await.unwrap();
    assert!(peer.read(&mut [0; 16]).await.unwrap() > 0);
    peer
}

async fn stops(collector: Collector) {
    tokio::time::timeout(PATIENCE, collector.stop())
        .await
        .expect("the collector stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stay_do_not_keep_it() {
    let collector = started().await;
    let events = peer(collector.http(), b"GET /api/v1/events HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let idle = peer(collector.http(), b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let half = b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\nGET /readyz HTTP/1.1\r\nho";
    let half = peer(collector.http(), half).await;
    stops(collector).await;
    drop((events, idle, half));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_whose_process_is_stopped_does_not_keep_it() {
    let collector = started().await;
    let frozen = peer(collector.stream(), PREFACE).await;
    stops(collector).await;
    drop(frozen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_never_introduces_itself_does_not_keep_it() {
    let collector = started().await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", collector.stream())).unwrap();
    let mut client = WaitStreamClient::new(endpoint.connect().await.unwrap());
    let silent = tokio::spawn(async move { client.connect(tokio_stream::pending::<FromInstance>()).await });
    stops(collector).await;
    silent.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exporters_that_stay_do_not_keep_it() {
    let collector = started().await;
    let grpc = peer(collector.otlp_grpc().unwrap(), PREFACE).await;
    let http = collector.otlp_http().unwrap();
    let half =
        b"POST /v1/metrics HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}\
        POST /v1/traces HTTP/1.1\r\nho";
    let half = peer(http, half).await;
    stops(collector).await;
    drop((grpc, half));
}
