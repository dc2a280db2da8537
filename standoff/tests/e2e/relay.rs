//! Relays between real services and real collectors, each a process of its own.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use standoff_protocol::api::{Alert, AlertState, Confirmation};

use crate::agents::{Itself, Service, received, sent, turn_that_never_ends};
use crate::support::{Collector, Running, eventually, free_address, signal, standoff};
use opentelemetry::Context;
use standoff_agent::OpenSpan;

pub(crate) struct Relay {
    pub(crate) process: Running,
    stream: SocketAddr,
    http: SocketAddr,
    otlp: SocketAddr,
    upstreams: String,
}

impl Relay {
    pub(crate) async fn start(collectors: &[&Collector]) -> Self {
        let upstreams: Vec<String> = collectors.iter().map(|it| it.upstream()).collect();
        let [stream, http, otlp] = [free_address(), free_address(), free_address()];
        let upstreams = upstreams.join(",");
        let relay = Self {
            process: spawn([stream, http, otlp], &upstreams),
            stream,
            http,
            otlp,
            upstreams,
        };
        relay.process.logs(&["relay listens"]).await;
        relay
    }

    /// Where OTLP is received.
    pub(crate) fn otlp_url(&self) -> String {
        format!("http://{}/v1/traces", self.otlp)
    }

    /// Where services report.
    fn url(&self) -> String {
        format!("http://{}", self.stream)
    }

    pub(crate) async fn start_again(&mut self) {
        self.process = spawn([self.stream, self.http, self.otlp], &self.upstreams);
        self.process.logs(&["relay listens"]).await;
    }

    /// Waits until its status page is so.
    pub(crate) async fn status(&self, what: &str, is: impl Fn(&serde_json::Value) -> bool) {
        let url = format!("http://{}/status", self.http);
        eventually(what, async || {
            let answer = reqwest::get(&url).await.unwrap().text().await.unwrap();
            is(&serde_json::from_str(&answer).unwrap()).then_some(())
        })
        .await;
    }
}

fn spawn(addresses: [SocketAddr; 3], upstreams: &str) -> Running {
    let [stream, http, otlp] = addresses.map(|it| it.to_string());
    let args = [
        "agent",
        "--stream",
        &stream,
        "--http",
        &http,
        "--otlp-http",
        &otlp,
        "--upstream",
        upstreams,
        "--log",
        "debug",
    ];
    Running::start("relay", standoff(&args))
}

/// Two services that wait for each other.
struct Deadlock {
    _spans: [OpenSpan; 4],
}

impl Deadlock {
    fn new(a: &Service, b: &Service) -> Self {
        let turn_of_a = a.turn("A", &Context::new());
        let call_of_a = a.call("B", &turn_of_a);
        let turn_of_b = b.turn("B", &received(&sent(&call_of_a)));
        let call_of_b = b.call("A", &turn_of_b);
        Self {
            _spans: [call_of_b, turn_of_b, call_of_a, turn_of_a],
        }
    }
}

fn assert_confirmed(alert: &Alert) {
    assert_eq!(alert.summary, "A → B → A");
    assert_eq!(alert.confirmation, Some(Confirmation::Probed));
}

#[tokio::test]
async fn a_deadlock_is_found_and_confirmed_through_a_relay() {
    let collector = Collector::start().await;
    let relay = Relay::start(&[&collector]).await;
    let (a, b) = (Service::start("a", &relay.url()), Service::start("b", &relay.url()));
    let deadlock = Deadlock::new(&a, &b);
    assert_confirmed(&collector.alert(AlertState::Firing).await);
    drop(deadlock);
    collector.all_over().await;
    drop((a, b));
    collector
        .stats("both to take leave", |stats| {
            stats.instances + stats.instances_silent == 0
        })
        .await;
}

#[tokio::test]
async fn a_deadlock_between_a_service_behind_a_relay_and_one_without_is_found_too() {
    let collector = Collector::start().await;
    let relay = Relay::start(&[&collector]).await;
    let (a, b) = (
        Service::start("a", &relay.url()),
        Service::start("b", &collector.upstream()),
    );
    let _deadlock = Deadlock::new(&a, &b);
    assert_confirmed(&collector.alert(AlertState::Firing).await);
}

#[tokio::test]
async fn two_collectors_both_find_it_though_one_of_them_comes_late() {
    let (first, mut second) = (Collector::start().await, Collector::start().await);
    second.kill();
    let relay = Relay::start(&[&first, &second]).await;
    let (a, b) = (Service::start("a", &relay.url()), Service::start("b", &relay.url()));
    let _deadlock = Deadlock::new(&a, &b);
    assert_confirmed(&first.alert(AlertState::Firing).await);
    second.start_again().await;
    assert_confirmed(&second.alert(AlertState::Firing).await);
}

