//! Faults of every part between a service and its alerts, with real processes: what is seen of them, and how soon all is
//! well again.
//!
//! Each test prints its row of the fault table: `cargo test -p standoff --test e2e faults:: -- --nocapture`.

mod link;
mod outage;
mod world;

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use standoff_protocol::api::{AlertState, Resolution};

use crate::support::{Collector, Running, eventually, free_address, signal, standoff};
use link::{Deaf, Firewall, Proxy};
use outage::Outage;
use world::{DEADLOCK, Relay, SHORT, Scene, Service, row};

#[tokio::test]
async fn a_relay_is_killed() {
    let collector = Collector::start_with(SHORT).await;
    let mut relay = Relay::start(&[&collector.upstream()]).await;
    let scene = Scene::start(&relay.upstream());
    let outage = Outage::begin(&collector, &scene).await;
    relay.process.kill();
    let outage = outage.lasts(&scene, Some(&collector)).await;
    relay.start_again().await;
    outage.ends("kill -9 of the relay", &collector, scene, None).await;
}

#[tokio::test]
async fn a_relay_is_frozen_for_longer_than_the_lease() {
    let collector = Collector::start_with(SHORT).await;
    let relay = Relay::start(&[&collector.upstream()]).await;
    let scene = Scene::start(&relay.upstream());
    let outage = Outage::begin(&collector, &scene).await;
    signal(relay.process.pid(), Signal::STOP);
    let outage = outage.lasts(&scene, Some(&collector)).await;
    signal(relay.process.pid(), Signal::CONT);
    let memory = Some(relay.process.pid());
    outage.ends("SIGSTOP of the relay", &collector, scene, memory).await;
}

#[tokio::test]
async fn a_collector_is_killed_behind_a_relay() {
    let mut collector = Collector::start_with(SHORT).await;
    let relay = Relay::start(&[&collector.upstream()]).await;
    let scene = Scene::start(&relay.upstream());
    let outage = Outage::begin(&collector, &scene).await;
    collector.kill();
    let outage = outage.lasts(&scene, None).await;
    collector.start_again().await;
    let memory = Some(relay.process.pid());
    outage.ends("kill -9 of the collector", &collector, scene, memory).await;
}

#[tokio::test]
async fn a_collector_is_killed_without_a_relay() {
    let mut collector = Collector::start_with(SHORT).await;
    let scene = Scene::start(&collector.upstream());
    let outage = Outage::begin(&collector, &scene).await;
    collector.kill();
    let outage = outage.lasts(&scene, None).await;
    collector.start_again().await;
    outage.ends("the same, without a relay", &collector, scene, None).await;
}

#[tokio::test]
async fn the_link_to_the_collector_goes_dead_and_is_healed() {
    let collector = Collector::start_with(SHORT).await;
    let proxy = Proxy::start(collector.stream()).await;
    let relay = Relay::start(&[&proxy.upstream()]).await;
    let scene = Scene::start(&relay.upstream());
    let outage = Outage::begin(&collector, &scene).await;
    proxy.cut();
    let outage = outage.lasts(&scene, Some(&collector)).await;
    proxy.heal();
    let memory = Some(relay.process.pid());
    outage
        .ends("link cut by a silent proxy", &collector, scene, memory)
        .await;
}

/// In a network namespace of its own, where rules drop what goes to and comes from the collector's port.
#[tokio::test]
async fn a_firewall_drops_what_goes_to_the_collector_and_is_taken_away() {
    let test = "faults::a_firewall_drops_what_goes_to_the_collector_and_is_taken_away";
    let Some(firewall) = Firewall::within_a_namespace(test) else {
        return;
    };
    let collector = Collector::start_with(SHORT).await;
    let relay = Relay::start(&[&collector.upstream()]).await;
    let scene = Scene::start(&relay.upstream());
    let outage = Outage::begin(&collector, &scene).await;
    firewall.cut(collector.stream());
    let outage = outage.lasts(&scene, Some(&collector)).await;
    firewall.heal(collector.stream());
    let memory = Some(relay.process.pid());
    outage
        .ends("link cut by dropping rules", &collector, scene, memory)
        .await;
}

/// A script whose servers are processes, and the process of its server A, deadlocked.
async fn deadlocked_processes(collector: &Collector, relay: &Relay) -> (Running, u32) {
    let (upstream, url) = (relay.upstream(), collector.url());
    let script = "x: A{B{A@60000}@60000}@60000";
    let args = [
        "demo",
        "--json",
        "--processes",
        "--script",
        script,
        "--upstream",
        &upstream,
        "--url",
        &url,
    ];
    let demo = Running::start("demo", standoff(&args));
    collector.alert(AlertState::Firing).await;
    let a = world::child_that_serves(demo.pid(), "A");
    (demo, a)
}

