//! `standoff demo --script`: runs a wait pattern with real servers, and says what deadlocked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use standoff_agent::relay::{self, Grpc, Relay};
use standoff_collector::{Collector, Settings, Times};
use standoff_demo_services::demo;
use standoff_demo_services::script::{self, Config, Processes, Run, StartError};
use standoff_protocol::api::{Alert, AlertList, AlertState};
use standoff_script::Script;
use tokio_util::sync::CancellationToken;

use super::{collector, print, services, tell, told};
use crate::cli;
use crate::exit::{Exit, Failure};
use crate::watch::Watch;

/// How long to wait before a collector elsewhere is asked again for its events.
const WATCH_AGAIN_AFTER: Duration = Duration::from_millis(200);

pub(super) async fn run(options: &cli::Demo, text: &str, end: CancellationToken) -> anyhow::Result<Exit> {
    let script = parse(text, options.script.scale)?;
    let way = Way::open(options).await?;
    let exit = tokio::select! {
        () = end.cancelled() => Ok(Exit::Well),
        started = start(options, text, script, &way) => match started {
            Ok(run) => {
                let exit = report(options, &run, &way.url, &end).await;
                run.shutdown().await;
                exit
            }
            Err(error) => Err(error),
        },
    };
    way.close().await;
    exit
}

fn parse(text: &str, scale: u32) -> anyhow::Result<Script> {
    let script: Script = text
        .parse()
        .map_err(|error: standoff_script::ScriptError| Failure::Usage(error.to_string()))?;
    Ok(script.scaled(scale))
}

/// The way of the reports: to a collector in this process, unless it is elsewhere, and through a relay if asked.
struct Way {
    collector: Option<Collector>,
    relay: Option<Relay>,
    /// Where instances report.
    upstream: String,
    /// The collector's HTTP API.
    url: String,
}

impl Way {
    async fn open(options: &cli::Demo) -> anyhow::Result<Self> {
        let mut way = Self::to_the_collector(options).await?;
        if options.script.relay {
            let relay = relay(&way.upstream).await;
            match relay {
                Ok(relay) => {
                    way.upstream = format!("http://{}", relay.stream());
                    way.relay = Some(relay);
                }
                Err(error) => {
                    way.close().await;
                    return Err(error);
                }
            }
        }
        Ok(way)
    }

    async fn to_the_collector(options: &cli::Demo) -> anyhow::Result<Self> {
        if let Some(upstream) = &options.script.upstream {
            return Ok(Self {
                collector: None,
                relay: None,
                upstream: upstream.clone(),
                url: options.script.url.trim_end_matches('/').to_owned(),
            });
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
        Ok(Self {
            upstream: format!("http://{}", collector.stream()),
            url: format!("http://{}", collector.http()),
            relay: None,
            collector: Some(collector),
        })
    }

    async fn close(self) {
        if let Some(relay) = self.relay {
            relay.stop().await;
        }
        if let Some(collector) = self.collector {
            collector.stop().await;
        }
    }
}

/// A relay of this process, on a port that nobody needs to know.
async fn relay(upstream: &str) -> anyhow::Result<Relay> {
    let times = Times::default();
    let settings = relay::Settings {
        stream: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        http: None,
        otlp_grpc: None,
        otlp_http: None,
        name: "demo".to_owned(),
        heartbeat: times.heartbeat,
        lease: times.lease,
        max_open: times.max_open,
    };
    let upstream = Grpc::new(upstream).map_err(|error| Failure::Usage(format!("--upstream: {error}")))?;
    Ok(Relay::start(settings, vec![Box::new(upstream)]).await?)
}

async fn start(options: &cli::Demo, text: &str, script: Script, way: &Way) -> anyhow::Result<Run> {
    let this = std::env::current_exe().context("cannot find this program's own file")?;
    let args = [
        ("--script", text.to_owned()),
        ("--scale", options.script.scale.to_string()),
        ("--upstream", way.upstream.clone()),
        ("--report-after", format!("{}us", options.report_after.as_micros())),
    ];
    let command = move |server: &str| {
        let mut command = Command::new(&this);
        command.arg("script-server").args(["--server", server]);
        for (flag, value) in &args {
            command.args([flag, value.as_str()]);
        }
        command
    };
    let processes = if options.script.processes {
        Processes::All
    } else {
        Processes::Crashing
    };
    let config = Config {
        script,
        settings: settings(&way.upstream, options.report_after),
        processes,
        command: Box::new(command),
    };
    Run::start(config).await.map_err(failure)
}

fn settings(upstream: &str, report_after: Duration) -> demo::Settings {
    demo::Settings {
        upstream: upstream.to_owned(),
        report_after,
        ..demo::Settings::default()
    }
}

/// Runs the clients, and prints the alerts about the script's own instances.
async fn report(options: &cli::Demo, run: &Run, url: &str, end: &CancellationToken) -> anyhow::Result<Exit> {
    let watch = Watch::open(url).await;
    let watch = watch.map_err(|error| unreachable(url, &error))?;
    tell(&format!("all servers are ready; alerts are at {url}/api/v1/alerts"));
    let mut found = Found {
        json: options.json,
        instances: run.instances(),
        alerts: BTreeMap::new(),
    };
    let at_most = async {
        match options.script.at_most {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    // If they are not done, they wait on until the last alert has been read: their end would dissolve it.
    let clients = run.clients();
    tokio::pin!(clients);
    tokio::select! {
        () = &mut clients => {}
        () = at_most => {}
        () = end.cancelled() => {}
        told = follow(watch, url, &mut found) => told?,
    }
    // Whatever the events have not told yet.
    for alert in all_alerts(url).await.map_err(|error| unreachable(url, &error))? {
        found.hear(alert)?;
    }
    found.end()
}

/// Hears what the collector tells, for as long as it takes. A collector elsewhere may be restarted meanwhile.
async fn follow(mut watch: Watch, url: &str, found: &mut Found<'_>) -> anyhow::Result<()> {
    loop {
        while let Ok(alert) = watch.next_of_any_state().await {
            found.hear(alert)?;
        }
        watch = loop {
            tokio::time::sleep(WATCH_AGAIN_AFTER).await;
            if let Ok(watch) = Watch::open(url).await {
                break watch;
            }
        };
    }
}

/// All alerts that anybody has been told of, oldest first.
async fn all_alerts(url: &str) -> anyhow::Result<Vec<Alert>> {
    let mut alerts = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = format!("{url}/api/v1/alerts?state=all&page_size=1000&page_token={page_token}");
        let page: AlertList = reqwest::get(page).await?.error_for_status()?.json().await?;
        alerts.extend(page.alerts);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            alerts.reverse();
            return Ok(alerts);
        }
    }
}

/// The alerts of a run.
struct Found<'a> {
    json: bool,
    instances: &'a BTreeSet<String>,
    /// By id.
    alerts: BTreeMap<String, Kept>,
}

