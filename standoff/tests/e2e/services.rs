//! ServiceA and ServiceB over a real RabbitMQ and a real Redis, each replica a process of its own.

use std::time::Duration;

use jiff::Timestamp;
use standoff_protocol::api::{Alert, AlertState, CallState, Confirmation, Resolution};
use xtask::servers::{self, RabbitMq, Redis, Shared};

use crate::support::{Collector, Running, eventually, held, standoff};

const SERVER_A: &str = "{:server_a, 42}";
const SERVER_B: &str = "{:server_b, 42}";

/// A collector, the replicas of both services, and the servers between them.
pub(crate) struct System {
    pub(crate) collector: Collector,
    /// ServiceA's first, then ServiceB's.
    replicas: Vec<Running>,
    amqp: String,
    redis: String,
    prefix: String,
    _servers: (Option<Shared<RabbitMq>>, Shared<Redis>),
}

impl System {
    pub(crate) async fn start(replicas: usize) -> Self {
        let broker = servers::amqp().unwrap();
        let amqp = broker.url().to_owned();
        let mut system = Self::over(amqp, replicas).await;
        system._servers.0 = Some(broker);
        system
    }

    /// Over a broker that somebody else keeps.
    async fn over(amqp: String, replicas: usize) -> Self {
        let store = servers::redis().unwrap();
        let mut system = Self {
            collector: Collector::start().await,
            replicas: Vec::new(),
            amqp,
            redis: store.url().to_owned(),
            // Tests share the servers.
            prefix: format!("e2e-{:x}:", rand::random::<u64>()),
            _servers: (None, store),
        };
        for service in ["service-a", "service-b"] {
            for number in 1..=replicas {
                system.replicas.push(system.replica(service, number));
            }
        }
        for replica in &system.replicas {
            replica.logs(&["ready"]).await;
        }
        system
    }

    fn run(&self, name: &str, command: &str, more: &[&str]) -> Running {
        let upstream = self.collector.upstream();
        let mut args = vec![
            command,
            "--amqp",
            &self.amqp,
            "--prefix",
            &self.prefix,
            "--redis",
            &self.redis,
        ];
        args.extend(["--upstream", &upstream, "--log", "debug,lapin=warn"]);
        args.extend(more);
        Running::start(name, standoff(&args))
    }

    fn replica(&self, service: &str, number: usize) -> Running {
        let name = format!("{service}-{number}");
        self.run(
            &name,
            service,
            &["--instance-id", &name, "--placement", "deterministic"],
        )
    }

    pub(crate) fn request(&self, ids: impl IntoIterator<Item = i64>, timeout: &str) -> Running {
        let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let mut args = vec!["--timeout", timeout];
        args.extend(ids.iter().map(String::as_str));
        self.run("request", "request", &args)
    }

    /// Asks for 42, and waits for the alert.
    async fn deadlock(&self) -> (Running, Alert) {
        let request = self.request([42], "5s");
        (request, self.firing().await)
    }

    /// The alert that is firing, once it tells of the test runner and both server processes. Each reports on a stream of
    /// its own, so the victim may come after the core.
    pub(crate) async fn firing(&self) -> Alert {
        let tells_all = |alert: &Alert| alert.state == AlertState::Firing && timeouts(alert).len() == 3;
        self.collector
            .alert_that("a firing alert of three who will time out", tells_all)
            .await
    }
}

/// When those who wait give up.
fn timeouts(alert: &Alert) -> Vec<Timestamp> {
    let waits = alert.core.iter().chain(&alert.victims).flat_map(|task| &task.waits);
    waits.filter_map(|wait| wait.timeout_at).collect()
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    from.duration_until(to).as_secs_f64()
}

/// Fired soon after the call that closed the cycle, and before anyone's patience ended.
pub(crate) fn assert_early(alert: &Alert) {
    let fired = alert.fired_at.unwrap();
    let closing = alert
        .core
        .iter()
        .flat_map(|task| &task.waits)
        .map(|wait| wait.started_at)
        .max()
        .unwrap();
    assert!(
        seconds(closing, fired) < 1.0,
        "fired {} s after the closing call",
        seconds(closing, fired)
    );
    let timeouts = timeouts(alert);
    assert!(
        timeouts.iter().all(|timeout| fired < *timeout),
        "fired at {fired}, timeouts {timeouts:?}"
    );
}

