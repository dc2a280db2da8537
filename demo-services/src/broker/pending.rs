//! The calls that await their replies, by correlation id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{BrokerError, PENDING_CALLS_MAX};

/// The calls of one connection that await their replies.
#[derive(Debug)]
pub(super) struct Pending {
    /// `None` once the connection is gone: no reply will come any more.
    calls: Mutex<Option<HashMap<String, oneshot::Sender<Vec<u8>>>>>,
}

/// A reply to come. Dropping it gives the call up.
#[derive(Debug)]
pub(super) struct Expected {
    reply: oneshot::Receiver<Vec<u8>>,
    correlation_id: String,
    pending: Arc<Pending>,
}

impl Pending {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            calls: Mutex::new(Some(HashMap::new())),
        })
    }

    /// To be called before the request is sent, so that the reply cannot come too early.
    pub(super) fn expect(self: &Arc<Self>, correlation_id: &str) -> Result<Expected, BrokerError> {
        let mut calls = self.lock();
        let calls = calls.as_mut().ok_or(BrokerError::Disconnected)?;
        if calls.len() >= PENDING_CALLS_MAX {
            return Err(BrokerError::Overloaded);
        }
        let (sender, reply) = oneshot::channel();
        calls.insert(correlation_id.to_owned(), sender);
        Ok(Expected {
            reply,
            correlation_id: correlation_id.to_owned(),
            pending: self.clone(),
        })
    }

    /// Hands a reply to its caller. A reply that nobody awaits any more is thrown away.
    pub(super) fn answer(&self, correlation_id: &str, body: Vec<u8>) {
        let waiting = self.lock().as_mut().and_then(|calls| calls.remove(correlation_id));
        match waiting.map(|caller| caller.send(body)) {
            Some(Ok(())) => {}
            Some(Err(_)) | None => tracing::debug!(correlation_id, "a reply came after its caller had given up"),
        }
    }

    /// Ends every call that awaits a reply, and every later one, as disconnected.
    pub(super) fn close(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<String, oneshot::Sender<Vec<u8>>>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected {
    pub(super) async fn reply(mut self) -> Result<Vec<u8>, BrokerError> {
        (&mut self.reply).await.map_err(|_| BrokerError::Disconnected)
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        if let Some(calls) = self.pending.lock().as_mut() {
            calls.remove(&self.correlation_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reply_reaches_its_caller_and_no_other() {
        let pending = Pending::new();
        let first = pending.expect("1").unwrap();
        let second = pending.expect("2").unwrap();
        pending.answer("2", b"b".to_vec());
        pending.answer("1", b"a".to_vec());
        pending.answer("3", b"nobody".to_vec());
        assert_eq!(first.reply().await.unwrap(), b"a");
        assert_eq!(second.reply().await.unwrap(), b"b");
    }

    #[tokio::test]
    async fn a_call_given_up_leaves_nothing_behind() {
        let pending = Pending::new();
        drop(pending.expect("1").unwrap());
        assert!(pending.lock().as_ref().unwrap().is_empty());
        pending.answer("1", Vec::new());
    }

    #[tokio::test]
    async fn a_lost_connection_ends_all_calls_now_and_later() {
        let pending = Pending::new();
        let call = pending.expect("1").unwrap();
        pending.close();
        assert!(matches!(call.reply().await, Err(BrokerError::Disconnected)));
        assert!(matches!(pending.expect("2"), Err(BrokerError::Disconnected)));
    }
}
