//! Deadlocks of services that call each other over a real RabbitMQ.

use std::future::Future;
use std::time::Duration;

use ::lapin::options::QueueDeclareOptions;
use ::lapin::types::{AMQPValue, FieldTable};
use ::lapin::{Connection, ConnectionProperties};
use standoff_agent::lapin::{Answer, Consumer, Message, Request, RpcClient};
use xtask::servers;

use super::{Service, compute, fires, knows_calls, stays_silent};
use crate::support::Collector;

/// Longer than any test.
const PATIENCE: Duration = Duration::from_secs(60);
/// Unused queues are deleted after as long: tests that are killed leave nothing behind.
const QUEUE_EXPIRES_MS: i32 = 60_000;

/// A service with a connection and a queue of its own.
struct Connected {
    service: Service,
    connection: Connection,
    client: RpcClient,
    queue: String,
}

impl Connected {
    async fn start(collector: &Collector, broker: &str, name: &str, prefix: &str) -> Self {
        let service = Service::start(collector, name);
        let connection = Connection::connect(broker, ConnectionProperties::default())
            .await
            .unwrap();
        let queue = format!("{prefix}{name}");
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongInt(QUEUE_EXPIRES_MS));
        let channel = connection.create_channel().await.unwrap();
        let durable = QueueDeclareOptions::durable();
        channel
            .queue_declare(queue.as_str().into(), durable, arguments)
            .await
            .unwrap();
        let client = RpcClient::new(&service.spans, &connection).await.unwrap();
        Self {
            service,
            connection,
            client,
            queue,
        }
    }

    /// Handles one request at a time.
    async fn serve<F>(&mut self, handler: impl Fn(Message) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let consumer = Consumer::builder(&self.service.spans, &self.queue);
        let consumer = consumer.start(&self.connection).await.unwrap();
        self.service
            .tasks
            .spawn(async move { drop(consumer.serve(handler).await) });
    }

    /// A handler that asks another queue.
    fn asks(&self, queue: &str) -> impl Fn(Message) -> std::pin::Pin<Box<dyn Future<Output = Answer> + Send>> + use<> {
        let (client, queue) = (self.client.clone(), queue.to_owned());
        move |message| {
            let (client, queue) = (client.clone(), queue.clone());
            Box::pin(async move {
                let request = Request::to(queue).body(message.data).timeout(PATIENCE);
                Answer::Reply(client.call(request).await.unwrap().data)
            })
        }
    }

    /// Asks a queue.
    fn requests(&mut self, queue: &str) {
        let (client, queue) = (self.client.clone(), queue.to_owned());
        self.service.does("request", async move {
            client.call(Request::to(queue).timeout(PATIENCE)).await.unwrap();
        });
    }
}

/// Two services and somebody who asks.
async fn three(collector: &Collector, broker: &str) -> [Connected; 3] {
    // Tests share the broker.
    let prefix = format!("e2e-{:x}:", rand::random::<u64>());
    [
        Connected::start(collector, broker, "prices", &prefix).await,
        Connected::start(collector, broker, "stock", &prefix).await,
        Connected::start(collector, broker, "requester", &prefix).await,
    ]
}

#[tokio::test]
async fn two_services_with_one_consumer_each_that_call_each_other() {
    let broker = servers::amqp().unwrap();
    let collector = Collector::start().await;
    let [mut prices, mut stock, mut requester] = three(&collector, broker.url()).await;
    prices.serve(prices.asks(&stock.queue)).await;
    stock.serve(stock.asks(&prices.queue)).await;
    requester.requests(&prices.queue);
    let (alert, names) = fires(&collector).await;
    assert_eq!(names, [prices.queue.as_str(), &stock.queue]);
    let services: Vec<_> = alert.core.iter().map(|task| task.service.as_str()).collect();
    assert_eq!(services, ["prices", "stock"]);
    assert!(
        alert
            .core
            .iter()
            .flat_map(|task| &task.waits)
            .all(|wait| wait.timeout_at.is_some())
    );
}

#[tokio::test]
async fn queues_before_a_consumer_that_takes_its_time_are_no_deadlock() {
    let broker = servers::amqp().unwrap();
    let collector = Collector::start().await;
    let [mut prices, mut stock, mut requester] = three(&collector, broker.url()).await;
    // Prices asks stock, which takes its time; others wait in the queues.
    prices.serve(prices.asks(&stock.queue)).await;
    stock
        .serve(async |_| {
            compute().await;
            Answer::Ack
        })
        .await;
    for _ in 0..3 {
        requester.requests(&prices.queue);
    }
    knows_calls(&collector, 4).await;
    stays_silent(&collector, &mut requester.service).await;
}
