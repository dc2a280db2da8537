//! How long a collector that comes back needs until it knows again what is open everywhere.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use standoff_agent::OpenSpan;
use standoff_collector::{Collector, Settings, Times};
use standoff_protocol::api::AlertState;

use super::{GIVE_UP_AFTER, Instance, instance, remote, stats};
use crate::cli::Rebuild;
use crate::commands::collector;
use crate::exit::Exit;
use crate::watch::Watch;

/// The waits of one request that hangs: a client waits for a handler, which waits for another one, which waits for what
/// nobody knows.
const WAITS_PER_REQUEST: usize = 3;

/// Two servers that wait for each other.
const WAITS_PER_DEADLOCK: usize = 2;

/// How often the collector is asked whether it knows everything.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// What is measured of one return, from just before the collector listens again.
#[derive(Clone, Copy)]
struct Return {
    /// It listens.
    listening: Duration,
    /// Every instance has sent all that it has open.
    mirrored: Duration,
    /// Every deadlock was confirmed, and fires again.
    firing: Duration,
}

/// Lets instances wait for one another, takes the collector away from them again and again, and measures until it knows
/// everything again. The instances are the library's own, each with its own connection, and wait before they connect
/// again as they always do.
pub(in crate::commands) async fn rebuild(options: Rebuild) -> anyhow::Result<Exit> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // A collector that knows whom to wait for is ready once it has heard of everyone.
    let folder = tempfile::tempdir().context("cannot make a folder for the collector")?;
    let mut settings = Settings {
        http: any_port,
        stream: any_port,
        otlp_grpc: None,
        otlp_http: None,
        data_dir: Some(folder.path().to_owned()),
        times: Times::default(),
    };
    let mut collector = collector::start(settings.clone()).await?;
    settings.http = collector.http();
    settings.stream = collector.stream();
    let world = World::new(&format!("http://{}", collector.stream()), &options)?;
    fire(&collector, options.deadlocks).await?;
    mirror(&collector, world.waits).await?;

    let mut returns = Vec::new();
    for _ in 0..options.runs {
        collector.stop().await;
        tokio::time::sleep(options.away).await;
        let begun = Instant::now();
        collector = collector::start(settings.clone()).await?;
        let listening = begun.elapsed();
        let mirrored = async {
            ready(&collector).await?;
            anyhow::Ok(begun.elapsed())
        };
        let firing = async {
            fire(&collector, options.deadlocks).await?;
            anyhow::Ok(begun.elapsed())
        };
        let (mirrored, firing) = tokio::try_join!(mirrored, firing)?;
        ensure!(
            open_calls(&collector).await? == world.waits,
            "the collector was ready, and did not know all waits"
        );
        returns.push(Return {
            listening,
            mirrored,
            firing,
        });
    }
    print(&options, &world, &returns)?;
    for instance in world.instances {
        instance.agent.shutdown();
    }
    collector.stop().await;
    Ok(Exit::Well)
}

/// The instances, and all that is open in them.
struct World {
    instances: Vec<Instance>,
    waits: u64,
    open: Vec<OpenSpan>,
}

impl World {
    fn new(upstream: &str, options: &Rebuild) -> anyhow::Result<Self> {
        let count = usize::try_from(options.instances)?;
        let instances = (0..count).map(|number| instance(upstream, &format!("i{number}"), options.report_after));
        let mut world = Self {
            instances: instances.collect::<Result<_, _>>()?,
            waits: 0,
            open: Vec::new(),
        };
        for number in 0..usize::try_from(options.deadlocks)? {
            world.deadlock(number);
        }
        let waits = usize::try_from(options.waits)?;
        let left = waits.saturating_sub(usize::try_from(world.waits)?);
        for number in 0..left.div_ceil(WAITS_PER_REQUEST) {
            world.request(number);
        }
        Ok(world)
    }

    fn instance(&self, number: usize) -> &Instance {
        &self.instances[number % self.instances.len()]
    }

