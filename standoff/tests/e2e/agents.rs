//! The agent library in processes that are stalled, stuck or slow, against a real collector.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use rustix::process::Signal;
use standoff_agent::{Agent, OpenSpan, Spans, propagation};
use standoff_protocol::api::{AlertState, Confirmation};

use crate::support::{Collector, signal};

/// Set for the process that a test starts of itself, to the collector's native stream.
const UPSTREAM: &str = "E2E_UPSTREAM";
/// Set for it to the context that it is called with.
const TRACEPARENT: &str = "traceparent";

/// An instrumented service of one instance.
pub(crate) struct Service {
    agent: Agent,
    pub(crate) spans: Spans,
    _provider: SdkTracerProvider,
}

impl Service {
    pub(crate) fn start(name: &str, upstream: &str) -> Self {
        let agent = Agent::builder().upstream(upstream).start().unwrap();
        let identity = [("service.name", name), ("service.instance.id", name)];
        let resource = Resource::builder_empty()
            .with_attributes(identity.map(|(key, value)| KeyValue::new(key, value.to_owned())));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_span_processor(agent.processor())
            .build();
        Self {
            agent,
            spans: Spans::new(&provider),
            _provider: provider,
        }
    }

    /// A turn of the actor `name`, for a request with this context.
    pub(crate) fn turn(&self, name: &str, caller: &Context) -> OpenSpan {
        self.spans
            .handle("turn")
            .resource(name.to_owned())
            .parent(caller)
            .start()
    }

    pub(crate) fn call(&self, target: &str, turn: &OpenSpan) -> OpenSpan {
        self.spans
            .call(target.to_owned())
            .timeout(Duration::from_secs(60))
            .parent(turn.context())
            .start()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.agent.shutdown();
    }
}

/// A context as it arrives in another process.
pub(crate) fn received(headers: &HashMap<String, String>) -> Context {
    propagation::extract(headers)
}

pub(crate) fn sent(span: &OpenSpan) -> HashMap<String, String> {
    let mut headers = HashMap::new();
    propagation::inject(span.context(), &mut headers);
    headers
}

/// This test again, in a process of its own.
pub(crate) struct Itself {
    child: Child,
}

