//! A broker within one process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pending::Pending;
use super::{Broker, BrokerError, Consumer, Delivery, Request, Settle};

/// The longest queue. Callers beyond it are told; it equals the number of calls that may wait for a reply.
const QUEUE_LEN_MAX: usize = super::PENDING_CALLS_MAX;

/// A broker for any number of service instances in one process. Clones are the same broker.
#[derive(Clone, Debug)]
pub struct InProcessBroker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Named by the program, never by what arrives, so there are few.
    queues: Mutex<HashMap<String, Arc<Queue>>>,
    pending: Arc<Pending>,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct Queue {
    ready: Mutex<VecDeque<Message>>,
    /// Consumers wait here in turn. One is woken for each message; one that finds nothing, because another took the
    /// message on its way back from the last one, waits again.
    arrived: Notify,
}

#[derive(Debug)]
struct Message {
    request: Request,
    expires_at: Instant,
    redelivered: bool,
}

impl Default for InProcessBroker {
    fn default() -> Self {
        let shared = Shared {
            queues: Mutex::default(),
            pending: Pending::new(),
            closed: CancellationToken::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl InProcessBroker {
    /// A broker without queues.
    pub fn new() -> Self {
        Self::default()
    }

    fn queue(&self, name: &str) -> Arc<Queue> {
        let mut queues = self.shared.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.entry(name.to_owned()).or_default().clone()
    }
}

#[async_trait]
impl Broker for InProcessBroker {
    async fn call(&self, queue: &str, request: Request) -> Result<Vec<u8>, BrokerError> {
        if self.shared.closed.is_cancelled() {
            return Err(BrokerError::Closed);
        }
        let expected = self.shared.pending.expect(&request.correlation_id)?;
        let expires_at = Instant::now() + request.expires_after;
        self.queue(queue).push(Message {
            request,
            expires_at,
            redelivered: false,
        })?;
        tokio::select! {
            () = self.shared.closed.cancelled() => Err(BrokerError::Closed),
            reply = expected.reply() => reply,
        }
    }

    async fn consume(&self, queue: &str) -> Result<Box<dyn Consumer>, BrokerError> {
        let unsettled = Arc::new(Semaphore::new(1));
        Ok(Box::new(InProcessConsumer {
            queue: self.queue(queue),
            shared: self.shared.clone(),
            unsettled,
        }))
    }

    async fn close(&self) {
        self.shared.closed.cancel();
        self.shared.pending.close();
    }
}

impl Queue {
    fn push(&self, message: Message) -> Result<(), BrokerError> {
        let mut ready = self.ready();
        if ready.len() >= QUEUE_LEN_MAX {
            return Err(BrokerError::Overloaded);
        }
        ready.push_back(message);
        self.arrived.notify_one();
        Ok(())
    }

    fn give_back(&self, message: Message) {
        self.ready().push_front(message);
        self.arrived.notify_one();
    }

    async fn pop(&self) -> Message {
        loop {
            let first = self.ready().pop_front();
            match first {
                Some(message) if message.expires_at > Instant::now() => return message,
                Some(expired) => tracing::debug!(?expired, "a request expired in its queue"),
                None => self.arrived.notified().await,
            }
        }
    }

    fn ready(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct InProcessConsumer {
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    /// Its one permit is with the unsettled delivery.
    unsettled: Arc<Semaphore>,
}

#[async_trait]
impl Consumer for InProcessConsumer {
    async fn next(&mut self) -> Result<Delivery, BrokerError> {
        let prefetch = self
            .unsettled
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| BrokerError::Closed)?;
        let message = tokio::select! {
            biased;
            () = self.shared.closed.cancelled() => return Err(BrokerError::Closed),
            message = self.queue.pop() => message,
        };
        let delivered = message.request.clone();
        let redelivered = message.redelivered;
        let settle = InProcessSettle {
            unsettled: Some(Message {
                redelivered: true,
                ..message
            }),
            queue: self.queue.clone(),
            pending: self.shared.pending.clone(),
            _prefetch: prefetch,
        };
        let Request {
            correlation_id,
            headers,
            body,
            expires_after: _,
        } = delivered;
        Ok(Delivery {
            correlation_id,
            headers,
            redelivered,
            body,
            settle: Box::new(settle),
        })
    }
}

struct InProcessSettle {
    /// Taken when settled, else given back.
    unsettled: Option<Message>,
    queue: Arc<Queue>,
    pending: Arc<Pending>,
    _prefetch: OwnedSemaphorePermit,
}

#[async_trait]
impl Settle for InProcessSettle {
    async fn reply(mut self: Box<Self>, body: Vec<u8>) -> Result<(), BrokerError> {
        if let Some(message) = self.unsettled.take() {
            self.pending.answer(&message.request.correlation_id, body);
        }
        Ok(())
    }

    async fn refuse(mut self: Box<Self>) -> Result<(), BrokerError> {
        self.unsettled = None;
        Ok(())
    }
}

impl Drop for InProcessSettle {
    fn drop(&mut self) {
        if let Some(message) = self.unsettled.take() {
            self.queue.give_back(message);
        }
    }
}
