//! `standoff demo`: the main job in one process.

mod script;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use standoff_collector::{Collector, Settings, Times};
use standoff_demo_services::demo::{self, Embedded, EmbeddedConfig, Servers};
use standoff_protocol::api::{Alert, AlertState};
use tokio_util::sync::CancellationToken;

use super::{asked_to_end, collector, services, tui};
use crate::cli;
use crate::exit::Exit;
use crate::watch::Watch;

/// The healthy ids that are asked for at once before the one that deadlocks.
const HEALTHY_IDS: std::ops::RangeInclusive<i64> = 43..=142;

/// In the monitor: how often a healthy request is sent, and how long after the end of one deadlock the next is made.
const REQUEST_EVERY: Duration = Duration::from_millis(250);
const DEADLOCK_AFTER: Duration = Duration::from_secs(4);

/// How long RabbitMQ and Redis may take to answer. Servers that are up do so in milliseconds.
const REACH_WITHIN: Duration = Duration::from_secs(5);

/// How long after the last timeout an alert may take to be resolved, or to fire.
const GRACE: Duration = Duration::from_secs(5);

/// The resources that the alert must name.
const EXPECTED: [&str; 2] = ["{:server_a, 42}", "{:server_b, 42}"];

pub(super) use script::serve;

pub(super) async fn run(options: cli::Demo) -> anyhow::Result<Exit> {
    let end = asked_to_end()?;
    if let Some(text) = &options.script.script {
        return script::run(&options, text, end).await;
    }
    let settings = Settings {
        http: options.http,
        stream: options.stream,
        otlp_grpc: None,
        otlp_http: None,
        data_dir: None,
        times: Times::default(),
    };
    let collector = collector::start(settings).await?;
    let services = tokio::select! {
        () = end.cancelled() => {
            collector.stop().await;
            return Ok(Exit::Well);
        }
        services = start_services(&options, &collector) => services?,
    };
    let url = format!("http://{}", collector.http());
    let exit = if options.json || !std::io::stdout().is_terminal() {
        tokio::select! {
            () = end.cancelled() => Ok(Exit::Well),
            exit = report(&options, &services, &url) => exit,
        }
    } else {
        watch(&options, &services, url, end).await
    };
    services.shutdown().await;
    collector.stop().await;
    exit
}

async fn start_services(options: &cli::Demo, collector: &Collector) -> anyhow::Result<Embedded> {
    let servers = match (&options.amqp, &options.redis) {
        (Some(amqp), Some(redis)) => {
            let reached = demo::reach_servers(amqp, redis, REACH_WITHIN).await;
            reached.map_err(services::failure)?;
            Servers::Real {
                amqp_url: amqp.clone(),
                redis_url: redis.clone(),
                prefix: format!("standoff-demo-{}:", std::process::id()),
            }
        }
        (_, _) => Servers::InProcess,
    };
    let settings = demo::Settings {
        upstream: format!("http://{}", collector.stream()),
        report_after: options.report_after,
        request_timeout: options.timeout,
        ..demo::Settings::default()
    };
    let config = EmbeddedConfig {
        replicas: options.replicas.into(),
        servers,
        settings,
    };
    Embedded::start(config).await.map_err(services::start_failure)
}

