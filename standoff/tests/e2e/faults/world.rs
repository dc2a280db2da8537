//! Services with something to report, the relay between them and the collector, and what can be measured about them.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Child;
use std::time::{Duration, Instant};

use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use standoff_agent::{Agent, OpenSpan, Spans, propagation};

use crate::support::{Running, free_address, standoff};

/// Times of collectors and relays that let a fault be longer than a lease without taking long.
pub(super) const SHORT: &[&str] = &["--heartbeat", "200ms", "--lease", "1s"];

const LEASE: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_millis(200);

/// The summary of [`Scene::deadlock`].
pub(super) const DEADLOCK: &str = "A → B → A";
/// The summary of [`Scene::other_deadlock`].
pub(super) const OTHER_DEADLOCK: &str = "C → D → C";

/// Calls that are open in a [`Scene`] without a deadlock, and those of each deadlock.
pub(super) const CALLS: u64 = 2;
pub(super) const CALLS_OF_A_DEADLOCK: u64 = 2;

/// A row of the fault table.
pub(super) fn row(fault: &str, seen: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "FAULT │ {fault:<38} │ {seen}").unwrap();
}

/// An instrumented service of one instance, in this process.
pub(super) struct Service {
    pub(super) agent: Agent,
    spans: Spans,
    _provider: SdkTracerProvider,
}

impl Service {
    pub(super) fn start(name: &str, upstream: &str) -> Self {
        let agent = Agent::builder().upstream(upstream).lease(LEASE).heartbeat(HEARTBEAT);
        let agent = agent.start().unwrap();
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

    /// Serves `resource` for whoever made this call.
    fn serve(&self, resource: &'static str, caller: &Context) -> OpenSpan {
        let mut headers = std::collections::HashMap::new();
        propagation::inject(caller, &mut headers);
        let caller = propagation::extract(&headers);
        self.spans.handle("serve").resource(resource).parent(&caller).start()
    }

    fn call(&self, target: &'static str, within: &Context) -> OpenSpan {
        self.spans
            .call(target)
            .timeout(Duration::from_secs(300))
            .parent(within)
            .start()
    }
}

/// Four services that are well, in a way that looks like a deadlock if a part of it is not seen: a worker of a pool of two
/// waits for a worker, and only the instance that is last by name has the other one.
pub(super) struct Scene {
    a: Service,
    b: Service,
    c: Service,
    d: Service,
    _open: Vec<OpenSpan>,
}

impl Scene {
    pub(super) fn start(upstream: &str) -> Self {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| Service::start(name, upstream));
        let members = [&c, &d].map(|it| it.spans.member("pool").start());
        let busy = c.serve("pool", &Context::new());
        let waits_for_the_other = c.call("pool", busy.context());
        let slow_call = a.call("slow", &Context::new());
        let slow = d.serve("slow", slow_call.context());
        let mut open = vec![waits_for_the_other, busy, slow_call, slow];
        open.extend(members);
        Self {
            a,
            b,
            c,
            d,
            _open: open,
        }
    }

    pub(super) fn deadlock(&self) -> Vec<OpenSpan> {
        deadlock((&self.a, "A"), (&self.b, "B"))
    }

    pub(super) fn other_deadlock(&self) -> Vec<OpenSpan> {
        deadlock((&self.c, "C"), (&self.d, "D"))
    }

    /// The service whose latency is measured.
    pub(super) fn service(&self) -> &Service {
        &self.a
    }
}

fn deadlock(one: (&Service, &'static str), other: (&Service, &'static str)) -> Vec<OpenSpan> {
    let turn = one.0.serve(one.1, &Context::new());
    let call = one.0.call(other.1, turn.context());
    let other_turn = other.0.serve(other.1, call.context());
    let other_call = other.0.call(one.1, other_turn.context());
    vec![other_call, other_turn, call, turn]
}

/// A relay in a process of its own, which keeps its address over restarts.
pub(super) struct Relay {
    pub(super) process: Running,
    stream: SocketAddr,
    upstreams: String,
}

impl Relay {
    pub(super) async fn start(upstreams: &[&str]) -> Self {
        let (stream, upstreams) = (free_address(), upstreams.join(","));
        let process = spawn(stream, &upstreams).await;
        Self {
            process,
            stream,
            upstreams,
        }
    }

    pub(super) async fn start_again(&mut self) {
        self.process = spawn(self.stream, &self.upstreams).await;
    }

    /// Where services find it.
    pub(super) fn upstream(&self) -> String {
        format!("http://{}", self.stream)
    }
}

async fn spawn(stream: SocketAddr, upstreams: &str) -> Running {
    let stream = stream.to_string();
    let args = [
        "agent",
        "--stream",
        &stream,
        "--http",
        "off",
        "--upstream",
        upstreams,
        "--log",
        "debug",
    ];
    let process = Running::start("relay", standoff(&[&args, SHORT].concat()));
    process.logs(&["relay listens"]).await;
    process
}

/// A process that is killed when the test is done with it.
pub(super) struct Killed(pub(super) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The process that runs this server of a script.
pub(super) fn child_that_serves(parent: u32, server: &str) -> u32 {
    let processes = std::fs::read_dir("/proc").unwrap();
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut children = ids.filter(|id: &u32| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
        let is_child = read("status").lines().any(|line| line == format!("PPid:\t{parent}"));
        is_child && read("cmdline").contains(&format!("--server\0{server}\0"))
    });
    children.next().unwrap()
}

/// How much memory a process has in use.
pub(super) fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Makes short calls for so long, and says how long they take their service: the median, and what 99 of 100 are within.
pub(super) fn latency(service: &Service, duration: Duration) -> (Duration, Duration) {
    let (begun, mut taken) = (Instant::now(), Vec::new());
    while begun.elapsed() < duration {
        let start = Instant::now();
        service.spans.call("quick").start().end();
        taken.push(start.elapsed());
        // As a service does that has other work as well.
        std::thread::park_timeout(Duration::from_micros(200));
    }
    taken.sort();
    let (median, worst) = (taken[taken.len() / 2], taken[taken.len() * 99 / 100]);
    // Whoever waits for an upstream waits for a heartbeat at least. A busy machine is no excuse for the median.
    assert!(
        median < Duration::from_millis(1) && worst < HEARTBEAT,
        "{median:?}, {worst:?}"
    );
    (median, worst)
}

/// Calls that are long enough to be reported, begin and end: so many times two thousand.
pub(super) fn churn(service: &Service, rounds: usize) {
    for _ in 0..rounds {
        let calls: Vec<OpenSpan> = (0..2000).map(|_| service.spans.call("churn").start()).collect();
        std::thread::park_timeout(2 * REPORT_AFTER);
        calls.into_iter().for_each(OpenSpan::end);
    }
    assert!(service.agent.counters().captured >= 2000 * rounds as u64);
}

/// The library's own default.
const REPORT_AFTER: Duration = Duration::from_millis(20);
