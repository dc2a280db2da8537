//! A collector of our own for tests: it records what instances tell, and can ask, refuse, stall, go away and come back.

pub(crate) mod mirror;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use standoff_agent::{Agent, AgentBuilder, OpenSpan, Spans};
use standoff_protocol::stream::wait_stream_server::{WaitStream, WaitStreamServer};
use standoff_protocol::stream::{
    FromCollector, FromInstance, FromRelay, Hello, Probe, ResyncRequest, ToRelay, Welcome, from_collector,
    from_instance,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use self::mirror::Mirror;

/// How long any condition may take to come true. Far more than it needs, so that a busy machine fails no test.
const DEADLINE: Duration = Duration::from_secs(20);

/// An instrumented service as a user would build it.
pub(crate) struct Service {
    pub(crate) agent: Agent,
    pub(crate) provider: SdkTracerProvider,
    pub(crate) spans: Spans,
}

impl Service {
    pub(crate) fn start(builder: AgentBuilder) -> Self {
        let agent = builder.start().unwrap();
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "service-a"),
                KeyValue::new("service.namespace", "test"),
                KeyValue::new("service.instance.id", "a-1"),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(agent.processor())
            .build();
        let spans = Spans::new(&provider);
        Service { agent, provider, spans }
    }
}

/// The id of a span as it is on the wire.
pub(crate) fn id(span: &OpenSpan) -> u64 {
    u64::from_be_bytes(span.span_id().to_bytes())
}

/// What the collector is to do with instances that connect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Record what they tell.
    Serve,
    /// Turn them away.
    Refuse,
    /// Welcome them and read nothing.
    Stall,
}

/// One connection of an instance.
pub(crate) struct Connection {
    pub(crate) hello: Option<Hello>,
    pub(crate) mirror: Mirror,
    pub(crate) is_open: bool,
    down: mpsc::Sender<Result<FromCollector, Status>>,
}

pub(crate) struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mode: Mode,
    connections: Vec<Connection>,
    refused: usize,
    /// What an instance did against the rules of the stream.
    violation: Option<String>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let state = State {
            mode: Mode::Serve,
            connections: Vec::new(),
            refused: 0,
            violation: None,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let mut collector = Collector {
            address: ([127, 0, 0, 1], 0).into(),
            shared,
            runtime: None,
        };
        collector.come_back();
        collector
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A builder of agents that report here, with a short `report-after`.
    pub(crate) fn agent(&self) -> AgentBuilder {
        Agent::builder()
            .upstream(self.url())
            .report_after(Duration::from_millis(20))
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.shared.state.lock().unwrap().mode = mode;
    }

    /// Drops all connections and stops listening.
    pub(crate) fn go_away(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(DEADLINE);
        }
    }

    /// Listens at the same address as before.
    pub(crate) fn come_back(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind(self.address)).unwrap();
        self.address = listener.local_addr().unwrap();
        let service = WaitStreamServer::new(Receiving {
            shared: Arc::clone(&self.shared),
        });
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        self.runtime = Some(runtime);
    }

    /// Asks over the latest connection.
    pub(crate) fn probe(&self, probe: Probe) {
        self.say(from_collector::Message::Probe(probe));
    }

    pub(crate) fn ask_for_resync(&self) {
        self.say(from_collector::Message::ResyncRequest(ResyncRequest {}));
    }

    /// Hangs up the latest connection.
    pub(crate) fn hang_up(&self) {
        let down = self
            .shared
            .state
            .lock()
            .unwrap()
            .connections
            .last()
            .unwrap()
            .down
            .clone();
        down.blocking_send(Err(Status::unavailable("going away"))).unwrap();
    }

    fn say(&self, message: from_collector::Message) {
        let down = self
            .shared
            .state
            .lock()
            .unwrap()
            .connections
            .last()
            .unwrap()
            .down
            .clone();
        down.blocking_send(Ok(FromCollector { message: Some(message) }))
            .unwrap();
    }

    /// Waits until something is so of the connections so far, and returns it.
    pub(crate) fn wait<R>(&self, what: &str, mut found: impl FnMut(&[Connection]) -> Option<R>) -> R {
        self.wait_state(what, |state| found(&state.connections))
    }

    /// As [`Collector::wait`], of the latest connection.
    pub(crate) fn wait_latest<R>(&self, what: &str, mut found: impl FnMut(&Mirror) -> Option<R>) -> R {
        self.wait(what, |connections| found(&connections.last()?.mirror))
    }

    pub(crate) fn wait_refused(&self, count: usize) {
        self.wait_state("refusals", |state| (state.refused >= count).then_some(()));
    }

    fn wait_state<R>(&self, what: &str, mut found: impl FnMut(&State) -> Option<R>) -> R {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if let Some(violation) = &state.violation {
                panic!("against the rules of the stream: {violation}");
            }
            if let Some(result) = found(&state) {
                return result;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "still waiting for: {what}");
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits until something is so that nobody announces.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "still waiting for: {what}");
        std::thread::yield_now();
    }
}

struct Receiving {
    shared: Arc<Shared>,
}

#[tonic::async_trait]
impl WaitStream for Receiving {
    type ConnectStream = ReceiverStream<Result<FromCollector, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<FromInstance>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (down, stream) = mpsc::channel(16);
        let (nth, mode) = self.shared.accept(down.clone())?;
        let welcome = from_collector::Message::Welcome(Welcome {
            protocol_version: 1,
            heartbeat_ms: 0,
        });
        down.try_send(Ok(FromCollector { message: Some(welcome) })).unwrap();
        let shared = Arc::clone(&self.shared);
        let mut incoming = request.into_inner();
        tokio::spawn(async move {
            if mode == Mode::Stall {
                std::future::pending::<()>().await;
            }
            while let Ok(Some(FromInstance { message: Some(message) })) = incoming.message().await {
                shared.take(nth, message);
            }
            shared.close(nth);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type RelayStream = ReceiverStream<Result<ToRelay, Status>>;

    async fn relay(&self, _: Request<Streaming<FromRelay>>) -> Result<Response<Self::RelayStream>, Status> {
        Err(Status::unimplemented("this collector serves instances only"))
    }
}

impl Shared {
    fn accept(&self, down: mpsc::Sender<Result<FromCollector, Status>>) -> Result<(usize, Mode), Status> {
        let mut state = self.state.lock().unwrap();
        self.changed.notify_all();
        if state.mode == Mode::Refuse {
            state.refused += 1;
            return Err(Status::failed_precondition("this version is not spoken here"));
        }
        state.connections.push(Connection {
            hello: None,
            mirror: Mirror::default(),
            is_open: true,
            down,
        });
        Ok((state.connections.len() - 1, state.mode))
    }

    fn take(&self, nth: usize, message: from_instance::Message) {
        let mut state = self.state.lock().unwrap();
        let connection = &mut state.connections[nth];
        if let from_instance::Message::Hello(hello) = &message {
            connection.hello = Some(hello.clone());
        }
        let applied = catch_unwind(AssertUnwindSafe(|| connection.mirror.apply(message)));
        if let Err(panic) = applied {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            state.violation = Some(said.unwrap_or_default());
        }
        self.changed.notify_all();
    }

    fn close(&self, nth: usize) {
        let mut state = self.state.lock().unwrap();
        state.connections[nth].is_open = false;
        // Ends the other direction too.
        let (down, _) = mpsc::channel(1);
        state.connections[nth].down = down;
        self.changed.notify_all();
    }
}
