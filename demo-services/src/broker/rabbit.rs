//! RabbitMQ as the broker.
//!
//! A task keeps one connection open and makes a new one, with capped back-off, when it is lost. Everything that hangs on
//! a connection is in its [`Session`]: when the session ends, the calls that await a reply through it end too, since
//! their replies were addressed to it, while consumers subscribe again through the next one.
//!
//! Replies use RabbitMQ's direct reply-to: no queue to declare and none to clean up, and a reply to a caller that has
//! gone is dropped by the broker.
//!
//! Queues are durable, so that they need no feature that RabbitMQ 4 deprecates, but messages are not: nobody waits for
//! them any longer when a broker has started anew. Unused queues expire.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions, BasicRejectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use thiserror::Error;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::pending::Pending;
use super::{Broker, BrokerError, Consumer, Delivery, Headers, Request, Settle};
use crate::backoff::Backoff;
use crate::integer;

/// RabbitMQ's name for "reply on the channel that the request came from".
const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// How long one attempt to connect may take: a broker that boots accepts connections before it answers them.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a goodbye may take before we leave without.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// A broker that is silent this long is taken to be gone, unless the URL says otherwise. RabbitMQ's advice is 5 to 20 s.
const HEARTBEAT_S: u16 = 5;
/// A queue that nobody has used for ten minutes is deleted: demos and tests leave nothing behind.
const QUEUE_EXPIRES_MS: i32 = 600_000;

/// The URL is none of an AMQP server.
#[derive(Debug, Error)]
#[error("not an AMQP URL, such as amqp://guest:guest@127.0.0.1:5672/%2f: {reason}")]
pub struct InvalidAmqpUrl {
    reason: String,
}

/// A RabbitMQ server, as one service instance sees it.
#[derive(Debug)]
pub struct RabbitBroker {
    /// Before each queue's name, so that systems that share a server do not share queues.
    prefix: String,
    /// The session now open; `None` while there is none. Its sender is dropped when the broker is closed.
    session: watch::Receiver<Option<Arc<Session>>>,
    closed: CancellationToken,
    in_use: Arc<DropGuard>,
}

/// What lives as long as one connection.
#[derive(Debug)]
struct Session {
    connection: Connection,
    /// Requests leave and replies arrive through this one.
    calls: Channel,
    pending: Arc<Pending>,
    /// Queues known to exist, as of this connection.
    declared: Mutex<HashSet<String>>,
}

impl RabbitBroker {
    /// Starts to connect to `url`, and goes on until [`Broker::close`], or until this and all its consumers have been
    /// dropped. `prefix` goes before each queue's name. To be called within a Tokio runtime.
    pub fn connect(url: &str, prefix: &str) -> Result<Self, InvalidAmqpUrl> {
        let mut uri: AMQPUri = url.parse().map_err(|reason| InvalidAmqpUrl { reason })?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
        let (sender, session) = watch::channel(None);
        let closed = CancellationToken::new();
        tokio::spawn(stay_connected(uri, sender, closed.clone()));
        Ok(Self {
            prefix: prefix.to_owned(),
            session,
            in_use: Arc::new(closed.clone().drop_guard()),
            closed,
        })
    }

    /// Waits until there is a connection, or never will be.
    pub async fn connected(&self) {
        current(&self.session).await.ok();
    }

    fn queue_name(&self, queue: &str) -> String {
        format!("{}{queue}", self.prefix)
    }
}

#[async_trait]
impl Broker for RabbitBroker {
    async fn call(&self, queue: &str, request: Request) -> Result<Vec<u8>, BrokerError> {
        let session = current(&self.session).await?;
        let expected = session.pending.expect(&request.correlation_id)?;
        session.send(&self.queue_name(queue), request).await?;
        expected.reply().await
    }

    async fn consume(&self, queue: &str) -> Result<Box<dyn Consumer>, BrokerError> {
        let mut consumer = RabbitConsumer {
            queue: self.queue_name(queue),
            session: self.session.clone(),
            subscription: None,
            _in_use: self.in_use.clone(),
        };
        consumer.subscription().await?;
        Ok(Box::new(consumer))
    }

    async fn close(&self) {
        self.closed.cancel();
        let mut session = self.session.clone();
        // Ends with an error when the sender is dropped, that is when the connection has been closed.
        while session.changed().await.is_ok() {}
    }
}

/// The open session, or the next one to be.
async fn current(session: &watch::Receiver<Option<Arc<Session>>>) -> Result<Arc<Session>, BrokerError> {
    let mut session = session.clone();
    let open = session
        .wait_for(Option::is_some)
        .await
        .map_err(|_| BrokerError::Closed)?;
    open.clone().ok_or(BrokerError::Closed)
}

