//! Server processes: tasks with a bounded mailbox that serve one request at a time, as a GenServer does.
//!
//! A server whose [`Server::handle`] fails, because a call of its own timed out for instance, *ends*: the caller that it
//! was serving gets an error, everybody in its mailbox is refused, and its supervisor starts it anew with a fresh
//! state. Its name and mailbox stay, so callers notice nothing more.
//!
//! Processes know nothing of names in the cluster or of nodes; `cluster/node.rs` does.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use opentelemetry::Context;
use standoff_agent::{Outcome, Spans};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::cluster::{CallError, ProcessName};

/// The most requests that wait for one process. Its callers are consumers of queues, of which there are a few, so that
/// many mean that something is wrong.
const MAILBOX_LEN_MAX: usize = 1_024;

/// What a process does with its requests, one at a time.
#[async_trait]
pub trait Server: Send + 'static {
    /// Serves a request. An error, or a panic, ends the process.
    async fn handle(&mut self, request: Vec<u8>) -> Result<Vec<u8>, Exit>;
}

/// Why a process ends.
#[derive(Clone, Debug, Error)]
#[error("{reason}")]
pub struct Exit {
    reason: String,
}

impl Exit {
    /// Ends the process because of `cause`.
    pub fn because(cause: &dyn std::error::Error) -> Self {
        Self {
            reason: cause.to_string(),
        }
    }
}

/// Makes the state with which a process starts and starts anew.
pub type Start = Box<dyn Fn() -> Box<dyn Server> + Send + Sync>;

/// The way to a running process.
#[derive(Clone, Debug)]
pub struct Mailbox {
    requests: mpsc::Sender<Mail>,
}

#[derive(Debug)]
struct Mail {
    /// The caller's span.
    caller: Context,
    request: Vec<u8>,
    reply: oneshot::Sender<Result<Vec<u8>, CallError>>,
}

impl Mailbox {
    /// Sends a request and awaits the reply. `caller` is the context of the caller's call span.
    pub async fn call(&self, caller: Context, request: Vec<u8>) -> Result<Vec<u8>, CallError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .try_send(Mail { caller, request, reply })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => CallError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => CallError::NotRunning,
            })?;
        answer.await.unwrap_or(Err(CallError::Exited))
    }
}

/// A process to be run.
pub struct Process {
    /// Names the resource that it occupies while it serves a request.
    pub name: ProcessName,
    /// Makes its state.
    pub start: Start,
    /// Instruments it.
    pub spans: Spans,
    /// Ends it when it has had nothing to do for this long.
    pub idle_after: Duration,
    /// Ends it at once.
    pub stop: CancellationToken,
}

/// Why a process serves no more.
enum End {
    /// It failed, and is to be started anew.
    Failed,
    /// It is told to stop, or has nothing to do.
    Stopped,
}

impl Process {
    /// The mailbox, and what runs the process until it stops: to be spawned.
    pub fn supervised(self) -> (Mailbox, impl Future<Output = ()> + Send + 'static) {
        let (requests, mail) = mpsc::channel(MAILBOX_LEN_MAX);
        (Mailbox { requests }, self.supervise(mail))
    }

    async fn supervise(self, mut mail: mpsc::Receiver<Mail>) {
        while let End::Failed = self.serve((self.start)(), &mut mail).await {
            refuse_all(&mut mail);
        }
        mail.close();
        refuse_all(&mut mail);
    }

    async fn serve(&self, mut server: Box<dyn Server>, mailbox: &mut mpsc::Receiver<Mail>) -> End {
        loop {
            let idle = tokio::time::sleep(self.idle_after);
            let mail = tokio::select! {
                () = self.stop.cancelled() => return End::Stopped,
                mail = mailbox.recv() => mail,
                () = idle, if !mailbox.is_closed() => {
                    // Whoever has sent a request by now is still served; later ones find the mailbox closed.
                    mailbox.close();
                    continue;
                }
            };
            let Some(Mail { caller, request, reply }) = mail else {
                return End::Stopped;
            };

            // From here to the reply the process is busy with this request: it occupies the resource of its name,
            // which nobody else can have (no capacity means exclusive), and its own calls are made within this span.
            let resource = self.name.to_string();
            let turn = self
                .spans
                .handle(&self.name.kind)
                .resource(resource)
                .parent(&caller)
                .start();
            let served = tokio::select! {
                () = self.stop.cancelled() => return End::Stopped,
                served = AssertUnwindSafe(turn.run(server.handle(request))).catch_unwind() => served,
            };
            let failure = match served {
                Ok(Ok(answer)) => {
                    // A caller that has given up does not matter to us.
                    reply.send(Ok(answer)).ok();
                    turn.end();
                    continue;
                }
                Ok(Err(exit)) => exit.to_string(),
                Err(_) => "panic".to_owned(),
            };
            tracing::info!(process = %self.name, failure, "the process has ended and is started anew");
            reply.send(Err(CallError::Exited)).ok();
            turn.end_with(Outcome::Error);
            return End::Failed;
        }
    }
}