#[tokio::test]
async fn a_service_is_killed() {
    let collector = Collector::start_with(SHORT).await;
    let relay = Relay::start(&[&collector.upstream()]).await;
    let (demo, a) = deadlocked_processes(&collector, &relay).await;
    let begun = Instant::now();
    signal(a, Signal::KILL);
    let resolved = collector.alert(AlertState::Resolved).await;
    let after = begun.elapsed();
    assert_eq!(resolved.resolution, Some(Resolution::InstanceLost));
    // Dead, not silent: nothing of it is open any more, and nobody waits for its lease.
    let seen = eventually("A to leave", async || {
        let stats = collector.snapshot().await.stats;
        (stats.instances == 2).then_some(stats)
    });
    assert_eq!(seen.await.instances_silent, 0);
    assert_eq!(collector.alerts().await.len(), 1, "no other alert");
    drop(demo);
    row(
        "kill -9 of a service",
        &format!("its deadlock was over {after:.0?} later; dead, not silent; no other alert"),
    );
}

#[tokio::test]
async fn a_service_is_frozen_for_longer_than_its_lease() {
    let collector = Collector::start_with(SHORT).await;
    let relay = Relay::start(&[&collector.upstream()]).await;
    let (demo, a) = deadlocked_processes(&collector, &relay).await;
    signal(a, Signal::STOP);
    let silent = eventually("A to be silent", async || {
        let snapshot = collector.snapshot().await;
        (snapshot.stats.instances_silent == 1).then_some(snapshot)
    });
    let firing = silent.await.alerts.len();
    let begun = Instant::now();
    signal(a, Signal::CONT);
    eventually("the deadlock to be told again", async || {
        let snapshot = collector.snapshot().await;
        let is_whole = snapshot.stats.instances_silent == 0 && snapshot.alerts.len() == 1;
        is_whole.then_some(())
    })
    .await;
    let after = begun.elapsed();
    assert!(
        collector.alerts().await.iter().all(|it| it.summary == DEADLOCK),
        "no other alert"
    );
    drop(demo);
    let seen =
        format!("{firing} alerts while it was silent; thawed, its deadlock was told {after:.0?} later; no other alert");
    row("SIGSTOP of a service", &seen);
}

/// One collector accepts connections and never reads. The other one, and the services, do not notice.
#[tokio::test]
async fn a_collector_accepts_and_never_reads() {
    let deaf = Deaf::start();
    let collector = Collector::start_with(SHORT).await;
    let relay = Relay::start(&[&deaf.upstream(), &collector.upstream()]).await;
    let scene = Scene::start(&relay.upstream());
    let outage = Outage::begin(&collector, &scene).await;
    let outage = outage.lasts(&scene, None).await;
    let memory = Some(relay.process.pid());
    outage
        .ends("one upstream of two never reads", &collector, scene, memory)
        .await;
}

/// Nothing else is there: neither the relay nor the library keeps what it cannot tell.
#[tokio::test]
async fn what_nobody_reads_is_not_kept() {
    let deaf = Deaf::start();
    let relay = Relay::start(&[&deaf.upstream()]).await;
    let (behind_a_relay, alone) = (
        Service::start("a", &relay.upstream()),
        Service::start("b", &deaf.upstream()),
    );
    let kib = || [relay.process.pid(), std::process::id()].map(world::resident_kib);
    // What is allocated once, is.
    for service in [&behind_a_relay, &alone] {
        world::churn(service, 2);
    }
    let before = kib();
    let (median, worst) = world::latency(&alone, Duration::from_secs(2));
    for service in [&behind_a_relay, &alone] {
        world::churn(service, 20);
    }
    let after = kib();
    let [relay_kib, services_kib] = [0, 1].map(|it| after[it].saturating_sub(before[it]));
    // Each of the 80,000 starts and ends takes a hundred bytes at least, if it is kept.
    assert!(
        relay_kib < 4 * 1024 && services_kib < 4 * 1024,
        "{before:?} KiB before, {after:?} after"
    );
    let seen = format!(
        "relay +{relay_kib} KiB and services +{services_kib} KiB for 80,000 calls; calls take {median:.0?} (99 % within {worst:.0?})"
    );
    row("the only upstream never reads", &seen);
}

#[tokio::test]
async fn the_disk_for_the_logs_is_full() {
    let (http, stream, relays) = (free_address(), free_address(), free_address());
    let full = |args: &[&str]| {
        let disk = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = standoff(args);
        world::Killed(command.stdout(Stdio::null()).stderr(disk).spawn().unwrap())
    };
    let (http_text, stream_text) = (http.to_string(), stream.to_string());
    let upstream = format!("http://{stream}");
    let mut collector = full(&[
        "collector",
        "--http",
        &http_text,
        "--stream",
        &stream_text,
        "--log",
        "debug",
    ]);
    let mut relay = full(&[
        "agent",
        "--stream",
        &relays.to_string(),
        "--http",
        "off",
        "--upstream",
        &upstream,
        "--log",
        "debug",
    ]);
    let scene = Scene::start(&format!("http://{relays}"));
    let deadlock = scene.deadlock();
    let alerts = format!("http://{http}/api/v1/alerts");
    eventually("the alert", async || {
        let answer = reqwest::get(&alerts).await.ok()?.text().await.ok()?;
        answer.contains(DEADLOCK).then_some(())
    })
    .await;
    for process in [&mut collector, &mut relay] {
        assert!(process.0.try_wait().unwrap().is_none(), "it runs on");
    }
    drop((deadlock, scene));
    row(
        "a full disk for the logs",
        "collector and relay run on, and the deadlock was told",
    );
}
