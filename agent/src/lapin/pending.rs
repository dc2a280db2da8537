//! The calls of one client that wait for their replies, by correlation id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{CallError, Reply};

/// How many calls of one client may wait at once. Far more than any service has open when it is well; beyond it the
/// replies have stopped coming.
const PENDING_CALLS_MAX: usize = 65_536;

type Calls = HashMap<String, oneshot::Sender<Reply>>;

#[derive(Debug)]
pub(super) struct Pending {
    /// `None` once the connection is gone: no reply will come any more.
    calls: Mutex<Option<Calls>>,
}

/// A reply to come. Dropping it gives the call up.
#[derive(Debug)]
pub(super) struct Expected {
    reply: oneshot::Receiver<Reply>,
    correlation_id: String,
    pending: Arc<Pending>,
}

impl Pending {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Pending {
            calls: Mutex::new(Some(Calls::new())),
        })
    }

    /// To be called before the request is sent, or the reply could come too early.
    pub(super) fn expect(self: &Arc<Self>, correlation_id: &str) -> Result<Expected, CallError> {
        let mut calls = self.lock();
        let calls = calls.as_mut().ok_or(CallError::Disconnected)?;
        if calls.len() >= PENDING_CALLS_MAX {
            return Err(CallError::Overloaded);
        }
        let (sender, reply) = oneshot::channel();
        calls.insert(correlation_id.to_owned(), sender);
        Ok(Expected {
            reply,
            correlation_id: correlation_id.to_owned(),
            pending: Arc::clone(self),
        })
    }

    /// Hands a reply to its caller. One that nobody waits for any more is dropped.
    pub(super) fn answer(&self, correlation_id: &str, reply: Reply) {
        let caller = self.lock().as_mut().and_then(|calls| calls.remove(correlation_id));
        if let Some(caller) = caller {
            caller.send(reply).ok();
        }
    }

    /// Ends every call that waits, and every later one: no reply will come any more.
    pub(super) fn close(&self) {
        self.lock().take();
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Calls>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected {
    pub(super) async fn reply(mut self) -> Result<Reply, CallError> {
        (&mut self.reply).await.map_err(|_| CallError::Disconnected)
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

    fn reply(data: &str) -> Reply {
        Reply {
            data: data.into(),
            properties: Default::default(),
        }
    }

    #[tokio::test]
    async fn a_reply_reaches_its_caller_and_no_other() {
        let pending = Pending::new();
        let first = pending.expect("1").unwrap();
        let second = pending.expect("2").unwrap();
        pending.answer("2", reply("b"));
        pending.answer("1", reply("a"));
        pending.answer("3", reply("nobody's"));
        assert_eq!(first.reply().await.unwrap().data, b"a");
        assert_eq!(second.reply().await.unwrap().data, b"b");
    }

    #[test]
    fn a_call_given_up_leaves_nothing_behind() {
        let pending = Pending::new();
        drop(pending.expect("1").unwrap());
        assert_eq!(pending.lock().as_ref().unwrap().len(), 0);
        pending.answer("1", reply("late"));
    }

    #[tokio::test]
    async fn a_lost_connection_ends_all_calls_now_and_later() {
        let pending = Pending::new();
        let call = pending.expect("1").unwrap();
        pending.close();
        assert!(!pending.is_open());
        assert!(matches!(call.reply().await, Err(CallError::Disconnected)));
        assert!(matches!(pending.expect("2"), Err(CallError::Disconnected)));
    }

    #[test]
    fn there_is_a_limit_to_what_is_pending() {
        let pending = Pending::new();
        let calls: Vec<_> = (0..PENDING_CALLS_MAX)
            .map(|call| pending.expect(&call.to_string()).unwrap())
            .collect();
        assert!(matches!(pending.expect("more"), Err(CallError::Overloaded)));
        drop(calls);
        assert!(pending.expect("more").is_ok());
    }
}
