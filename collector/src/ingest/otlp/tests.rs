use std::net::{Ipv4Addr, SocketAddr};

use standoff_protocol::api::LossCause;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::detector::Input;
use crate::owner::Outbox;

/// Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A collector that takes OTLP over HTTP, and whose owner is played by the test.
struct Served {
    address: SocketAddr,
    inbox: mpsc::Receiver<Message>,
    shutdown: CancellationToken,
    /// As long as they are here, the owner wants the instances.
    outboxes: Vec<Outbox>,
    /// What the owner was told was lost.
    lost: Vec<(LossCause, u64)>,
}

impl Served {
    async fn start() -> Self {
        let (owner, inbox) = Owner::of_nobody();
        let shutdown = CancellationToken::new();
        let otlp = Otlp::new(owner, Connections::default(), Clock::start(), &Times::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (receiver, stop) = (otlp.receiver(), shutdown.clone());
        tokio::spawn(async move { receiver.serve_http(listener, stop).await });
        tokio::spawn(otlp.run(shutdown.clone()));
        Self {
            address,
            inbox,
            shutdown,
            outboxes: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// Tells that a span is open. Returns the status of the answer.
    async fn tell_of(&self, span: u64) -> u16 {
        let body = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[
                {{"traceId":"000102030405060708090a0b0c0d0e0f","spanId":"{span:016x}","kind":3}}]}}]}}]}}"#
        );
        let request = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// What the owner is told next, but for losses.
    async fn next(&mut self) -> Input {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.inbox.recv()).await;
            match next.unwrap().unwrap() {
                Message::InTurn {
                    input: Input::Lost { cause, count },
                    ..
                } => self.lost.push((cause, count)),
                Message::InTurn { input, .. } => return input,
                Message::Connected { outbox, .. } => self.outboxes.push(outbox),
                other @ (Message::Input(_)
                | Message::Unreadable { .. }
                | Message::List { .. }
                | Message::Get { .. }
                | Message::Listen { .. }
                | Message::IsReady { .. }) => panic!("{other:?}"),
            }
        }
    }

    /// The next spans that the owner is told of, so many.
    async fn spans(&mut self, count: usize) -> Vec<u64> {
        let mut spans = Vec::new();
        while spans.len() < count {
            if let Input::Batch { batch, .. } = self.next().await {
                spans.extend(batch.started.iter().map(|it| it.span_id));
            }
        }
        spans
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_owner_takes_nothing_senders_are_told_to_come_again_and_nothing_is_dropped() {
    let mut served = Served::start().await;
    let mut accepted = Vec::new();
    let refused = loop {
        let span = accepted.len() as u64 + 1;
        match served.tell_of(span).await {
            200 => accepted.push(span),
            status => break status,
        }
        assert!(accepted.len() < 10 * QUEUE_MAX, "nobody is ever refused");
    };
    assert_eq!(refused, 503);
    assert!(accepted.len() >= QUEUE_MAX, "{}", accepted.len());
    assert_eq!(served.spans(accepted.len()).await, accepted);
    // It says so, and there is room again.
    while served.lost.is_empty() {
        served.next().await;
    }
    assert_eq!(served.lost, [(LossCause::OtlpRequests, 1)]);
    assert_eq!(served.tell_of(u64::MAX).await, 200);
    assert_eq!(served.spans(1).await, [u64::MAX]);
    served.shutdown.cancel();
}
