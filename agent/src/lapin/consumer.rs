//! Requests that are answered.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use ::lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
    BasicRejectOptions,
};
use ::lapin::types::{FieldTable, ShortString};
use ::lapin::{BasicProperties, Channel, Connection};
use futures_util::{FutureExt, StreamExt};
use opentelemetry::KeyValue;
use standoff_protocol::attributes::semconv;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::headers::{extract, short};
use crate::{OpenSpan, Outcome, Spans, Text};

/// Takes deliveries of one queue, and handles several at once. It contributes as many units to the queue's pool for as
/// long as it consumes.
#[derive(Debug)]
#[must_use = "nothing is handled until `serve` is called"]
pub struct Consumer {
    work: Arc<Work>,
    deliveries: ::lapin::Consumer,
    member: OpenSpan,
}

/// What every delivery needs.
#[derive(Debug)]
struct Work {
    spans: Spans,
    queue: String,
    resource: Text,
    channel: Channel,
    /// The broker delivers no more than there is room for; this is for brokers that do.
    room: Semaphore,
}

/// A consumer about to start. See [`Consumer::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing is consumed until `start` is called"]
pub struct ConsumerBuilder {
    spans: Spans,
    queue: String,
    resource: Option<Text>,
    prefetch: u16,
    tag: String,
    options: BasicConsumeOptions,
    arguments: FieldTable,
}

/// A message that has been delivered.
#[derive(Clone, Debug)]
pub struct Message {
    /// The body.
    pub data: Vec<u8>,
    /// The properties, with the headers.
    pub properties: BasicProperties,
    /// Where it was sent to, which need not be the queue that it came from.
    pub exchange: String,
    /// With which routing key.
    pub routing_key: String,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
}

/// What becomes of a message.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It is done, and this is the reply. Where the sender wants none, none is sent.
    Reply(Vec<u8>),
    /// As [`Answer::Reply`], with properties. The correlation id is the request's.
    ReplyWith(Vec<u8>, Box<BasicProperties>),
    /// It is done.
    Ack,
    /// It is not to be delivered again; where the queue has a dead-letter exchange it goes there.
    Reject,
    /// It is to be delivered again, perhaps to somebody else.
    Requeue,
}

/// Why a consumer has stopped that was not told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The broker has ended the subscription: the queue has been deleted, for instance.
    #[error("the broker has ended the subscription")]
    Cancelled,
    /// The connection or the channel is lost.
    #[error("the connection to RabbitMQ is lost")]
    Lost(#[source] ::lapin::Error),
}

/// Why a consumer did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The queue or the tag has a name that AMQP cannot carry: more than 255 bytes.
    #[error("`{0}` is too long for a name")]
    Name(String),
    /// The broker refuses, or is gone.
    #[error("cannot consume")]
    Amqp(#[from] ::lapin::Error),
}

impl Consumer {
    /// A consumer of a queue that exists, which takes one delivery at a time.
    pub fn builder(spans: &Spans, queue: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder {
            spans: spans.clone(),
            queue: queue.into(),
            resource: None,
            prefetch: 1,
            tag: String::new(),
            options: BasicConsumeOptions::default(),
            arguments: FieldTable::default(),
        }
    }

    /// Handles deliveries until the connection is lost or the subscription ends.
    ///
    /// Each is handled in a task of its own, at most as many at once as the prefetch says, within a handle that occupies a
    /// unit of the queue and answers the call that the headers name. The handle ends before the message is acknowledged. A
    /// handler that panics has its message rejected.
    ///
    /// When this returns, handlers that are running go on to their ends, but whatever they answer is lost with the channel,
    /// and the broker delivers their messages again. Dropping this ends them too.
    ///
    /// # Errors
    ///
    /// Always, since nothing else ends it.
    pub async fn serve<H, F>(self, handler: H) -> Result<(), ServeError>
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.serve_until(handler, std::future::pending()).await
    }

    /// As [`serve`](Consumer::serve), until `stop` is done. Then it takes no further deliveries, awaits the handlers that
    /// are running, and leaves the pool. What has been delivered and not begun goes back to the queue.
    ///
    /// # Errors
    ///
    /// It has ended without being told to.
    pub async fn serve_until<H, F>(mut self, handler: H, stop: impl Future<Output = ()>) -> Result<(), ServeError>
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let mut running = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        let ended = loop {
            // Deliveries are awaited even if there is no room for any, or a lost connection would not be noticed.
            tokio::select! {
                () = &mut stop => break Ok(()),
                Some(_) = running.join_next() => {}
                delivery = self.deliveries.next() => match delivery {
                    Some(Ok(delivery)) => {
                        running.spawn(Arc::clone(&self.work).handle(delivery, Arc::clone(&handler)));
                    }
                    Some(Err(error)) => break Err(ServeError::Lost(error)),
                    None => break Err(ServeError::Cancelled),
                },
            }
        };
        if ended.is_err() {
            running.detach_all();
            self.member.end();
            return ended;
        }
        let cancelled = self
            .work
            .channel
            .basic_cancel(self.deliveries.tag(), BasicCancelOptions::default());
        // What fails here has ended by itself.
        cancelled.await.ok();
        while running.join_next().await.is_some() {}
        self.member.end();
        self.work.channel.close(200, "done".into()).await.ok();
        ended
    }
}

