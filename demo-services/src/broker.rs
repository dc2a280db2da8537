//! Remote calls over queues: what the services need of a message broker, and nothing more.
//!
//! Two brokers stand behind [`Broker`]: [`InProcessBroker`], for the embedded demo and fast tests, and
//! [`RabbitBroker`]. Both promise the same:
//!
//! - a queue gives each message to one consumer, in order of arrival, to consumers in turn;
//! - a consumer has at most one message that it has not settled (prefetch 1);
//! - a message whose consumer goes away before it settled it comes first in the queue again, marked *redelivered*;
//! - a request that is not delivered before it expires is thrown away; one that has been delivered is served even if
//!   its caller has given up, and the reply is then thrown away.
//!
//! The broker knows nothing of spans: callers put the trace context into [`Request::headers`] themselves, and
//! consumers read it from [`Delivery::headers`]. `rpc.rs` and `service.rs` show how.

mod in_process;
mod pending;
mod rabbit;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::propagation::{Extractor, Injector};
use thiserror::Error;

pub use in_process::InProcessBroker;
pub use rabbit::{InvalidAmqpUrl, RabbitBroker};

/// The most calls of one process that may await their replies: far above what the demo sends at once, and about 20 MB.
pub const PENDING_CALLS_MAX: usize = 100_000;

/// A message broker, as one service instance sees it.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Sends `request` to `queue` and awaits the reply. While there is no connection it waits for one. It has no
    /// timeout of its own; dropping the future gives the call up.
    async fn call(&self, queue: &str, request: Request) -> Result<Vec<u8>, BrokerError>;

    /// Becomes a consumer of `queue`. Returns once messages can arrive.
    async fn consume(&self, queue: &str) -> Result<Box<dyn Consumer>, BrokerError>;

    /// Leaves in good order. Calls and consumers end with [`BrokerError::Closed`].
    async fn close(&self);
}

/// A consumer of one queue. Dropping it gives an unsettled delivery back to the queue.
#[async_trait]
pub trait Consumer: Send {
    /// The next message, once the last one has been settled. If the connection is lost it is made again, so an error
    /// means that the broker has been closed.
    async fn next(&mut self) -> Result<Delivery, BrokerError>;
}

/// A message on its way to a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Tells the caller which reply is whose.
    pub correlation_id: String,
    /// Text that travels with the body, such as the trace context.
    pub headers: Headers,
    /// What is asked; see [`crate::integer`].
    pub body: Vec<u8>,
    /// After this long in the queue it is of no use to its caller any more.
    pub expires_after: Duration,
}

impl Request {
    /// A request with a correlation id of its own.
    pub fn new(body: Vec<u8>, expires_after: Duration) -> Self {
        Self {
            correlation_id: format!("{:032x}", rand::random::<u128>()),
            headers: Headers::default(),
            body,
            expires_after,
        }
    }
}

/// Text that travels with a message, such as the trace context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(BTreeMap<String, String>);

impl Headers {
    fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(headers: T) -> Self {
        Self(headers.into_iter().collect())
    }
}

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), value);
    }
}

impl Extractor for Headers {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

/// A message that a consumer has been given and must settle. One that is dropped unsettled goes back to its queue.
pub struct Delivery {
    /// The request's own.
    pub correlation_id: String,
    /// The request's own.
    pub headers: Headers,
    /// A consumer has had this message before and did not settle it.
    pub redelivered: bool,
    /// What is asked.
    pub body: Vec<u8>,
    settle: Box<dyn Settle>,
}

impl Delivery {
    /// Sends the reply and, after it, acknowledges the message.
    pub async fn reply(self, body: Vec<u8>) -> Result<(), BrokerError> {
        self.settle.reply(body).await
    }

    /// Throws the message away unanswered. Its caller learns of it by its timeout.
    pub async fn refuse(self) -> Result<(), BrokerError> {
        self.settle.refuse().await
    }
}

/// How one broker settles one delivery. Dropping it gives the message back.
#[async_trait]
trait Settle: Send + Sync {
    async fn reply(self: Box<Self>, body: Vec<u8>) -> Result<(), BrokerError>;
    async fn refuse(self: Box<Self>) -> Result<(), BrokerError>;
}

/// Why a call got no reply, or a delivery could not be settled.
#[derive(Clone, Debug, Error)]
pub enum BrokerError {
    /// The connection was lost after the request was sent; whether it was served is unknown.
    #[error("the connection to the broker was lost")]
    Disconnected,
    /// Too many calls await their replies, or too many messages wait in the queue.
    #[error("too many messages wait already")]
    Overloaded,
    /// [`Broker::close`] was called.
    #[error("the broker has been closed")]
    Closed,
    /// RabbitMQ or the way to it failed.
    #[error("the broker failed")]
    Amqp(#[source] lapin::Error),
}
