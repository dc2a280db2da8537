//! The broker that the test runner has started, for one test.

use ::lapin::options::QueueDeclareOptions;
use ::lapin::types::{AMQPValue, FieldTable};
use ::lapin::uri::AMQPUri;
use ::lapin::{Channel, Connection, ConnectionProperties};
use standoff_agent::Spans;
use standoff_agent::lapin::{Answer, Consumer, ConsumerBuilder, Message, Request, RpcClient, ServeError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::recorder::{Recorder, recorded};

/// Unused queues are deleted after as long: tests that are killed leave nothing behind.
const QUEUE_EXPIRES_MS: i32 = 60_000;

/// The broker that the test runner has started, with a queue of the test's own.
pub(crate) struct Rabbit {
    pub(crate) connection: Connection,
    pub(crate) channel: Channel,
    pub(crate) queue: String,
    pub(crate) spans: Spans,
    pub(crate) recorder: Recorder,
}

impl Rabbit {
    pub(crate) async fn start() -> Self {
        Self::over(connect(&url()).await).await
    }

    pub(crate) async fn over(connection: Connection) -> Self {
        let channel = connection.create_channel().await.unwrap();
        let queue = format!("test-{:016x}", rand::random::<u64>());
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongInt(QUEUE_EXPIRES_MS));
        let durable = QueueDeclareOptions::durable();
        channel
            .queue_declare(queue.as_str().into(), durable, arguments)
            .await
            .unwrap();
        let (spans, recorder) = recorded();
        Self {
            connection,
            channel,
            queue,
            spans,
            recorder,
        }
    }

    pub(crate) fn consumer(&self) -> ConsumerBuilder {
        Consumer::builder(&self.spans, &self.queue)
    }

    pub(crate) async fn client(&self) -> RpcClient {
        RpcClient::new(&self.spans, &self.connection).await.unwrap()
    }

    pub(crate) fn request(&self, body: &str) -> Request {
        Request::to(&self.queue).body(body)
    }

    /// Consumes until told to stop.
    pub(crate) async fn serve<F>(
        &self,
        prefetch: u16,
        handler: impl Fn(Message) -> F + Send + Sync + 'static,
    ) -> (oneshot::Sender<()>, JoinHandle<Result<(), ServeError>>)
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let consumer = self
            .consumer()
            .prefetch(prefetch)
            .start(&self.connection)
            .await
            .unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        (stop, tokio::spawn(consumer.serve_until(handler, stopped)))
    }

    /// How many messages wait in the queue, delivered to nobody.
    pub(crate) async fn waiting(&self) -> u32 {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = self.queue.as_str().into();
        let declared = self.channel.queue_declare(queue, passive, FieldTable::default()).await;
        declared.unwrap().message_count()
    }
}

fn url() -> String {
    std::env::var("STANDOFF_TEST_AMQP_URL").unwrap_or_else(|_| {
        panic!("STANDOFF_TEST_AMQP_URL is not set: run `cargo xtask test`, which starts the servers")
    })
}

pub(crate) async fn connect(url: &str) -> Connection {
    Connection::connect(url, ConnectionProperties::default()).await.unwrap()
}

/// Stands before the broker until it is aborted, and then cuts the connection without a goodbye.
pub(crate) async fn proxy() -> (String, JoinHandle<()>) {
    let mut uri: AMQPUri = url().parse().unwrap();
    let broker = (uri.authority.host.clone(), uri.authority.port);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    uri.authority.port = listener.local_addr().unwrap().port();
    "127.0.0.1".clone_into(&mut uri.authority.host);
    let passing = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut broker = TcpStream::connect(broker).await.unwrap();
        drop(tokio::io::copy_bidirectional(&mut client, &mut broker).await);
    });
    (uri.to_string(), passing)
}
