//! The test runner: it asks ServiceA, for many ids at once if need be.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use standoff_agent::Spans;

use crate::broker::Broker;
use crate::rpc::{AskError, Client};
use crate::service_a::SERVICE_A;

/// Asks ServiceA.
#[derive(Clone)]
pub struct Requester {
    client: Client,
}

impl Requester {
    /// Gives up each request after `timeout`.
    pub fn new(broker: Arc<dyn Broker>, spans: Spans, timeout: Duration) -> Self {
        Self {
            client: Client::new(broker, spans, timeout),
        }
    }

    /// ServiceA's result for `id`.
    pub async fn request(&self, id: i64) -> Result<i64, AskError> {
        self.client.ask(SERVICE_A.name, id).await
    }

    /// ServiceA's results, in the order of the ids. All requests are sent at once.
    pub async fn request_all(&self, ids: impl IntoIterator<Item = i64>) -> Vec<Result<i64, AskError>> {
        join_all(ids.into_iter().map(|id| self.request(id))).await
    }
}
