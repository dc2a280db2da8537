//! A real tracing-opentelemetry stack: when is what captured?

#[expect(clippy::unwrap_used, reason = "a failed expectation is what tests are for")]
#[expect(dead_code, reason = "shared with the tests of the stream, which need more of it")]
mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::trace::{TraceContextExt, TracerProvider};
use standoff_agent::{Agent, StartCapture};
use standoff_protocol::stream::{Role, Started};
use tracing::{Event, Instrument, Subscriber, info_span, instrument};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use support::{Collector, Service, eventually};

const NOBODY: &str = "http://127.0.0.1:1";

fn subscriber(service: &Service) -> impl Subscriber + Send + Sync + 'static {
    let layer = tracing_opentelemetry::layer().with_tracer(service.provider.tracer("test"));
    tracing_subscriber::registry().with(layer).with(StartCapture::new())
}

fn captured(service: &Service) -> u64 {
    service.agent.counters().captured
}

#[test]
fn a_call_is_captured_when_it_is_created() {
    let service = Service::start(Agent::builder().upstream(NOBODY));
    tracing::subscriber::with_default(subscriber(&service), || {
        let call = info_span!("ask", otel.kind = "client", standoff.target = "b");
        assert_eq!(
            (captured(&service), service.agent.counters().open),
            (1, 1),
            "though nobody has entered it"
        );
        drop(call);
        assert_eq!(service.agent.counters().open, 0);

        for (nth, role) in (2..).zip(["call", "hold", "member"]) {
            let span = info_span!("by role", standoff.role = role, standoff.resource = "r");
            assert_eq!((captured(&service), service.agent.counters().open), (nth, 1), "{role}");
            drop(span);
        }
    });
}

#[test]
fn what_is_not_a_call_is_left_to_be_entered() {
    let service = Service::start(Agent::builder().upstream(NOBODY));
    tracing::subscriber::with_default(subscriber(&service), || {
        let none = info_span!("none", otel.kind = "client", standoff.role = "none");
        let plain = info_span!("plain");
        let handle = info_span!("handle", otel.kind = "server");
        assert_eq!(captured(&service), 0);
        let caller = opentelemetry::Context::new();
        assert!(handle.set_parent(caller).is_ok(), "its parent can still be set");
        handle.in_scope(|| assert_eq!(captured(&service), 1));
        drop((none, plain));
    });
}

#[test]
fn the_attributes_of_a_call_are_captured_with_it() {
    let collector = Collector::start();
    let service = Service::start(collector.agent().report_after(Duration::ZERO));
    let (call, reported) = tracing::subscriber::with_default(subscriber(&service), || {
        let call = info_span!(
            "ask",
            otel.name = "ask b",
            otel.kind = "client",
            standoff.target = "{:server_b, 42}",
            standoff.timeout_ms = 5000_u64,
            standoff.detached = true,
            standoff.wait.group = "g",
            standoff.wait.needed = 1,
            standoff.wait.size = 2,
        );
        let reported: Started = collector.wait_latest("the call", |mirror| mirror.open.values().next().cloned());
        (call, reported)
    });
    assert_eq!((reported.role(), reported.name.as_str()), (Role::Call, "ask b"));
    assert_eq!(
        (reported.target.as_str(), reported.timeout_ms),
        ("{:server_b, 42}", 5000)
    );
    assert!(reported.detached);
    let group = reported.wait_group.unwrap();
    assert_eq!((group.name.as_str(), group.needed, group.size), ("g", 1, 2));
    drop(call);
}

#[test]
fn an_instrumented_handler_is_captured_at_its_first_poll() {
    static INSIDE: Mutex<Option<(u64, bool)>> = Mutex::new(None);

    #[instrument(skip_all, fields(otel.kind = "consumer", standoff.resource = "{:server_a, 42}"))]
    async fn turn(service: &Service) {
        let open = service.agent.counters().open;
        let call = info_span!("ask", otel.kind = "client", standoff.target = "b");
        let parent = call.context().span().span_context().is_valid();
        *INSIDE.lock().unwrap() = Some((open, parent));
        async {}.instrument(call).await;
    }

    let collector = Collector::start();
    let service = Service::start(collector.agent());
    tracing::subscriber::with_default(subscriber(&service), || {
        let turn = turn(&service);
        assert_eq!(captured(&service), 0, "a future that is not polled does nothing");
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(turn);
        assert_eq!(*INSIDE.lock().unwrap(), Some((1, true)), "open before its body runs");
        assert_eq!(captured(&service), 2);
    });
    eventually("both to have ended", || service.agent.counters().open == 0);
}

#[test]
fn calls_within_handlers_are_beneath_them() {
    let collector = Collector::start();
    let service = Service::start(collector.agent().report_after(Duration::ZERO));
    tracing::subscriber::with_default(subscriber(&service), || {
        let handle = info_span!("turn", otel.kind = "consumer");
        let _inside = handle.enter();
        let _call = info_span!("ask", otel.kind = "client", standoff.target = "b");
        let (handle, call) = collector.wait_latest("both", |mirror| {
            let find = |role| mirror.open.values().find(|span| span.role() == role).cloned();
            Some((find(Role::Handle)?, find(Role::Call)?))
        });
        assert_eq!(call.parent_span_id, handle.span_id);
    });
}

/// Counts the events of the agent's thread, and those of all others.
struct Threads(&'static [AtomicUsize; 2]);

impl<S: Subscriber> Layer<S> for Threads {
    fn on_event(&self, _event: &Event<'_>, _context: Context<'_, S>) {
        let is_other = std::thread::current().name() != Some("standoff-agent");
        self.0[usize::from(is_other)].fetch_add(1, Relaxed);
    }
}

#[test]
fn the_application_s_subscriber_is_not_run_by_the_agent() {
    // A thread of the application may be stuck within the subscriber; the agent must not be drawn into that.
    static COUNTS: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Threads(&COUNTS))).unwrap();
    let collector = Collector::start();
    let service = Service::start(collector.agent().report_after(Duration::ZERO));
    let _call = service.spans.call("b").start();
    collector.wait_latest("the call", |mirror| (mirror.open.len() == 1).then_some(()));
    let [agent, others] = [0, 1].map(|nth: usize| COUNTS[nth].load(Relaxed));
    assert_eq!(agent, 0);
    assert!(
        others > 0,
        "the collector's side of the same connection does have events"
    );
}