fn refuse_all(mailbox: &mut mpsc::Receiver<Mail>) {
    while let Ok(mail) = mailbox.try_recv() {
        mail.reply.send(Err(CallError::Refused)).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// Waits for the gate, then does what the request says: `fail`, `panic`, or count.
    struct Counter {
        served: u8,
        gate: Arc<Semaphore>,
    }

    #[async_trait]
    impl Server for Counter {
        async fn handle(&mut self, request: Vec<u8>) -> Result<Vec<u8>, Exit> {
            self.gate.acquire().await.unwrap().forget();
            match request.as_slice() {
                b"fail" => Err(Exit::because(&CallError::Lost)),
                b"panic" => panic!("as asked"),
                _ => {
                    self.served = self.served.wrapping_add(1);
                    Ok(vec![self.served])
                }
            }
        }
    }

    struct Fixture {
        mailbox: Mailbox,
        gate: Arc<Semaphore>,
        starts: Arc<AtomicUsize>,
        stop: CancellationToken,
        ended: tokio::task::JoinHandle<()>,
    }

    fn start(idle_after: Duration) -> Fixture {
        let (gate, starts, stop) = (
            Arc::new(Semaphore::new(0)),
            Arc::new(AtomicUsize::new(0)),
            CancellationToken::new(),
        );
        let (in_gate, in_starts) = (gate.clone(), starts.clone());
        let process = Process {
            name: ProcessName::new("counter", 1),
            start: Box::new(move || {
                in_starts.fetch_add(1, Ordering::Relaxed);
                Box::new(Counter {
                    served: 0,
                    gate: in_gate.clone(),
                })
            }),
            spans: Spans::new(&SdkTracerProvider::builder().build()),
            idle_after,
            stop: stop.clone(),
        };
        let (mailbox, run) = process.supervised();
        Fixture {
            mailbox,
            gate,
            starts,
            stop,
            ended: tokio::spawn(run),
        }
    }

    impl Fixture {
        fn call(&self, request: &str) -> tokio::task::JoinHandle<Result<Vec<u8>, CallError>> {
            let (mailbox, request) = (self.mailbox.clone(), request.as_bytes().to_vec());
            tokio::spawn(async move { mailbox.call(Context::new(), request).await })
        }
    }

    #[tokio::test]
    async fn requests_are_served_in_order_one_at_a_time() {
        let fixture = start(LONG);
        let calls = [fixture.call(""), fixture.call(""), fixture.call("")];
        fixture.gate.add_permits(3);
        let mut replies = Vec::new();
        for call in calls {
            replies.push(call.await.unwrap().unwrap()[0]);
        }
        assert_eq!(replies, [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_process_that_fails_refuses_its_queue_and_starts_with_a_fresh_state() {
        for failure in ["fail", "panic"] {
            let fixture = start(LONG);
            fixture.gate.add_permits(1);
            assert_eq!(fixture.call("").await.unwrap(), Ok(vec![1]));

            // Tasks run in the order in which they were spawned, so the first is served and the others queue.
            let (served, queued) = (fixture.call(failure), [fixture.call(""), fixture.call("")]);
            tokio::task::yield_now().await;
            fixture.gate.add_permits(1);
            assert_eq!(served.await.unwrap(), Err(CallError::Exited));
            for call in queued {
                assert_eq!(call.await.unwrap(), Err(CallError::Refused));
            }

            fixture.gate.add_permits(1);
            assert_eq!(fixture.call("").await.unwrap(), Ok(vec![1]));
            assert_eq!(fixture.starts.load(Ordering::Relaxed), 2);
        }
    }

    #[tokio::test]
    async fn a_full_mailbox_takes_no_more() {
        let fixture = start(LONG);
        let calls: Vec<_> = (0..MAILBOX_LEN_MAX + 2).map(|_| fixture.call("")).collect();
        fixture.gate.add_permits(calls.len());
        let mut overloaded = 0;
        for call in calls {
            match call.await.unwrap() {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error, CallError::Overloaded);
                    overloaded += 1;
                }
            }
        }
        // One or two, depending on whether the first had left the mailbox when the last came.
        assert!((1..=2).contains(&overloaded), "{overloaded}");
    }

    #[tokio::test]
    async fn an_idle_process_ends_and_its_callers_are_told_to_look_elsewhere() {
        let fixture = start(Duration::from_millis(1));
        fixture.ended.await.unwrap();
        assert_eq!(
            fixture.mailbox.call(Context::new(), Vec::new()).await,
            Err(CallError::NotRunning)
        );
    }

    #[tokio::test]
    async fn a_stopped_process_lets_go_of_all_its_callers() {
        let fixture = start(LONG);
        let (served, queued) = (fixture.call(""), fixture.call(""));
        tokio::task::yield_now().await;
        fixture.stop.cancel();
        assert_eq!(served.await.unwrap(), Err(CallError::Exited));
        assert_eq!(queued.await.unwrap(), Err(CallError::Refused));
        fixture.ended.await.unwrap();
    }
}