#[tokio::test]
async fn a_collector_that_starts_again_finds_it_again_as_the_same() {
    let mut collector = Collector::start().await;
    let relay = Relay::start(&[&collector]).await;
    let (a, b) = (Service::start("a", &relay.url()), Service::start("b", &relay.url()));
    let deadlock = Deadlock::new(&a, &b);
    let alert = collector.alert(AlertState::Firing).await;
    collector.kill();
    collector.start_again().await;
    let again = collector.alert(AlertState::Firing).await;
    assert_confirmed(&again);
    assert_eq!(again.id, alert.id);
    drop(deadlock);
    collector.all_over().await;
}

#[tokio::test]
async fn a_relay_that_is_killed_and_started_again_loses_nothing() {
    let collector = Collector::start().await;
    let mut relay = Relay::start(&[&collector]).await;
    let (a, b) = (Service::start("a", &relay.url()), Service::start("b", &relay.url()));
    let turn_of_a = a.turn("A", &Context::new());
    let call_of_a = a.call("B", &turn_of_a);
    collector
        .stats("the call to be known", |stats| stats.open_calls == 1)
        .await;
    relay.process.kill();
    let turn_of_b = b.turn("B", &received(&sent(&call_of_a)));
    let call_of_b = b.call("A", &turn_of_b);
    relay.start_again().await;
    assert_confirmed(&collector.alert(AlertState::Firing).await);
    drop((call_of_b, turn_of_b, call_of_a, turn_of_a));
    collector.all_over().await;
}

/// Stopped for longer than any lease, and with a deadlock when it goes on.
#[tokio::test]
async fn a_relay_that_is_frozen_and_thawed_loses_nothing_and_invents_nothing() {
    let collector = Collector::start().await;
    let relay = Relay::start(&[&collector]).await;
    let (a, b) = (Service::start("a", &relay.url()), Service::start("b", &relay.url()));
    let quiet = a.spans.call("C").start();
    collector
        .stats("the call to be known", |stats| stats.open_calls == 1)
        .await;
    signal(relay.process.pid(), Signal::STOP);
    let _deadlock = Deadlock::new(&a, &b);
    collector
        .stats("both to be silent", |stats| stats.instances_silent == 2)
        .await;
    assert_eq!(collector.alerts().await, []);
    signal(relay.process.pid(), Signal::CONT);
    assert_confirmed(&collector.alert(AlertState::Firing).await);
    assert_eq!(collector.alerts().await.len(), 1);
    drop(quiet);
}

/// The relay sees it and says so: to the collector, the process could be on any host.
#[tokio::test]
async fn a_process_that_dies_is_told_to_be_dead() {
    turn_that_never_ends();
    let collector = Collector::start().await;
    let relay = Relay::start(&[&collector]).await;
    let client = Service::start("client", &relay.url());
    let request = client.spans.call("A").start();
    let test = "relay::a_process_that_dies_is_told_to_be_dead";
    let a = Itself::start(test, &relay.url(), &sent(&request)["traceparent"]);
    collector
        .stats("A's turn to be reported", |stats| {
            stats.instances == 2 && stats.open_calls == 2
        })
        .await;
    drop(a);
    let seen = collector.stats("A to leave", |stats| stats.instances == 1).await;
    assert_eq!(seen.instances_silent, 0, "dead, not silent");
    relay
        .status("one instance", |status| {
            status["instances"].as_array().unwrap().len() == 1
        })
        .await;
}

/// Asked to end, it says that nobody listens any more, not that the services are gone.
#[tokio::test]
async fn a_relay_that_ends_takes_no_service_with_it() {
    let collector = Collector::start().await;
    let mut relay = Relay::start(&[&collector]).await;
    let a = Service::start("a", &relay.url());
    let call = a.spans.call("B").start();
    collector
        .stats("the call to be known", |stats| stats.open_calls == 1)
        .await;
    relay.process.terminate();
    assert_eq!(relay.process.ends_within(Duration::from_secs(10)).await.code(), Some(0));
    collector
        .stats("A to be silent", |stats| {
            stats.instances_silent == 1 && stats.open_calls == 1
        })
        .await;
    relay.start_again().await;
    collector
        .stats("A to be back", |stats| {
            stats.instances == 1 && stats.instances_silent == 0
        })
        .await;
    drop(call);
}

#[tokio::test]
async fn a_relay_on_the_collectors_port_says_what_to_do() {
    let collector = Collector::start().await;
    let address = collector.upstream().replace("http://", "");
    let args = [
        "agent",
        "--stream",
        &address,
        "--upstream",
        "http://127.0.0.1:1",
        "--http",
        "off",
    ];
    let mut relay = Running::start("relay", standoff(&args));
    assert_eq!(relay.ends().await.code(), Some(2));
    assert!(
        relay.log().contains("set another address with --stream"),
        "{}",
        relay.log()
    );
    let own = free_address().to_string();
    let args = [
        "agent",
        "--stream",
        &own,
        "--upstream",
        &format!("http://{own}"),
        "--http",
        "off",
    ];
    let mut relay = Running::start("relay", standoff(&args));
    assert_eq!(relay.ends().await.code(), Some(2));
    assert!(relay.log().contains("which is also its upstream"), "{}", relay.log());
}
