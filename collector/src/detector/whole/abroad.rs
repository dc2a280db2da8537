//! Which services of a run are foreign, how they export, and what may go wrong beside them.
//!
//! What is promised of foreign services is promised while whatever they say arrives within the settle time. So where they
//! speak to a relay, its connection may break, and it may stand still, which a collector can see; but nothing is lost or
//! held up on the way, and it is not started again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::foreign::{Dialect, Exporting};
use super::plan::Plan;
use crate::detector::chance::Random;

/// How long it takes a relay to pass on what it has heard, when nothing goes wrong: three messages, each three times as
/// slow as most, and as slow again.
const PASSING_ON: Duration = Duration::from_millis(300);

/// To whom foreign services speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// To the collector.
    Collector,
    /// To a relay.
    Relay,
}

/// The foreign services of a run.
#[derive(Clone, Debug)]
pub(super) struct Abroad {
    /// In percent of services.
    share: usize,
    /// In percent of those: they say nothing of spans that are open.
    ended_only: usize,
    pub(super) home: Home,
    pub(super) exporting: Exporting,
    /// Whether the instances of a service are not alike.
    mixes: bool,
    dialects: BTreeMap<String, Option<Dialect>>,
}

impl Abroad {
    /// Makes some services of a run foreign, who are heard of within so long.
    pub(super) fn draw(plan: &mut Plan, random: &mut Random, within: Duration) -> Self {
        let can_be_direct = plan.relays == 0 || plan.collectors == 1;
        let home = if can_be_direct && (plan.relays == 0 || random.percent(50)) {
            Home::Collector
        } else {
            Home::Relay
        };
        let nature = &mut plan.nature;
        let mut within = within;
        if home == Home::Relay {
            (nature.partitions, nature.restarts) = (false, false);
            plan.weather.delay_max_ms = plan.weather.delay_max_ms.min(10);
            plan.weather.room = 64;
            (plan.weather.lost, plan.weather.repeated) = (0, 0);
            within -= PASSING_ON;
        }
        // Members that were told of before a receiver was started again are not told of again.
        let restarts = nature.restarts;
        if restarts {
            plan.style.members = false;
            plan.style.replicas = false;
        }
        // Replies take longer than it takes to settle.
        if !restarts && random.percent(40) {
            plan.settings.delay_max = Duration::from_secs(3);
        }
        let ended_only = [0, 0, 25][random.below(3)];
        Self {
            share: [30, 60, 100][random.below(3)],
            // Of an instance that does not tell of starts nobody knows that it has accepted a call, if others would have.
            mixes: plan.style.replicas && ended_only == 0 && random.percent(50),
            ended_only,
            home,
            exporting: Exporting {
                within,
                // A start that comes to a receiver that did not hear of the end is believed.
                reorders: !restarts,
                repeated: if restarts { 0 } else { [0, 10][random.below(2)] },
                skew: Duration::from_millis([0, 30, 3_600_000][random.below(3)]),
            },
            dialects: BTreeMap::new(),
        }
    }

    /// How an instance of a service says that its spans are open; `None` if it has a library.
    pub(super) fn dialect(&mut self, service: &str, number: usize, random: &mut Random) -> Option<Dialect> {
        let (share, ended_only) = (self.share, self.ended_only);
        let drawn = || {
            let dialects = [
                Dialect::Open,
                Dialect::Open,
                Dialect::Pending,
                Dialect::Twin,
                Dialect::Logs,
            ];
            let is_foreign = random.percent(share);
            let dialect = if random.percent(ended_only) {
                Dialect::Ended
            } else {
                dialects[random.below(dialects.len())]
            };
            is_foreign.then_some(dialect)
        };
        let alike = if self.mixes {
            format!("{service} {number}")
        } else {
            service.to_owned()
        };
        *self.dialects.entry(alike).or_insert_with(drawn)
    }
}