async fn stay_connected(uri: AMQPUri, sessions: watch::Sender<Option<Arc<Session>>>, closed: CancellationToken) {
    let mut backoff = Backoff::reconnect();
    let mut failed_before = false;
    let server = format!("{}:{}", uri.authority.host, uri.authority.port);
    loop {
        let opened = tokio::select! {
            () = closed.cancelled() => return,
            opened = tokio::time::timeout(CONNECT_TIMEOUT, Session::open(&uri)) => opened,
        };
        match opened {
            Ok(Ok((session, replies))) => {
                tracing::info!(server, "connected to RabbitMQ");
                backoff.reset();
                failed_before = false;
                sessions.send_replace(Some(session.clone()));
                tokio::select! {
                    () = closed.cancelled() => {
                        sessions.send_replace(None);
                        session.pending.close();
                        let goodbye = session.connection.close(200, "closed".into());
                        if !matches!(tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await, Ok(Ok(()))) {
                            tracing::debug!("RabbitMQ did not answer the goodbye");
                        }
                        return;
                    }
                    () = route_replies(&session.pending, replies) => {}
                }
                sessions.send_replace(None);
                session.pending.close();
                tracing::warn!(server, "lost the connection to RabbitMQ; trying again");
            }
            // One warning for each time it goes away is enough.
            Ok(Err(error)) if !failed_before => {
                failed_before = true;
                tracing::warn!(server, %error, "cannot connect to RabbitMQ; trying again");
            }
            Err(_) if !failed_before => {
                failed_before = true;
                tracing::warn!(server, "RabbitMQ does not answer; trying again");
            }
            Ok(Err(error)) => tracing::debug!(server, %error, "cannot connect to RabbitMQ"),
            Err(_) => tracing::debug!(server, "RabbitMQ does not answer"),
        }
        tokio::select! {
            () = closed.cancelled() => return,
            () = backoff.wait() => {}
        }
    }
}

/// Hands replies to their callers until the connection is lost.
async fn route_replies(pending: &Pending, mut replies: lapin::Consumer) {
    while let Some(Ok(reply)) = replies.next().await {
        match reply.properties.correlation_id() {
            Some(correlation_id) => pending.answer(correlation_id.as_str(), reply.data),
            None => tracing::debug!("a reply without correlation id"),
        }
    }
}

impl Session {
    async fn open(uri: &AMQPUri) -> Result<(Arc<Self>, lapin::Consumer), lapin::Error> {
        let connection = Connection::connect_uri(uri.clone(), ConnectionProperties::default()).await?;
        let calls = connection.create_channel().await?;
        let no_ack = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let replies = calls
            .basic_consume(DIRECT_REPLY_TO.into(), "".into(), no_ack, FieldTable::default())
            .await?;
        let session = Self {
            connection,
            calls,
            pending: Pending::new(),
            declared: Mutex::default(),
        };
        Ok((Arc::new(session), replies))
    }

    async fn send(&self, queue: &str, request: Request) -> Result<(), BrokerError> {
        self.declare_once(queue).await.map_err(BrokerError::Amqp)?;
        let headers: FieldTable = request
            .headers
            .iter()
            .map(|(key, value)| (key.as_str().into(), AMQPValue::LongString(value.as_str().into())))
            .collect::<BTreeMap<_, _>>()
            .into();
        let properties = BasicProperties::default()
            .with_content_type(integer::CONTENT_TYPE.into())
            .with_correlation_id(request.correlation_id.as_str().into())
            .with_reply_to(DIRECT_REPLY_TO.into())
            .with_expiration(request.expires_after.as_millis().max(1).to_string().into())
            .with_headers(headers);
        publish(&self.calls, queue, &request.body, properties).await
    }

    /// Declares a queue the first time this connection uses it, so that requests wait for a service that is yet to
    /// start. On a channel of its own, because a refusal closes the channel.
    async fn declare_once(&self, queue: &str) -> Result<(), lapin::Error> {
        // Held while declaring, so that thousands of first requests open one channel and not as many.
        let mut declared = self.declared.lock().await;
        if declared.contains(queue) {
            return Ok(());
        }
        let channel = self.connection.create_channel().await?;
        declare(&channel, queue).await?;
        declared.insert(queue.to_owned());
        Ok(())
    }

    async fn subscribe(&self, queue: &str) -> Result<Subscription, lapin::Error> {
        let channel = self.connection.create_channel().await?;
        declare(&channel, queue).await?;
        channel.basic_qos(1, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let deliveries = channel
            .basic_consume(queue.into(), "".into(), options, FieldTable::default())
            .await?;
        Ok(Subscription { channel, deliveries })
    }
}

async fn declare(channel: &Channel, queue: &str) -> Result<(), lapin::Error> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-expires".into(), AMQPValue::LongInt(QUEUE_EXPIRES_MS));
    channel
        .queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)
        .await?;
    Ok(())
}