/// Sends healthy requests and then, unless it is the healthy twin, the one that deadlocks; prints the alert.
async fn report(options: &cli::Demo, services: &Embedded, url: &str) -> anyhow::Result<Exit> {
    let mut watch = Watch::open(url).await?;
    let asked = HEALTHY_IDS.count();
    let answers = services.requester().request_all(HEALTHY_IDS).await;
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    tell(&format!("{answered} of {asked} healthy requests answered"));
    if options.healthy {
        return healthy_twin(answered == asked, &mut watch).await;
    }
    tell("asking ServiceA for 42, which asks ServiceB, which asks ServiceA");
    let (fired, answer) = tokio::join!(
        async {
            let fired = wait(options, &mut watch, AlertState::Firing).await?;
            if let Some(fired) = &fired {
                print(fired)?;
                tell(&told(fired));
            }
            anyhow::Ok(fired)
        },
        services.deadlock()
    );
    let fired = fired?;
    let answer = answer.map_or_else(|error| error.to_string(), |answer| answer.to_string());
    tell(&format!("the request for 42 ended: {answer}"));
    let Some(fired) = fired else {
        tell("no alert fired, although one should have");
        return Ok(Exit::Found);
    };
    let Some(resolved) = wait(options, &mut watch, AlertState::Resolved).await? else {
        tell("the alert still fires, although it should have been resolved");
        return Ok(Exit::Found);
    };
    let resolution = resolved
        .resolution
        .map(|it| format!("{it:?}").to_lowercase())
        .unwrap_or_default();
    tell(&format!("the alert is resolved: {resolution}"));
    Ok(if answered == asked && is_expected(&fired) {
        Exit::Well
    } else {
        Exit::Found
    })
}

/// Whatever could be suspected now would fire within the grace.
async fn healthy_twin(all_answered: bool, watch: &mut Watch) -> anyhow::Result<Exit> {
    match tokio::time::timeout(GRACE, watch.next(AlertState::Firing)).await {
        Err(_elapsed) => {
            tell("no alert fired");
            Ok(if all_answered { Exit::Well } else { Exit::Found })
        }
        Ok(alert) => {
            print(&alert?)?;
            Ok(Exit::Found)
        }
    }
}

/// The next alert in this state; `None` if it has not come when it should have.
async fn wait(options: &cli::Demo, watch: &mut Watch, state: AlertState) -> anyhow::Result<Option<Alert>> {
    match tokio::time::timeout(options.timeout.saturating_add(GRACE), watch.next(state)).await {
        Ok(alert) => alert.map(Some),
        Err(_elapsed) => Ok(None),
    }
}

fn is_expected(alert: &Alert) -> bool {
    let held = |name| alert.core.iter().any(|task| task.resources.iter().any(|it| it == name));
    EXPECTED.into_iter().all(held)
}

/// What was found, and how early.
fn told(alert: &Alert) -> String {
    let calls = alert
        .core
        .iter()
        .flat_map(|task| &task.waits)
        .map(|wait| wait.started_at);
    let mut text = format!("deadlock: {}", alert.summary);
    if let (Some(closing), Some(fired)) = (calls.max(), alert.fired_at) {
        text += &format!(
            "\nfired {} ms after the call that closed the cycle",
            (fired - closing).get_milliseconds()
        );
        if let Some(timeout) = alert.first_timeout_at {
            text += &format!(
                ", {} ms before the first timeout",
                fired.duration_until(timeout).as_millis()
            );
        }
    }
    text
}

/// Opens the monitor over requests that go on until it is left.
async fn watch(options: &cli::Demo, services: &Embedded, url: String, end: CancellationToken) -> anyhow::Result<Exit> {
    let monitor = standoff_tui::run(tui::look(url, &options.look), end.cancelled_owned());
    tokio::select! {
        left = monitor => left.map_err(tui::failure)?,
        () = keep_asking(services) => {}
        () = keep_deadlocking(services), if !options.healthy => {}
    }
    Ok(Exit::Well)
}

async fn keep_asking(services: &Embedded) {
    let mut every = tokio::time::interval(REQUEST_EVERY);
    let mut asked = futures_util::stream::FuturesUnordered::new();
    for id in HEALTHY_IDS.cycle() {
        // Answers come in their own time; whoever is behind a deadlock waits with it.
        tokio::select! {
            _ = every.tick() => asked.push(services.requester().request(id)),
            Some(_answer) = futures_util::StreamExt::next(&mut asked) => {}
        }
    }
}

async fn keep_deadlocking(services: &Embedded) {
    loop {
        tokio::time::sleep(DEADLOCK_AFTER).await;
        // It times out, which is what it is there for.
        services.deadlock().await.ok();
    }
}

/// A result.
fn print(alert: &Alert) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::to_string(alert)?)?;
    Ok(())
}

/// Something for people, which may go nowhere.
fn tell(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}
