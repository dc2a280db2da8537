//! A collector of our own that relays talk to, over gRPC or within this process: it records what it is told, and can
//! ask, stall, go away and come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use standoff_agent::relay::{Incoming, Lost, Outgoing, Upstream};
use standoff_protocol::stream::wait_stream_server::{WaitStream, WaitStreamServer};
use standoff_protocol::stream::{
    Ended, FromCollector, FromInstance, FromRelay, Hello, Loss, RelayWelcome, ToRelay, from_collector, from_instance,
    from_relay, to_relay,
};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::support::mirror::Mirror;

/// How long any condition may take to come true. Far more than it needs, so that a busy machine fails no test.
const DEADLINE: Duration = Duration::from_secs(30);

/// What to do with relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Serve,
    /// Connect, and take nothing.
    Stall,
    /// Not be there.
    Away,
}

#[derive(Clone)]
pub(crate) struct Double(Arc<Shared>);

struct Shared {
    name: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mode: Mode,
    sessions: Vec<Session>,
    violation: Option<String>,
}

/// One connection of a relay.
pub(crate) struct Session {
    pub(crate) channels: BTreeMap<u64, Channel>,
    pub(crate) heartbeats: usize,
    /// What the relay has said last that it has lost itself.
    pub(crate) lost: Vec<Loss>,
    pub(crate) is_open: bool,
    down: mpsc::Sender<Result<ToRelay, Status>>,
}

pub(crate) struct Channel {
    pub(crate) hello: Hello,
    pub(crate) mirror: Mirror,
    /// Spans of which only the end is known, in the order in which they came.
    pub(crate) ended: Vec<Ended>,
    /// Whether the process was said to have died, if the channel was closed.
    pub(crate) closed: Option<bool>,
}

impl Session {
    /// The channel of an instance.
    pub(crate) fn of(&self, instance: &str) -> Option<&Channel> {
        self.numbered(instance).map(|(_, channel)| channel)
    }

    fn numbered(&self, instance: &str) -> Option<(u64, &Channel)> {
        let named = |it: &Channel| it.hello.instance.as_ref().is_some_and(|it| it.instance_id == instance);
        let mut channels = self.channels.iter().rev();
        channels.find(|(_, it)| named(it)).map(|(number, it)| (*number, it))
    }
}