/// The three callers time out, and that resolves the alert.
async fn assert_times_out(system: &System, mut request: Running) {
    assert_eq!(request.ends().await.code(), Some(1));
    assert_eq!(request.out(), "42: no reply within 5s\n");
    let resolved = system.collector.alert(AlertState::Resolved).await;
    assert_eq!(resolved.resolution, Some(Resolution::Timeout));
    assert_eq!(resolved.occurrences, 1);
    let ended = |process: &str| format!("the process has ended and is started anew process={process}");
    let timed_out = [ended(SERVER_A), ended(SERVER_B)];
    eventually("both server processes to time out", async || {
        let logs: String = system.replicas.iter().map(Running::log).collect();
        timed_out.iter().all(|text| logs.contains(text)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_for_42_raises_one_alert_before_anyone_times_out() {
    let system = System::start(2).await;
    let mut healthy = system.request([7], "5s");
    assert!(healthy.ends().await.success(), "{}", healthy.log());
    let (request, alert) = system.deadlock().await;
    assert_eq!(alert.confirmation, Some(Confirmation::Probed));
    assert!(
        [SERVER_A, SERVER_B].iter().all(|name| held(&alert).contains(name)),
        "{}",
        alert.summary
    );
    assert_early(&alert);
    assert_times_out(&system, request).await;
    assert_eq!(system.collector.alerts().await.len(), 1, "exactly one alert");
}

#[tokio::test]
async fn with_one_replica_the_core_goes_through_the_exhausted_queue() {
    let system = System::start(1).await;
    let (request, alert) = system.deadlock().await;
    assert_eq!(alert.confirmation, Some(Confirmation::Probed));
    assert!(
        [SERVER_A, SERVER_B].iter().all(|name| held(&alert).contains(name)),
        "{}",
        alert.summary
    );
    let mut waits = alert.core.iter().flat_map(|task| &task.waits);
    assert!(waits.any(|wait| wait.state == CallState::Queued && wait.target.as_deref() == Some("service-a")));
    assert_early(&alert);
    assert_times_out(&system, request).await;
    let mut healthy = system.request([7], "5s");
    assert!(
        healthy.ends().await.success(),
        "what was left in the queue has expired: {}",
        healthy.log()
    );
    assert_eq!(system.collector.alerts().await.len(), 1, "exactly one alert");
}

#[tokio::test]
async fn thousands_of_other_requests_at_once_raise_nothing() {
    let system = System::start(2).await;
    let ids = (0..2000).map(|number| 100 + number % 200);
    let mut request = system.request(ids, "100s");
    assert!(
        request.ends_within(Duration::from_secs(120)).await.success(),
        "{}",
        request.out()
    );
    assert_eq!(request.out().lines().count(), 2000);
    assert_eq!(system.collector.alerts().await, []);
}

#[tokio::test]
async fn a_replica_that_is_killed_while_it_waits_leaves_no_alert() {
    let mut system = System::start(2).await;
    let (mut request, alert) = system.deadlock().await;
    let holder = alert
        .core
        .iter()
        .find(|task| task.resources.iter().any(|it| it == SERVER_A))
        .unwrap();
    let number: usize = holder.instance.strip_prefix("service-a-").unwrap().parse().unwrap();
    system.replicas[number - 1].kill();
    let resolved = system.collector.alert(AlertState::Resolved).await;
    assert_eq!(resolved.resolution, Some(Resolution::InstanceLost));
    // What the dead replica had in hand is delivered again, and refused.
    assert_eq!(request.ends().await.code(), Some(1));
    let mut healthy = system.request([7, 8], "20s");
    assert!(healthy.ends().await.success(), "{}", healthy.out());
    assert_eq!(system.collector.alerts().await, [resolved]);
}

/// Kills and restarts the collector while the deadlock stands.
async fn restarted_collector(replicas: usize) {
    let mut system = System::start(replicas).await;
    let (_request, first) = system.deadlock().await;
    system.collector.kill();
    system.collector.start_again().await;
    let returned = Timestamp::now();
    let again = system.collector.alert(AlertState::Firing).await;
    assert_eq!(again.fingerprint, first.fingerprint);
    let late = seconds(returned, again.fired_at.unwrap());
    assert!(late < 1.0, "fired {late} s after the collector's return");
}

#[tokio::test]
async fn a_restarted_collector_raises_the_deadlock_again() {
    restarted_collector(2).await;
}

#[tokio::test]
async fn a_restarted_collector_raises_the_deadlock_through_the_queue_again() {
    restarted_collector(1).await;
}

#[tokio::test]
async fn services_survive_an_outage_of_the_broker() {
    let mut broker = tokio::task::spawn_blocking(|| RabbitMq::start().unwrap())
        .await
        .unwrap();
    let mut system = System::over(broker.url(), 2).await;
    let mut healthy = system.request([7], "5s");
    assert!(healthy.ends().await.success(), "{}", healthy.log());
    // Stopping and booting a broker takes longer than the outage is to last.
    let broker = tokio::task::spawn_blocking(move || {
        let begun = std::time::Instant::now();
        broker.stop().unwrap();
        let stopped = begun.elapsed();
        broker.start_again().unwrap();
        assert!(
            begun.elapsed() - stopped >= Duration::from_secs(3),
            "the outage was too short to mean anything"
        );
        broker
    })
    .await
    .unwrap();
    let mut healthy = system.request([7, 8, 9], "20s");
    assert!(healthy.ends().await.success(), "{}", healthy.out());
    for replica in &mut system.replicas {
        assert!(replica.is_running(), "{}", replica.log());
    }
    assert_eq!(system.collector.alerts().await, []);
    let (request, _alert) = system.deadlock().await;
    assert_times_out(&system, request).await;
    drop(broker);
}

#[tokio::test]
async fn replicas_end_in_good_order_when_asked_to() {
    let mut system = System::start(1).await;
    for replica in &mut system.replicas {
        replica.terminate();
        assert!(replica.ends().await.success(), "{}", replica.log());
    }
    let stats = system.collector.stats("goodbyes", |stats| stats.instances == 0).await;
    assert_eq!(stats.instances_silent, 0);
}