async fn publish(channel: &Channel, queue: &str, body: &[u8], properties: BasicProperties) -> Result<(), BrokerError> {
    // Without publisher confirms: the reply confirms a request, and an unanswered caller has a timeout.
    let options = BasicPublishOptions::default();
    channel
        .basic_publish("".into(), queue.into(), options, body, properties)
        .await
        .map_err(BrokerError::Amqp)?;
    Ok(())
}

struct RabbitConsumer {
    queue: String,
    session: watch::Receiver<Option<Arc<Session>>>,
    subscription: Option<Subscription>,
    _in_use: Arc<DropGuard>,
}

/// What makes us a consumer on one connection. Dropping it closes the channel, and RabbitMQ then gives an unsettled
/// message to another consumer.
struct Subscription {
    channel: Channel,
    deliveries: lapin::Consumer,
}

impl RabbitConsumer {
    /// The subscription, made anew if there is none.
    async fn subscription(&mut self) -> Result<&mut Subscription, BrokerError> {
        if self.subscription.is_none() {
            let mut backoff = Backoff::reconnect();
            let subscription = loop {
                match current(&self.session).await?.subscribe(&self.queue).await {
                    Ok(subscription) => break subscription,
                    Err(error) => tracing::warn!(queue = self.queue, %error, "cannot consume, trying again"),
                }
                backoff.wait().await;
            };
            self.subscription = Some(subscription);
        }
        self.subscription.as_mut().ok_or(BrokerError::Closed)
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next(&mut self) -> Result<Delivery, BrokerError> {
        loop {
            let subscription = self.subscription().await?;
            match subscription.deliveries.next().await {
                Some(Ok(delivery)) => return Ok(delivery_of(delivery, subscription.channel.clone())),
                Some(Err(error)) => tracing::debug!(queue = self.queue, %error, "lost the subscription"),
                None => tracing::debug!(queue = self.queue, "the subscription has ended"),
            }
            self.subscription = None;
        }
    }
}

fn delivery_of(mut delivery: lapin::message::Delivery, channel: Channel) -> Delivery {
    let properties = &delivery.properties;
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(|text| text.to_string());
    let correlation_id = text(properties.correlation_id());
    let reply_to = text(properties.reply_to());
    let headers: Headers = properties
        .headers()
        .iter()
        .flat_map(|table| table.inner())
        .filter_map(|(key, value)| Some((key.to_string(), text_of(value)?)))
        .collect();
    Delivery {
        correlation_id: correlation_id.clone().unwrap_or_default(),
        headers,
        redelivered: delivery.redelivered,
        body: std::mem::take(&mut delivery.data),
        settle: Box::new(RabbitSettle {
            unsettled: Some(delivery),
            channel,
            correlation_id,
            reply_to,
        }),
    }
}

/// A header's value, if it is text. Other clients may add what they like.
fn text_of(value: &AMQPValue) -> Option<String> {
    if let AMQPValue::LongString(text) = value {
        Some(text.to_string())
    } else if let AMQPValue::ShortString(text) = value {
        Some(text.to_string())
    } else {
        None
    }
}

struct RabbitSettle {
    /// Taken when settled, else given back.
    unsettled: Option<lapin::message::Delivery>,
    channel: Channel,
    correlation_id: Option<String>,
    reply_to: Option<String>,
}

#[async_trait]
impl Settle for RabbitSettle {
    async fn reply(mut self: Box<Self>, body: Vec<u8>) -> Result<(), BrokerError> {
        let Some(delivery) = self.unsettled.take() else {
            return Ok(());
        };
        if let Some(reply_to) = &self.reply_to {
            let mut properties = BasicProperties::default().with_content_type(integer::CONTENT_TYPE.into());
            if let Some(correlation_id) = &self.correlation_id {
                properties = properties.with_correlation_id(correlation_id.as_str().into());
            }
            publish(&self.channel, reply_to, &body, properties).await?;
        }
        settled(delivery.ack(BasicAckOptions::default()).await)
    }

    async fn refuse(mut self: Box<Self>) -> Result<(), BrokerError> {
        let Some(delivery) = self.unsettled.take() else {
            return Ok(());
        };
        settled(delivery.reject(BasicRejectOptions { requeue: false }).await)
    }
}

/// A message can be settled only on the channel that it came through.
fn settled(outcome: Result<bool, lapin::Error>) -> Result<(), BrokerError> {
    match outcome {
        Ok(true) => Ok(()),
        Ok(false) => Err(BrokerError::Disconnected),
        Err(error) => Err(BrokerError::Amqp(error)),
    }
}

impl Drop for RabbitSettle {
    fn drop(&mut self) {
        let (Some(delivery), Ok(runtime)) = (self.unsettled.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        // If this fails the channel is gone, and the message with it back in its queue.
        runtime.spawn(async move {
            delivery
                .nack(BasicNackOptions {
                    requeue: true,
                    multiple: false,
                })
                .await
        });
    }
}