impl Double {
    pub(crate) fn new(name: &str) -> Self {
        let state = State {
            mode: Mode::Serve,
            sessions: Vec::new(),
            violation: None,
        };
        Self(Arc::new(Shared {
            name: name.to_owned(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }))
    }

    /// Serves relays over gRPC.
    pub(crate) fn serve(&self, runtime: &Handle) -> SocketAddr {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(WaitStreamServer::new(self.clone()));
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    /// Relays within this process find it here.
    pub(crate) fn upstream(&self) -> Box<dyn Upstream> {
        Box::new(self.clone())
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        let mut state = self.0.state.lock().unwrap();
        state.mode = mode;
        if mode == Mode::Away {
            for session in &mut state.sessions {
                // Ends what the relay hears; it hangs up then.
                session.down = mpsc::channel(1).0;
            }
        }
    }

    /// Says something on the latest channel of an instance.
    pub(crate) fn say(&self, instance: &str, message: from_collector::Message) {
        let state = self.0.state.lock().unwrap();
        let session = state.sessions.last().unwrap();
        let channel = session.numbered(instance).unwrap().0;
        let message = to_relay::Message::Collector(FromCollector { message: Some(message) });
        session.send(channel, message);
    }

    /// Waits until something is so of the connections so far, and returns it.
    pub(crate) fn wait<R>(&self, what: &str, mut found: impl FnMut(&[Session]) -> Option<R>) -> R {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.0.state.lock().unwrap();
        loop {
            if let Some(violation) = &state.violation {
                panic!("against the rules of the stream: {violation}");
            }
            if let Some(result) = found(&state.sessions) {
                return result;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "still waiting for: {what}");
            state = self.0.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// As [`Double::wait`], of the channel of an instance on the latest connection.
    pub(crate) fn wait_for<R>(&self, instance: &str, what: &str, mut found: impl FnMut(&Channel) -> Option<R>) -> R {
        self.wait(what, |sessions| found(sessions.last()?.of(instance)?))
    }

    /// Takes what a relay says, for as long as it does.
    fn converse<S, E>(&self, mut said: S) -> mpsc::Receiver<Result<ToRelay, Status>>
    where
        S: Stream<Item = Result<FromRelay, E>> + Unpin + Send + 'static,
        E: Send,
    {
        let (down, stream) = mpsc::channel(64);
        let (nth, mode) = self.begin(down);
        let double = self.clone();
        tokio::spawn(async move {
            if mode == Mode::Stall {
                // One is taken, so that there is a connection.
                said.next().await;
                std::future::pending::<()>().await;
            }
            while let Some(Ok(message)) = said.next().await {
                double.take(nth, message);
            }
            double.end(nth);
        });
        stream
    }

    fn begin(&self, down: mpsc::Sender<Result<ToRelay, Status>>) -> (usize, Mode) {
        let mut state = self.0.state.lock().unwrap();
        let session = Session {
            channels: BTreeMap::new(),
            heartbeats: 0,
            lost: Vec::new(),
            is_open: true,
            down,
        };
        let welcome = RelayWelcome {
            protocol_version: 1,
            heartbeat_ms: 100,
        };
        session.send(0, to_relay::Message::Welcome(welcome));
        state.sessions.push(session);
        self.0.changed.notify_all();
        (state.sessions.len() - 1, state.mode)
    }

    fn take(&self, nth: usize, said: FromRelay) {
        let mut state = self.0.state.lock().unwrap();
        if let Err(violation) = state.sessions[nth].take(said) {
            state.violation = Some(violation);
        }
        self.0.changed.notify_all();
    }

    fn end(&self, nth: usize) {
        let mut state = self.0.state.lock().unwrap();
        state.sessions[nth].is_open = false;
        state.sessions[nth].down = mpsc::channel(1).0;
        self.0.changed.notify_all();
    }
}

impl Session {
    fn send(&self, channel: u64, message: to_relay::Message) {
        let message = ToRelay {
            channel,
            message: Some(message),
        };
        // The relay may have left.
        self.down.try_send(Ok(message)).ok();
    }

    fn take(&mut self, said: FromRelay) -> Result<(), String> {
        let number = said.channel;
        match said.message {
            Some(from_relay::Message::Hello(_)) if number == 0 => Ok(()),
            Some(from_relay::Message::Heartbeat(heartbeat)) if number == 0 => {
                self.heartbeats += 1;
                self.lost = heartbeat.losses;
                Ok(())
            }
            Some(from_relay::Message::Instance(FromInstance { message: Some(message) })) if number > 0 => {
                if let from_instance::Message::Hello(hello) = &message {
                    let channel = Channel {
                        hello: hello.clone(),
                        mirror: Mirror::default(),
                        ended: Vec::new(),
                        closed: None,
                    };
                    if self.channels.insert(number, channel).is_some() {
                        return Err(format!("channel {number} was used before"));
                    }
                }
                let channel = self.channels.get_mut(&number);
                let channel = channel.filter(|it| it.closed.is_none());
                let channel = channel.ok_or_else(|| format!("channel {number} is not open"))?;
                if let from_instance::Message::Batch(batch) = &message {
                    channel.ended.extend(batch.ended.iter().cloned());
                }
                let applied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| channel.mirror.apply(message)));
                applied.map_err(|_| format!("channel {number}: see above"))
            }
            Some(from_relay::Message::Closed(closed)) if number > 0 => {
                let channel = self.channels.get_mut(&number).ok_or("an unknown channel is closed")?;
                channel.closed = Some(closed.process_died);
                Ok(())
            }
            other => Err(format!("{other:?} on channel {number}")),
        }
    }
}

#[tonic::async_trait]
impl Upstream for Double {
    fn name(&self) -> &str {
        &self.0.name
    }

    async fn connect(&self, outgoing: Outgoing) -> Result<Incoming, Lost> {
        if self.0.state.lock().unwrap().mode == Mode::Away {
            return Err("nobody is there".into());
        }
        let said = self.converse(outgoing.map(Ok::<_, Status>));
        Ok(Box::pin(ReceiverStream::new(said).map(|it| it.map_err(Into::into))))
    }
}

#[tonic::async_trait]
impl WaitStream for Double {
    type ConnectStream = ReceiverStream<Result<FromCollector, Status>>;

    async fn connect(&self, _: Request<Streaming<FromInstance>>) -> Result<Response<Self::ConnectStream>, Status> {
        Err(Status::unimplemented("this collector serves relays only"))
    }

    type RelayStream = ReceiverStream<Result<ToRelay, Status>>;

    async fn relay(&self, request: Request<Streaming<FromRelay>>) -> Result<Response<Self::RelayStream>, Status> {
        Ok(Response::new(ReceiverStream::new(self.converse(request.into_inner()))))
    }
}