impl Itself {
    pub(crate) fn start(test: &str, upstream: &str, traceparent: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(UPSTREAM, upstream)
            .env(TRACEPARENT, traceparent)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// The `traceparent` of the call that it makes, which it prints.
    fn traceparent(&mut self) -> HashMap<String, String> {
        let out = BufReader::new(self.child.stdout.as_mut().unwrap());
        let mut lines = out.lines().map(Result::unwrap);
        let line = lines
            .find_map(|line| line.strip_prefix("traceparent=").map(str::to_owned))
            .unwrap();
        HashMap::from([(TRACEPARENT.to_owned(), line)])
    }
}

impl Drop for Itself {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// In the process that a test has started of itself: A is in a turn and calls B; the only thread then waits for ever.
pub(crate) fn turn_that_never_ends() {
    let Ok(upstream) = std::env::var(UPSTREAM) else { return };
    let caller = HashMap::from([(TRACEPARENT.to_owned(), std::env::var(TRACEPARENT).unwrap())]);
    let a = Service::start("a", &upstream);
    let turn = a.turn("A", &received(&caller));
    let call = a.call("B", &turn);
    let mut out = std::io::stdout();
    writeln!(out, "\ntraceparent={}", sent(&call)[TRACEPARENT]).unwrap();
    out.flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// B answers A's call at once, so its handler is never reported; A does not read the reply; B's next turn calls A. What
/// is reported looks like a cycle, and is none.
#[tokio::test]
async fn an_answered_call_is_no_deadlock_however_long_its_caller_stalls() {
    let collector = Collector::start().await;
    let (a, b) = (
        Service::start("a", &collector.upstream()),
        Service::start("b", &collector.upstream()),
    );
    let turn_of_a = a.turn("A", &Context::new());
    let call_of_a = a.call("B", &turn_of_a);
    b.turn("B", &received(&sent(&call_of_a))).end();
    let next_turn_of_b = b.turn("B", &Context::new());
    let call_of_b = b.call("A", &next_turn_of_b);
    let refuted = collector
        .stats("the suspicion to be refuted", |stats| stats.refuted_total > 0)
        .await;
    // It is not suspected again: nothing is asked a second time.
    let later = collector
        .stats("time to pass", |stats| stats.events_total >= 4 && stats.instances == 2)
        .await;
    assert_eq!((refuted.refuted_total, later.refuted_total), (1, 1));
    assert_eq!(collector.alerts().await, []);
    drop((call_of_b, next_turn_of_b, call_of_a, turn_of_a));
}

/// The same with A's whole process stopped before it reads the reply, for longer than its lease.
#[tokio::test]
async fn an_answered_call_is_no_deadlock_even_if_the_callers_process_is_stopped() {
    turn_that_never_ends();
    let collector = Collector::start().await;
    let b = Service::start("b", &collector.upstream());
    let client = Service::start("client", &collector.upstream());
    let request = client.spans.call("A").start();
    let test = "agents::an_answered_call_is_no_deadlock_even_if_the_callers_process_is_stopped";
    let mut a = Itself::start(test, &collector.upstream(), &sent(&request)[TRACEPARENT]);
    let call_of_a = a.traceparent();
    collector
        .stats("A's turn to be reported", |stats| stats.open_calls == 2)
        .await;
    b.turn("B", &received(&call_of_a)).end();
    signal(a.child.id(), Signal::STOP);
    let next_turn_of_b = b.turn("B", &Context::new());
    let call_of_b = b.call("A", &next_turn_of_b);
    collector
        .stats("the suspicion to be refuted", |stats| stats.refuted_total > 0)
        .await;
    collector
        .stats("A to be silent", |stats| stats.instances_silent == 1)
        .await;
    signal(a.child.id(), Signal::CONT);
    collector
        .stats("A to be back", |stats| stats.instances_silent == 0)
        .await;
    assert_eq!(collector.alerts().await, []);
    drop((call_of_b, next_turn_of_b, request));
}

/// Every thread of A's application waits for ever; its library still reports and answers.
#[tokio::test]
async fn a_service_whose_every_thread_is_stuck_still_reports_and_answers() {
    turn_that_never_ends();
    let collector = Collector::start().await;
    let b = Service::start("b", &collector.upstream());
    let client = Service::start("client", &collector.upstream());
    let request = client.spans.call("A").start();
    let test = "agents::a_service_whose_every_thread_is_stuck_still_reports_and_answers";
    let mut a = Itself::start(test, &collector.upstream(), &sent(&request)[TRACEPARENT]);
    let turn_of_b = b.turn("B", &received(&a.traceparent()));
    // The client reports on a stream of its own: its request is a victim of the alert only once it has come.
    collector
        .stats("the client's request and A's call to be reported", |stats| {
            stats.open_calls == 2
        })
        .await;
    let call_of_b = b.call("A", &turn_of_b);
    let alert = collector.alert(AlertState::Firing).await;
    assert_eq!(alert.summary, "A → B → A");
    assert_eq!(alert.confirmation, Some(Confirmation::Probed));
    assert_eq!(alert.victims_total, 1);
    drop((call_of_b, turn_of_b, request));
}

/// A process that dies on the collector's host is known to be dead, not merely silent: what it offered is gone at once,
/// and is not unknown for minutes.
#[tokio::test]
async fn a_process_that_dies_is_seen_to_be_dead() {
    turn_that_never_ends();
    let collector = Collector::start().await;
    let client = Service::start("client", &collector.upstream());
    let request = client.spans.call("A").start();
    let test = "agents::a_process_that_dies_is_seen_to_be_dead";
    let a = Itself::start(test, &collector.upstream(), &sent(&request)[TRACEPARENT]);
    collector
        .stats("A's turn to be reported", |stats| {
            stats.instances == 2 && stats.open_calls == 2
        })
        .await;
    drop(a);
    let seen = collector.stats("A to leave", |stats| stats.instances == 1).await;
    assert_eq!(seen.instances_silent, 0, "dead, not silent");
    drop(request);
}