    /// Servers of two instances call each other.
    fn deadlock(&mut self, number: usize) {
        let (one, other) = (self.instance(number), self.instance(number + 1));
        let [name_of_one, name_of_other] = ["one", "other"].map(|it| format!("server {it} {number}"));
        let turn = one.spans.handle("turn").resource(name_of_one.clone()).start();
        let call = one.spans.call(name_of_other.clone()).parent(turn.context()).start();
        let answering = other.spans.handle("turn").resource(name_of_other);
        let answering = answering.parent(&remote(call.context())).start();
        let back = other.spans.call(name_of_one).parent(answering.context()).start();
        self.waits += WAITS_PER_DEADLOCK as u64;
        self.open.extend([turn, call, answering, back]);
    }

    /// A client's call is served by another instance, whose call a third one serves, which calls what nobody knows.
    fn request(&mut self, number: usize) {
        let [client, first, second] = [0, 1, 2].map(|hop| self.instance(number + hop));
        let call = client.spans.call("front").start();
        let serving = first.spans.handle("serve").parent(&remote(call.context())).start();
        let inner = first.spans.call("back").parent(serving.context()).start();
        let working = second.spans.handle("work").parent(&remote(inner.context())).start();
        let outer = second.spans.call("elsewhere").parent(working.context()).start();
        self.waits += WAITS_PER_REQUEST as u64;
        self.open.extend([call, serving, inner, working, outer]);
    }
}

/// Waits until so many deadlocks fire.
async fn fire(collector: &Collector, deadlocks: u32) -> anyhow::Result<()> {
    let firing = async {
        let mut watch = Watch::open(&format!("http://{}", collector.http())).await?;
        let mut ids = BTreeSet::new();
        while ids.len() < usize::try_from(deadlocks)? {
            ids.insert(watch.next(AlertState::Firing).await?.id);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(GIVE_UP_AFTER, firing)
        .await
        .context("not all alerts fire")?
}

/// Waits until the collector has heard of everyone whom it knew.
async fn ready(collector: &Collector) -> anyhow::Result<()> {
    let url = format!("http://{}/readyz", collector.http());
    let client = reqwest::Client::new();
    let ready = async {
        while !client.get(&url).send().await?.status().is_success() {
            tokio::time::sleep(ASK_EVERY).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(GIVE_UP_AFTER, ready)
        .await
        .context("the collector is not ready")?
}

/// Waits until the collector knows so many waits.
async fn mirror(collector: &Collector, waits: u64) -> anyhow::Result<()> {
    let mirrored = async {
        while open_calls(collector).await? != waits {
            tokio::time::sleep(ASK_EVERY).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(GIVE_UP_AFTER, mirrored)
        .await
        .context("the collector does not know all waits")?
}

/// How many calls are open as the collector sees it.
async fn open_calls(collector: &Collector) -> anyhow::Result<u64> {
    Ok(stats(&format!("http://{}", collector.http())).await?.open_calls)
}

fn print(options: &Rebuild, world: &World, returns: &[Return]) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{} waits of {} instances ({} spans), {} deadlocks, {} returns after {:?} each, in ms",
        world.waits,
        options.instances,
        world.open.len(),
        options.deadlocks,
        returns.len(),
        options.away
    )?;
    writeln!(out, "{:>14} {:>8} {:>8} {:>8}", "", "least", "median", "worst")?;
    let mut row = |name: &str, of: fn(&Return) -> Duration| {
        let mut times: Vec<f64> = returns.iter().map(|it| of(it).as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        let at = |index: usize| times.get(index).copied().unwrap_or(f64::NAN);
        let (median, worst) = (at(times.len() / 2), at(times.len().saturating_sub(1)));
        writeln!(out, "{name:>14} {:>8.1} {median:>8.1} {worst:>8.1}", at(0))
    };
    row("listens", |it| it.listening)?;
    row("knows all", |it| it.mirrored)?;
    row("alerts fire", |it| it.firing)?;
    Ok(())
}
