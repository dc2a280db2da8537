//! Asking a service over its queue, with a timeout: the calling side of the demo's instrumentation.

use std::sync::Arc;
use std::time::Duration;

use standoff_agent::{Outcome, Spans, propagation};
use thiserror::Error;

use crate::broker::{Broker, BrokerError, Request};
use crate::integer::{self, NotAnInteger};

/// Asks services over their queues. Clones are cheap.
#[derive(Clone)]
pub struct Client {
    broker: Arc<dyn Broker>,
    spans: Spans,
    timeout: Duration,
}

impl Client {
    /// Gives up each request after `timeout`.
    pub fn new(broker: Arc<dyn Broker>, spans: Spans, timeout: Duration) -> Self {
        Self { broker, spans, timeout }
    }

    /// Asks `service` for `id` and awaits its reply, without blocking a thread. A request that the service refuses is
    /// never answered, so that it ends with the timeout, too.
    pub async fn ask(&self, service: &str, id: i64) -> Result<i64, AskError> {
        // What has waited in its queue for nine tenths of its caller's patience is too late to be begun: the caller would
        // give up in the middle of it. In the demo, the request that is left behind by a deadlock would begin the next.
        let mut request = Request::new(integer::encode(id), self.timeout * 9 / 10);

        // The wait is open from before the request leaves until its reply has come, and says what for and how long.
        // Its context goes with the request, so that the handler at the other end knows which call it answers.
        let call = self
            .spans
            .call(service.to_owned())
            .name(format!("ask {service}"))
            .timeout(self.timeout);
        let call = call.conversation(&request.correlation_id).start();
        propagation::inject(call.context(), &mut request.headers);

        let reply = tokio::time::timeout(self.timeout, self.broker.call(service, request)).await;
        let (outcome, answer) = match reply {
            Ok(Ok(body)) => match integer::decode(&body) {
                Ok(answer) => (Outcome::Finished, Ok(answer)),
                Err(error) => (Outcome::Error, Err(AskError::Reply(error))),
            },
            Ok(Err(error)) => (Outcome::Error, Err(AskError::Broker(error))),
            Err(_) => (Outcome::Timeout, Err(AskError::Timeout(self.timeout))),
        };
        call.end_with(outcome);
        answer
    }
}

/// Why a request was not answered.
#[derive(Debug, Error)]
pub enum AskError {
    /// No reply came in time.
    #[error("no reply within {0:?}")]
    Timeout(Duration),
    /// The request could not be sent, or its reply can no longer arrive.
    #[error("the request was lost")]
    Broker(#[source] BrokerError),
    /// The reply makes no sense.
    #[error("the reply makes no sense")]
    Reply(#[source] NotAnInteger),
}
