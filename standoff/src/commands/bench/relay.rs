//! `standoff bench relay`: a million long calls through one relay.
//!
//! The relay is a process of its own, so that its memory is its own; the services and the collector are in this one. All
//! of it is the real thing over real connections.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use standoff_agent::relay::{self, Grpc};
use standoff_agent::{Agent, OpenSpan};
use standoff_collector::{Collector, Settings, Times};

use super::{Instance, collector, instance, process, stats};
use crate::cli::RelayBench;
use crate::exit::Exit;

/// As many calls as one instance keeps, with room for the shards to differ: their ids fall where they fall.
const CALLS_PER_INSTANCE_MAX: u32 = 240_000;

/// What has not come by then will not come.
const GIVE_UP_AFTER: Duration = Duration::from_secs(300);

/// How often the collector is asked what it knows.
const ASK_EVERY: Duration = Duration::from_millis(10);

pub(in crate::commands) async fn run(options: RelayBench) -> anyhow::Result<Exit> {
    if options.calls > options.instances.saturating_mul(CALLS_PER_INSTANCE_MAX) {
        bail!(
            "{} instances keep {} calls at most: give more --instances",
            options.instances,
            options.instances * CALLS_PER_INSTANCE_MAX
        );
    }
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut settings = Settings {
        http: any_port,
        stream: any_port,
        otlp_grpc: None,
        otlp_http: None,
        data_dir: None,
        times: Times::default(),
    };
    let collector = collector::start(settings.clone()).await?;
    (settings.http, settings.stream) = (collector.http(), collector.stream());
    let relay = Relay::start(settings.stream)?;
    let instances = (0..options.instances)
        .map(|number| instance(&relay.url, &format!("service-{number}"), Duration::ZERO))
        .collect::<anyhow::Result<Vec<Instance>>>()?;
    let mut out = std::io::stdout();
    let empty = relay.memory("VmRSS")?;
    writeln!(out, "relay without calls: {} MiB", empty >> 20)?;

    let began = Instant::now();
    let calls = open(&instances, options.calls);
    let opened = began.elapsed();
    until_known(&settings, options.calls).await?;
    let known = began.elapsed();
    let (used, most) = (relay.memory("VmRSS")?, relay.memory("VmHWM")?);
    writeln!(
        out,
        "{} calls of {} instances opened in {:.2} s, known to the collector after {:.2} s",
        options.calls,
        options.instances,
        opened.as_secs_f64(),
        known.as_secs_f64()
    )?;
    writeln!(
        out,
        "relay: {} MiB, at most {} MiB, {} bytes for each call",
        used >> 20,
        most >> 20,
        used.saturating_sub(empty) / u64::from(options.calls)
    )?;

    collector.stop().await;
    let began = Instant::now();
    let collector: Collector = collector::start(settings.clone()).await?;
    until_known(&settings, options.calls).await?;
    writeln!(
        out,
        "collector started again: it knows them all after {:.2} s; relay at most {} MiB",
        began.elapsed().as_secs_f64(),
        relay.memory("VmHWM")? >> 20
    )?;

    let began = Instant::now();
    drop(calls);
    until_known(&settings, 0).await?;
    writeln!(
        out,
        "all ended: known after {:.2} s; relay {} MiB",
        began.elapsed().as_secs_f64(),
        relay.memory("VmRSS")? >> 20
    )?;
    for agent in instances.iter().map(|it| &it.agent) {
        Agent::shutdown(agent);
    }
    collector.stop().await;
    Ok(Exit::Well)
}

/// A relay within this process.
pub(super) async fn within(upstream: &str) -> anyhow::Result<relay::Relay> {
    let settings = relay::Settings {
        stream: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        http: None,
        otlp_grpc: None,
        otlp_http: None,
        name: "bench".into(),
        heartbeat: Duration::from_secs(1),
        lease: Duration::from_secs(3),
        max_open: Duration::from_secs(600),
    };
    Ok(relay::Relay::start(settings, vec![Box::new(Grpc::new(upstream)?)]).await?)
}

/// Opens calls, each with names of the length that one meets.
fn open(instances: &[Instance], calls: u32) -> Vec<OpenSpan> {
    instances
        .iter()
        .cycle()
        .zip(0..calls)
        .map(|(instance, number)| {
            let call = instance.spans.call(format!("{{:server_b, {}}}", number % 50_000));
            call.timeout(Duration::from_secs(3600)).start()
        })
        .collect()
}

/// Waits until the collector knows of so many open calls.
async fn until_known(settings: &Settings, calls: u32) -> anyhow::Result<()> {
    let url = format!("http://{}", settings.http);
    let wait = async {
        loop {
            if stats(&url).await?.open_calls == u64::from(calls) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    tokio::time::timeout(GIVE_UP_AFTER, wait)
        .await
        .context("the collector does not know all calls")?
}

/// A relay in a process of its own.
struct Relay {
    child: Child,
    url: String,
}

impl Relay {
    fn start(upstream: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let child = Command::new(std::env::current_exe()?)
            .args([
                "agent",
                "--http",
                "off",
                "--otlp-grpc",
                "off",
                "--otlp-http",
                "off",
                "--log",
                "warn",
            ])
            .args(["--stream", &stream.to_string()])
            .args(["--upstream", &format!("http://{upstream}")])
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start the relay")?;
        let url = format!("http://{stream}");
        Ok(Self { child, url })
    }

    /// A size of its memory, in bytes, as Linux tells it.
    fn memory(&self, what: &str) -> anyhow::Result<u64> {
        process::memory(self.child.id(), what)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
