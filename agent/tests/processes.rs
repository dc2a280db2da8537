//! Flushing, shutting down and forking.

#![expect(clippy::unwrap_used, reason = "a failed expectation is what tests are for")]

#[expect(dead_code, reason = "shared with the tests of the stream, which need more of it")]
mod support;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fork::Fork;
use opentelemetry::Context;
use standoff_agent::{Agent, Connection};

use support::{Collector, Mode, Service, eventually, id};

const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn a_flush_does_not_wait_for_the_next_tick() {
    let collector = Collector::start();
    let eager = collector.agent().report_after(Duration::ZERO);
    let service = Service::start(eager.flush_every(NEVER).lease(NEVER).heartbeat(NEVER));
    collector.wait_latest("the open set", |mirror| (mirror.sets_complete == 1).then_some(()));
    let spans: Vec<_> = (0..5000).map(|_| service.spans.call("b").start()).collect();
    service.provider.force_flush().unwrap();
    assert_eq!(service.agent.counters().reported, 5000, "all of it, at once");
    collector.wait_latest("all calls", |mirror| (mirror.open.len() == 5000).then_some(()));
    spans.into_iter().for_each(standoff_agent::OpenSpan::end);
    service.provider.force_flush().unwrap();
    assert_eq!(service.agent.counters().finished, 5000);
}

#[test]
fn a_flush_sends_nothing_that_is_not_due() {
    let collector = Collector::start();
    let service = Service::start(collector.agent().report_after(NEVER));
    collector.wait_latest("the open set", |mirror| (mirror.sets_complete == 1).then_some(()));
    let _call = service.spans.call("b").start();
    service.provider.force_flush().unwrap();
    assert_eq!(service.agent.counters().reported, 0);
}

#[test]
fn a_flush_to_nobody_is_over_at_once() {
    let service = Service::start(
        Agent::builder()
            .upstream("http://127.0.0.1:1")
            .report_after(Duration::ZERO),
    );
    let _call = service.spans.call("b").start();
    service.provider.force_flush().unwrap();
    service.agent.shutdown();
    service.provider.force_flush().unwrap();
}

#[test]
fn a_flush_to_a_collector_that_does_not_read_gives_up() {
    let collector = Collector::start();
    collector.set_mode(Mode::Stall);
    let service = Service::start(collector.agent().report_after(Duration::ZERO).lease(NEVER));
    eventually("a welcome", || {
        service.agent.counters().connection == Connection::Connected
    });
    let long = "x".repeat(1000);
    let _spans: Vec<_> = (0..20_000)
        .map(|_| service.spans.handle("h").resource(&long).start())
        .collect();
    let asked = Instant::now();
    assert!(service.provider.force_flush().is_err());
    assert!(asked.elapsed() < Duration::from_secs(10));
}

/// A process with threads that are never done forks again and again. Each child uses everything that is there, and must
/// come to its end; the parent goes on as if nothing had been.
#[test]
fn a_forked_child_neither_hangs_nor_speaks() {
    const CHILDREN: usize = 30;
    let collector = Collector::start();
    let service = Service::start(collector.agent().report_after(Duration::ZERO));
    collector.wait_latest("the open set", |mirror| (mirror.sets_complete == 1).then_some(()));
    let done = AtomicBool::new(false);
    let work = || {
        for _ in 0..500 {
            let handle = service.spans.handle("h").resource("r").parent(&Context::new()).start();
            handle.in_scope(|| service.spans.call("b").start().end());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    work();
                }
            });
        }
        for _ in 0..CHILDREN {
            match fork::fork().unwrap() {
                Fork::Child => {
                    // Anything else than this process's own end would run the rest of the tests once more.
                    let began = Instant::now();
                    work();
                    service.agent.counters();
                    let is_quick = service.provider.force_flush().is_ok();
                    service.agent.shutdown();
                    let is_well = is_quick && began.elapsed() < Duration::from_secs(5);
                    std::process::exit(if is_well { 0 } else { 1 });
                }
                Fork::Parent(child) => {
                    let status = fork::waitpid(child).unwrap();
                    assert_eq!(fork::WEXITSTATUS(status), 0, "the child came to a good end: {status}");
                }
            }
        }
        done.store(true, Relaxed);
    });
    let call = service.spans.call("b").start();
    collector.wait_latest("the parent's call", |mirror| mirror.open.get(&id(&call)).cloned());
    collector.wait("one connection", |connections| {
        assert_eq!(connections.len(), 1);
        Some(())
    });
}