impl ConsumerBuilder {
    /// How many deliveries it handles at once, at least one: the units that it contributes.
    pub fn prefetch(mut self, deliveries: u16) -> Self {
        self.prefetch = deliveries.max(1);
        self
    }

    /// The resource that the pool behind the queue is, if it does not have the queue's name: callers have to name it so too.
    pub fn resource(mut self, name: impl Into<Text>) -> Self {
        self.resource = Some(name.into());
        self
    }

    /// The consumer tag, instead of one that the broker chooses.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = tag.into();
        self
    }

    /// How to consume. Messages are acknowledged whatever it says, or there would be no limit to how many are handled.
    pub fn options(mut self, options: BasicConsumeOptions, arguments: FieldTable) -> Self {
        self.options = BasicConsumeOptions {
            no_ack: false,
            ..options
        };
        self.arguments = arguments;
        self
    }

    /// Begins to consume, on a channel of its own.
    ///
    /// # Errors
    ///
    /// There is no such queue, or the connection is lost or allows no further channel.
    pub async fn start(self, connection: &Connection) -> Result<Consumer, StartError> {
        let queue = short(&self.queue).ok_or_else(|| StartError::Name(self.queue.clone()))?;
        let tag = short(&self.tag).ok_or(StartError::Name(self.tag))?;
        let channel = connection.create_channel().await?;
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await?;
        let resource = self.resource.unwrap_or_else(|| (&self.queue).into());
        // Before the first delivery, which may come at once, so that nobody occupies a unit that is not there yet.
        let member = self.spans.member(&resource).units(self.prefetch.into()).start();
        let deliveries = channel.basic_consume(queue, tag, self.options, self.arguments).await?;
        Ok(Consumer {
            work: Arc::new(Work {
                spans: self.spans,
                queue: self.queue,
                resource,
                channel,
                room: Semaphore::new(self.prefetch.into()),
            }),
            deliveries,
            member,
        })
    }
}

impl Work {
    async fn handle<H, F>(self: Arc<Self>, mut delivery: ::lapin::message::Delivery, handler: Arc<H>)
    where
        H: Fn(Message) -> F,
        F: Future<Output = Answer>,
    {
        let message = Message {
            data: std::mem::take(&mut delivery.data),
            properties: delivery.properties.clone(),
            exchange: delivery.exchange.to_string(),
            routing_key: delivery.routing_key.to_string(),
            redelivered: delivery.redelivered,
        };
        // It is never closed.
        let room = self.room.acquire().await.ok();
        let handle = self.begin(&delivery.properties);
        let handled = handle
            .run(AssertUnwindSafe(async { handler(message).await }).catch_unwind())
            .await;
        let settled = match handled {
            Ok(Answer::Reply(body)) => {
                self.reply(&delivery.properties, &body, BasicProperties::default())
                    .await
            }
            Ok(Answer::ReplyWith(body, properties)) => self.reply(&delivery.properties, &body, *properties).await,
            Ok(Answer::Ack) => Settled::Done,
            Ok(Answer::Reject) => Settled::Refused,
            Ok(Answer::Requeue) => Settled::Again,
            Err(_panic) => Settled::Failed,
        };
        handle.end_with(match settled {
            Settled::Done | Settled::Refused | Settled::Again => Outcome::Finished,
            Settled::Failed => Outcome::Error,
        });
        drop(room);
        let acker = &delivery.acker;
        let told = match settled {
            Settled::Done => acker.ack(BasicAckOptions::default()).await,
            Settled::Refused | Settled::Failed => acker.reject(BasicRejectOptions { requeue: false }).await,
            Settled::Again => {
                let requeue = BasicNackOptions {
                    requeue: true,
                    multiple: false,
                };
                acker.nack(requeue).await
            }
        };
        // Where this fails the channel is gone, and the message is back in its queue.
        drop(told);
    }

    fn begin(&self, properties: &BasicProperties) -> OpenSpan {
        let mut handle = self
            .spans
            .handle(format!("process {}", self.queue))
            .resource(&self.resource)
            .parent(&extract(properties))
            .attribute(KeyValue::new("messaging.system", "rabbitmq"))
            .attribute(KeyValue::new("messaging.operation.name", "process"))
            .attribute(KeyValue::new("messaging.operation.type", "process"))
            .attribute(KeyValue::new(semconv::MESSAGING_DESTINATION_NAME, self.queue.clone()));
        if let Some(correlation_id) = properties.correlation_id() {
            handle = handle.conversation(correlation_id.to_string());
        }
        handle.start()
    }

    async fn reply(&self, request: &BasicProperties, body: &[u8], properties: BasicProperties) -> Settled {
        let Some(reply_to) = request.reply_to().clone() else {
            return Settled::Done;
        };
        let properties = match request.correlation_id().clone() {
            Some(correlation_id) => properties.with_correlation_id(correlation_id),
            None => properties,
        };
        let (exchange, options) = (ShortString::from(""), BasicPublishOptions::default());
        let sent = self
            .channel
            .basic_publish(exchange, reply_to, options, body, properties)
            .await;
        // Only a lost channel fails it, and then the message is delivered again.
        sent.map_or(Settled::Failed, |_| Settled::Done)
    }
}

/// What the broker is to be told of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    Done,
    Refused,
    Again,
    /// The handler has panicked, or its reply could not be sent.
    Failed,
}
