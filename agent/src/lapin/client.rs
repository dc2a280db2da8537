//! Requests that wait for a reply.

use std::sync::Arc;
use std::time::Duration;

use ::lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use ::lapin::types::FieldTable;
use ::lapin::{BasicProperties, Channel, Connection};
use futures_util::StreamExt;
use opentelemetry::KeyValue;
use standoff_protocol::attributes::semconv;
use tokio::task::AbortHandle;

use super::headers::{inject, short};
use super::pending::Pending;
use crate::{OpenSpan, Outcome, Spans, Text};

/// RabbitMQ's name for "reply on the channel that the request came from". There is no queue to declare for it and none to
/// clean up, and a reply to a client that has gone is dropped by the broker.
const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Sends requests and waits for their replies, on a channel of its own. Clones are the same client.
///
/// It is of use for as long as its connection: when that is lost, calls end as [`CallError::Disconnected`], those that wait
/// and those to come. Make a new one of the next connection then.
#[derive(Clone, Debug)]
pub struct RpcClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    spans: Spans,
    channel: Channel,
    pending: Arc<Pending>,
    routing: AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.routing.abort();
    }
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection, or the client's channel, is lost.
    #[error("the connection to RabbitMQ is lost")]
    Disconnected,
    /// The reply did not come in time.
    #[error("the time to wait for the reply is over")]
    Timeout,
    /// Too many calls of this client wait for their replies.
    #[error("too many calls wait for their replies")]
    Overloaded,
    /// The queue or the exchange has a name that AMQP cannot carry: more than 255 bytes.
    #[error("`{0}` is too long for a name")]
    Name(String),
    /// The request could not be sent.
    #[error("cannot send the request")]
    Amqp(#[source] ::lapin::Error),
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The body.
    pub data: Vec<u8>,
    /// The properties, with the headers.
    pub properties: BasicProperties,
}

/// A request about to be sent.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is called"]
pub struct Request {
    exchange: String,
    routing_key: String,
    target: Option<Text>,
    body: Vec<u8>,
    timeout: Option<Duration>,
    properties: BasicProperties,
}

impl Request {
    /// To the consumers of a queue.
    pub fn to(queue: impl Into<String>) -> Self {
        Request {
            exchange: String::new(),
            routing_key: queue.into(),
            target: None,
            body: Vec::new(),
            timeout: None,
            properties: BasicProperties::default(),
        }
    }

    /// Through an exchange, for which the queue's name is the routing key. Say with [`target`](Request::target) which
    /// queue that leads to.
    pub fn exchange(mut self, exchange: impl Into<String>) -> Self {
        self.exchange = exchange.into();
        self
    }

    /// The resource a unit of which the request needs, if it does not have the queue's name: its consumers have to name it
    /// so too.
    pub fn target(mut self, resource: impl Into<Text>) -> Self {
        self.target = Some(resource.into());
        self
    }

    /// What is asked.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// How long to wait for the reply. The request expires in its queue after as long, unless the properties say otherwise:
    /// nobody would wait for its reply.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Further properties and headers. The correlation id, where to reply to, and the trace context are set for each call.
    pub fn properties(mut self, properties: BasicProperties) -> Self {
        self.properties = properties;
        self
    }
}

impl RpcClient {
    /// Opens a channel for requests and their replies. To be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// The connection is lost, or allows no further channel.
    pub async fn new(spans: &Spans, connection: &Connection) -> Result<Self, ::lapin::Error> {
        let channel = connection.create_channel().await?;
        let no_ack = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let replies = channel
            .basic_consume(DIRECT_REPLY_TO.into(), "".into(), no_ack, FieldTable::default())
            .await?;
        let pending = Pending::new();
        let routing = tokio::spawn(route(Arc::clone(&pending), replies)).abort_handle();
        let spans = spans.clone();
        Ok(RpcClient {
            shared: Arc::new(Shared {
                spans,
                channel,
                pending,
                routing,
            }),
        })
    }

    /// Sends a request and waits for its reply: one call. Dropping this gives up; a reply that comes later is dropped.
    ///
    /// # Errors
    ///
    /// There will be no reply, or it did not come in time.
    pub async fn call(&self, request: Request) -> Result<Reply, CallError> {
        let correlation_id = format!("{:032x}", rand::random::<u128>());
        let call = self.start(&request, &correlation_id);
        let timeout = request.timeout;
        let exchanged = self.exchange(&call, request, &correlation_id);
        let replied = match timeout {
            Some(timeout) => match tokio::time::timeout(timeout, exchanged).await {
                Ok(replied) => replied,
                Err(_) => Err(CallError::Timeout),
            },
            None => exchanged.await,
        };
        call.end_with(match &replied {
            Ok(_) => Outcome::Finished,
            Err(CallError::Timeout) => Outcome::Timeout,
            Err(_) => Outcome::Error,
        });
        replied
    }

    /// Whether replies can still come. Once they cannot, a new client is needed.
    pub fn is_connected(&self) -> bool {
        self.shared.pending.is_open() && self.shared.channel.status().connected()
    }

    fn start(&self, request: &Request, correlation_id: &str) -> OpenSpan {
        let queue = &request.routing_key;
        let target = request.target.clone().unwrap_or_else(|| queue.into());
        let mut call = self
            .shared
            .spans
            .call(target)
            .name(format!("call {queue}"))
            .conversation(correlation_id.to_owned())
            .attribute(KeyValue::new("messaging.system", "rabbitmq"))
            .attribute(KeyValue::new("messaging.operation.name", "call"))
            .attribute(KeyValue::new("messaging.operation.type", "send"))
            .attribute(KeyValue::new(semconv::MESSAGING_DESTINATION_NAME, queue.clone()));
        if let Some(timeout) = request.timeout {
            call = call.timeout(timeout);
        }
        call.start()
    }

    async fn exchange(&self, call: &OpenSpan, request: Request, correlation_id: &str) -> Result<Reply, CallError> {
        let expected = self.shared.pending.expect(correlation_id)?;
        let exchange = short(&request.exchange).ok_or(CallError::Name(request.exchange))?;
        let routing_key = short(&request.routing_key).ok_or(CallError::Name(request.routing_key))?;
        let mut properties = inject(call.context(), request.properties)
            .with_correlation_id(correlation_id.into())
            .with_reply_to(DIRECT_REPLY_TO.into());
        if let Some(timeout) = request.timeout
            && properties.expiration().is_none()
        {
            properties = properties.with_expiration(timeout.as_millis().max(1).to_string().into());
        }
        // Without publisher confirms: the reply confirms the request.
        let options = BasicPublishOptions::default();
        self.shared
            .channel
            .basic_publish(exchange, routing_key, options, &request.body, properties)
            .await
            .map_err(CallError::Amqp)?;
        expected.reply().await
    }
}

/// Hands replies to their callers until the channel is lost.
async fn route(pending: Arc<Pending>, mut replies: ::lapin::Consumer) {
    while let Some(Ok(reply)) = replies.next().await {
        if let Some(correlation_id) = reply.properties.correlation_id().clone() {
            let properties = reply.properties;
            let data = reply.data;
            pending.answer(correlation_id.as_str(), Reply { data, properties });
        }
    }
    pending.close();
}
