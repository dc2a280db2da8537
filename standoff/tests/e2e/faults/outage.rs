//! An outage, from a deadlock before it, over one that forms while nobody can see it, to both being told.

use std::time::{Duration, Instant};

use standoff_agent::OpenSpan;
use standoff_protocol::api::{AlertState, Snapshot};

use super::world::{CALLS, CALLS_OF_A_DEADLOCK, DEADLOCK, OTHER_DEADLOCK, Scene, churn, latency, resident_kib, row};
use crate::support::{Collector, eventually};

/// How long the service's latency is measured: longer than the lease.
const LASTS: Duration = Duration::from_secs(2);

/// How much is reported meanwhile. More would be measured afterwards as well: what is not optimised takes a second for some
/// ten thousand events.
const CHURN_ROUNDS: usize = 2;

/// The most memory that the services may take for an outage, and the relay at all. A few MiB are usual.
const MEMORY_MAX_KIB: u64 = 64 * 1024;

/// How long after the end of an outage everything must be known at the latest, on a busy machine too.
const WHOLE_WITHIN: Duration = Duration::from_secs(10);

/// There is a deadlock, which fires.
pub(super) struct Outage {
    deadlock: Vec<OpenSpan>,
}

/// There are two deadlocks, one of which nobody could see begin.
pub(super) struct Lasting {
    deadlocks: Vec<OpenSpan>,
    median: Duration,
    worst: Duration,
    own_kib: (u64, u64),
}

impl Outage {
    pub(super) async fn begin(collector: &Collector, scene: &Scene) -> Self {
        let deadlock = scene.deadlock();
        eventually("the first deadlock", async || {
            let snapshot = collector.snapshot().await;
            is_whole(&snapshot, &[DEADLOCK]).then_some(())
        })
        .await;
        Self { deadlock }
    }

    /// The fault has begun. If `collector` is there to say so, it lasts until all services are silent.
    pub(super) async fn lasts(self, scene: &Scene, collector: Option<&Collector>) -> Lasting {
        let mut deadlocks = self.deadlock;
        let before = resident_kib(std::process::id());
        deadlocks.extend(scene.other_deadlock());
        let (median, worst) = latency(scene.service(), LASTS);
        churn(scene.service(), CHURN_ROUNDS);
        if let Some(collector) = collector {
            eventually("all services to be silent", async || {
                let stats = collector.snapshot().await.stats;
                (stats.instances_silent == 4).then_some(())
            })
            .await;
        }
        Lasting {
            deadlocks,
            median,
            worst,
            own_kib: (before, resident_kib(std::process::id())),
        }
    }
}

impl Lasting {
    /// The fault has ended. Waits until both deadlocks fire and everything is known, then until they are over.
    pub(super) async fn ends(self, fault: &str, collector: &Collector, scene: Scene, relay: Option<u32>) {
        let begun = Instant::now();
        let mut told = None;
        eventually("both deadlocks, and everything to be known", async || {
            let snapshot = collector.snapshot().await;
            if told.is_none() && fires(&snapshot, &[DEADLOCK, OTHER_DEADLOCK]) {
                told = Some(begun.elapsed());
            }
            is_whole(&snapshot, &[DEADLOCK, OTHER_DEADLOCK]).then_some(())
        })
        .await;
        let (whole, told) = (begun.elapsed(), told.unwrap());
        assert!(whole < WHOLE_WITHIN, "{whole:?}");
        let (before, after) = self.own_kib;
        let grown = after.saturating_sub(before);
        assert!(grown < MEMORY_MAX_KIB, "the services have grown by {grown} KiB");
        let relay = relay.map(resident_kib);
        assert!(
            relay.is_none_or(|kib| kib < MEMORY_MAX_KIB),
            "the relay has {relay:?} KiB"
        );
        drop(self.deadlocks);
        collector.all_over().await;
        let alerts = collector.alerts().await;
        assert!(
            alerts.iter().all(|it| it.state == AlertState::Resolved && [DEADLOCK, OTHER_DEADLOCK].contains(&it.summary.as_str())),
            "a false alarm: {alerts:?}"
        );
        drop(scene);
        let relay = relay.map_or_else(String::new, |kib| format!(", relay {} MiB", kib / 1024));
        row(
            fault,
            &format!(
                "both told {} ms, whole {} ms after healing; no false alarm; calls meanwhile {:.0?} (99 % within \
                 {:.0?}); services +{} MiB{relay}",
                told.as_millis(),
                whole.as_millis(),
                self.median,
                self.worst,
                grown / 1024
            ),
        );
    }
}

fn fires(snapshot: &Snapshot, summaries: &[&str]) -> bool {
    let mut firing: Vec<&str> = snapshot.alerts.iter().map(|it| it.summary.as_str()).collect();
    firing.sort_unstable();
    firing == summaries
}

/// These deadlocks fire, and all that is open is known.
fn is_whole(snapshot: &Snapshot, summaries: &[&str]) -> bool {
    let stats = &snapshot.stats;
    let calls = CALLS + CALLS_OF_A_DEADLOCK * summaries.len() as u64;
    fires(snapshot, summaries) && stats.instances == 4 && stats.instances_silent == 0 && stats.open_calls == calls
}