struct Kept {
    /// As it was when most tasks were in it. Those behind it come later than the alert itself, and go before it is over.
    widest: Alert,
    is_over: bool,
}

impl Found<'_> {
    /// An alert fires, has changed, or is over.
    fn hear(&mut self, alert: Alert) -> anyhow::Result<()> {
        let is_ours = alert.core.iter().all(|task| self.instances.contains(&task.instance));
        if alert.state == AlertState::Suspected || !is_ours {
            return Ok(());
        }
        let id = alert.id.clone();
        let is_new = !self.alerts.contains_key(&id);
        let kept = self.alerts.entry(id).or_insert_with(|| Kept {
            widest: alert.clone(),
            is_over: false,
        });
        if is_new && !self.json {
            say(&told(&alert))?;
        }
        if kept.is_over {
            return Ok(());
        }
        if alert.state == AlertState::Firing {
            let width = |alert: &Alert| (alert.core_total, alert.victims_total);
            if width(&alert) >= width(&kept.widest) {
                kept.widest = alert;
            }
            return Ok(());
        }
        kept.is_over = true;
        if self.json {
            return print(&kept.widest);
        }
        let resolution = alert.resolution.map(|it| format!("{it:?}").to_lowercase());
        say(&format!(
            "resolved: {}: {}",
            resolution.unwrap_or_default(),
            alert.summary
        ))
    }

    /// The run is over. Prints what has not been printed yet.
    fn end(self) -> anyhow::Result<Exit> {
        if self.json {
            for kept in self.alerts.values().filter(|it| !it.is_over) {
                print(&kept.widest)?;
            }
        } else if self.alerts.is_empty() {
            say("no deadlock")?;
        }
        Ok(if self.alerts.is_empty() {
            Exit::Well
        } else {
            Exit::Found
        })
    }
}

/// A result for people.
fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

fn unreachable(url: &str, error: &anyhow::Error) -> Failure {
    Failure::Unreachable(format!(
        "no collector answers at {url}: {error:#}; say with --url where its HTTP API is"
    ))
}

fn failure(error: StartError) -> anyhow::Error {
    match error {
        StartError::Agent(error) => services::start_failure(error),
        StartError::Unreachable { .. } => Failure::Unreachable(error.to_string()).into(),
        StartError::TooManyInstances(_) | StartError::NoSuchServer(_) => Failure::Usage(error.to_string()).into(),
        StartError::Process { .. } | StartError::NotReady => error.into(),
    }
}

/// `standoff script-server`: one server of a script.
pub(in crate::commands) async fn serve(options: cli::ScriptServer) -> anyhow::Result<Exit> {
    let script = parse(&options.script, options.scale)?;
    let settings = settings(&options.upstream, options.report_after);
    script::run_server(&script, &options.server, &settings)
        .await
        .map_err(failure)?;
    Ok(Exit::Well)
}
