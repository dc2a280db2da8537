//! What the examples in other languages must do, whichever language it is: ServiceA and ServiceB over a real RabbitMQ, which
//! send OTLP to a collector that cannot ask them anything.

use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use standoff_protocol::api::{Alert, AlertState, Confirmation, Resolution, Severity, Stats};
use xtask::servers::{self, RabbitMq, Shared};

use crate::support::{Collector, Running, SOON, held};

/// By how much the collector may grow in 45 s in which it hears of nothing but some 18,000 spans that have ended, a minute of
/// which it remembers in tables that double. It was 4 MB for 25,000, and nothing more in the half minute after.
const GROWTH_MAX: u64 = 8 << 20;

/// What a process of an example does.
#[derive(Clone, Copy)]
pub(crate) enum Role<'a> {
    ServiceA,
    ServiceB,
    /// Asks ServiceA for each of these, says what came of it, and fails if one was not answered.
    Request(&'a [i64]),
    /// Asks ServiceA for ids that do no harm, for so many seconds.
    Load(u64),
}

/// What the processes of an example meet on.
pub(crate) struct Ground {
    pub(crate) collector: Collector,
    /// The broker's address.
    pub(crate) amqp: String,
    /// Before the names of queues: tests share the broker.
    pub(crate) prefix: String,
    _broker: Shared<RabbitMq>,
}

impl Ground {
    async fn new() -> Self {
        let broker = servers::amqp().unwrap();
        Self {
            collector: Collector::start_with_otlp().await,
            amqp: broker.url().to_owned(),
            prefix: format!("e2e-{:x}-", rand::random::<u64>()),
            _broker: broker,
        }
    }

    /// A program that finds nothing about telemetry in its environment, and no way around the loopback interface.
    pub(crate) fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        command.env("NO_PROXY", "127.0.0.1").stdin(Stdio::null());
        command
    }
}

/// An example, as a command for each role.
pub(crate) trait Example: Fn(&Ground, Role<'_>) -> Command {}

impl<F: Fn(&Ground, Role<'_>) -> Command> Example for F {}

async fn services(ground: &Ground, example: &impl Example) -> [Running; 2] {
    let services = [
        Running::start("service-a", example(ground, Role::ServiceA)),
        Running::start("service-b", example(ground, Role::ServiceB)),
    ];
    for service in &services {
        service.logs(&["ready"]).await;
    }
    services
}

async fn succeeds(ground: &Ground, example: &impl Example, role: Role<'_>, patience: Duration) {
    let mut process = Running::start("requester", example(ground, role));
    assert!(process.ends_within(patience).await.success(), "{}", process.out());
}

/// Healthy traffic raises nothing. Asking for 42 raises one alert before anybody times out, and their timeouts resolve it.
pub(crate) async fn check_deadlock(example: impl Example) {
    let ground = Ground::new().await;
    let _services = services(&ground, &example).await;
    succeeds(&ground, &example, Role::Load(2), SOON).await;

    let mut request = Running::start("requester", example(&ground, Role::Request(&[42])));
    // The requester reports by itself, so it may come after the core, whose victim it is.
    let tells_all = |alert: &Alert| alert.state == AlertState::Firing && timeouts(alert).len() == 3;
    let alert = ground
        .collector
        .alert_that("a firing alert of three who will time out", tells_all)
        .await;
    assert!(request.is_running(), "it has timed out already");
    let fired = alert.fired_at.unwrap();
    let timeouts = timeouts(&alert);
    assert!(
        timeouts.iter().all(|timeout| fired < *timeout),
        "fired at {fired}, timeouts {timeouts:?}"
    );
    assert_eq!(alert.confirmation, Some(Confirmation::Settled));
    assert_eq!(alert.severity, Severity::Warning);
    assert_eq!(
        held(&alert),
        ["{:server_a, 42}", "{:server_b, 42}"],
        "{}",
        alert.summary
    );

    assert_eq!(request.ends().await.code(), Some(1), "{}", request.out());
    let resolved = ground.collector.alert(AlertState::Resolved).await;
    assert_eq!(resolved.resolution, Some(Resolution::Timeout));
    succeeds(&ground, &example, Role::Request(&[7, 8]), SOON).await;
    assert_eq!(ground.collector.alerts().await.len(), 1, "exactly one alert");
}

/// Services that tell only of spans that have ended, as everybody's do: nothing is suspected, and nothing grows.
pub(crate) async fn check_busy_for_a_minute(example: impl Example) {
    let ground = Ground::new().await;
    let _services = services(&ground, &example).await;
    let mut seconds_in_all = 0;
    let mut load = async |seconds| {
        let patience = SOON + Duration::from_secs(seconds);
        succeeds(&ground, &example, Role::Load(seconds), patience).await;
        assert_eq!(ground.collector.all_alerts().await, [], "not even suspected");
        // It has heard of all three, of twenty spans a second at least, however slow the machine is, and of nothing that
        // is open.
        seconds_in_all += seconds;
        let is_busy = |stats: &Stats| stats.instances >= 3 && stats.events_total >= 20 * seconds_in_all;
        let stats = ground.collector.stats("what three busy instances tell", is_busy).await;
        assert_eq!((stats.open_calls, stats.losses), (0, Vec::new()));
        ground.collector.memory_bytes()
    };
    // By then all connections and tables are there.
    let before = load(15).await;
    let after = load(45).await;
    assert!(after < before + GROWTH_MAX, "from {before} to {after} bytes in 45 s");
}

/// When those who wait give up.
fn timeouts(alert: &Alert) -> Vec<Timestamp> {
    let waits = alert.core.iter().chain(&alert.victims).flat_map(|task| &task.waits);
    waits.filter_map(|wait| wait.timeout_at).collect()
}
