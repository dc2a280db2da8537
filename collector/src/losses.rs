//! What was lost on the way into the graph, by cause: of each instance, and of all together.
//!
//! Nothing of this goes down again: what has been lost may be missing for as long as anything of that time is open. Counts
//! of instances that are gone stay in the sum.

use std::collections::{BTreeMap, VecDeque};

use standoff_protocol::api::{self, LossCause};
use standoff_protocol::stream;

use crate::instances::{ConnectionId, Instances};
use crate::known::InstanceKey;

/// Instances that are gone and had lost something, whose reports are remembered: should one come back, what it says again
/// is not counted twice. As many as one restart of a cluster of the size that [`crate::instances::INSTANCES_MAX`] allows
/// for leaves, if each tenth had losses.
const GONE_MAX: usize = 1000;

/// Relays whose last count is remembered under their names, for the same reason.
const RELAY_NAMES_MAX: usize = 1000;

/// How many instances are named for a cause.
const NAMED_MAX: usize = 3;

/// Counts by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts([u64; LossCause::ALL.len()]);

impl Counts {
    pub(crate) fn add(&mut self, cause: LossCause, count: u64) {
        if let Some(sum) = self.0.get_mut(cause as usize) {
            *sum = sum.saturating_add(count);
        }
    }

    pub(crate) fn of(&self, cause: LossCause) -> u64 {
        self.0.get(cause as usize).copied().unwrap_or(0)
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is lost of events.
    fn events(&self) -> u64 {
        let counted = LossCause::ALL.into_iter().filter(|cause| cause.counts_events());
        counted.fold(0, |sum, cause| sum.saturating_add(self.of(cause)))
    }
}

/// What one instance has lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfInstance {
    counts: Counts,
    /// What it has said itself when it last did.
    said: Counts,
    /// It has not said anything on its present connection. Whoever counts on its way may have begun anew: a relay that was
    /// started again has.
    is_fresh: bool,
}

impl OfInstance {
    pub(crate) fn of(&self, cause: LossCause) -> u64 {
        self.counts.of(cause)
    }

    /// What it says it has lost in all. Returns what is new of that.
    fn says(&mut self, said: &Counts) -> Counts {
        let mut new = Counts::default();
        for cause in LossCause::ALL {
            let (before, now) = (self.said.of(cause), said.of(cause));
            let began_anew = now < before && self.is_fresh;
            new.add(cause, if began_anew { now } else { now.saturating_sub(before) });
        }
        self.said = if self.is_fresh {
            said.clone()
        } else {
            greatest(&self.said, said)
        };
        self.is_fresh = false;
        for cause in LossCause::ALL {
            self.counts.add(cause, new.of(cause));
        }
        new
    }
}

fn greatest(one: &Counts, other: &Counts) -> Counts {
    let mut greatest = Counts::default();
    for cause in LossCause::ALL {
        greatest.add(cause, one.of(cause).max(other.of(cause)));
    }
    greatest
}

/// A cause of the native stream, as the API names it.
pub(crate) fn api_cause(cause: stream::LossCause) -> LossCause {
    match cause {
        stream::LossCause::LibrarySpans => LossCause::LibrarySpans,
        stream::LossCause::LibraryParents => LossCause::LibraryParents,
        stream::LossCause::LibraryFinishes => LossCause::LibraryFinishes,
        stream::LossCause::RelaySpans => LossCause::RelaySpans,
        stream::LossCause::RelayEnded => LossCause::RelayEnded,
        stream::LossCause::OtlpRejected => LossCause::OtlpRejected,
        stream::LossCause::OtlpSpans => LossCause::OtlpSpans,
        stream::LossCause::OtlpSources => LossCause::OtlpSources,
        stream::LossCause::OtlpRequests => LossCause::OtlpRequests,
        stream::LossCause::OtlpExpired => LossCause::OtlpExpired,
        stream::LossCause::Unspecified => LossCause::Unknown,
    }
}

/// What a heartbeat lists, by cause.
fn by_cause(losses: &[stream::Loss]) -> Counts {
    let mut counts = Counts::default();
    for loss in losses {
        counts.add(api_cause(loss.cause()), loss.events);
    }
    counts
}

/// What an instance's heartbeat says, by cause. What its sum has and its parts have not is of unknown cause.
fn said(heartbeat: &stream::Heartbeat) -> Counts {
    let mut counts = by_cause(&heartbeat.losses);
    counts.add(
        LossCause::Unknown,
        heartbeat.events_lost.saturating_sub(counts.events()),
    );
    counts
}

/// A relay's stream.
#[derive(Debug)]
struct Relay {
    name: String,
    /// What it has said on this stream.
    said: Option<Counts>,
}

/// What all together have lost.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    counts: Counts,
    gone: BTreeMap<InstanceKey, OfInstance>,
    /// Those of `gone`, the first that went first.
    gone_in_order: VecDeque<InstanceKey>,
    relays: BTreeMap<ConnectionId, Relay>,
    /// What relays have said last, by their names.
    relay_names: BTreeMap<String, Counts>,
    /// Who has lost most.
    worst: BTreeMap<LossCause, Vec<String>>,
}

impl Losses {
    /// Something that no instance has lost.
    pub(crate) fn add(&mut self, cause: LossCause, count: u64) {
        self.counts.add(cause, count);
    }

    /// Something that an instance has lost.
    pub(crate) fn add_of(&mut self, instance: &mut OfInstance, cause: LossCause, count: u64) {
        instance.counts.add(cause, count);
        self.counts.add(cause, count);
    }

    /// An instance tells of what it has lost.
    pub(crate) fn heard(&mut self, instance: &mut OfInstance, heartbeat: &stream::Heartbeat) {
        let new = instance.says(&said(heartbeat));
        for cause in LossCause::ALL {
            self.counts.add(cause, new.of(cause));
        }
    }

    /// An instance is no more.
    pub(crate) fn leaves(&mut self, key: &InstanceKey, losses: OfInstance) {
        if losses.counts.is_empty() {
            return;
        }
        if self.gone_in_order.len() >= GONE_MAX
            && let Some(first) = self.gone_in_order.pop_front()
        {
            self.gone.remove(&first);
        }
        if self.gone.insert(key.clone(), losses).is_none() {
            self.gone_in_order.push_back(key.clone());
        }
    }

    /// An instance has connected. What it had lost when it was gone, should it have been, is remembered.
    pub(crate) fn comes(&mut self, key: &InstanceKey, instance: &mut OfInstance) {
        if let Some(before) = self.gone.remove(key) {
            self.gone_in_order.retain(|it| it != key);
            *instance = before;
        }
        instance.is_fresh = true;
    }

    pub(crate) fn relay_comes(&mut self, relay: ConnectionId, name: String) {
        self.relays.insert(relay, Relay { name, said: None });
    }

    /// A relay tells what it has refused and lost since it started, of what belongs to no instance.
    pub(crate) fn relay_says(&mut self, relay: ConnectionId, heartbeat: &stream::RelayHeartbeat) {
        let Some(it) = self.relays.get_mut(&relay) else { return };
        let mut said = by_cause(&heartbeat.losses);
        said.add(LossCause::RelayInstances, heartbeat.instances_refused);
        let before = it.said.as_ref().or_else(|| self.relay_names.get(&it.name));
        for cause in LossCause::ALL {
            let (before, now) = (before.map_or(0, |counts| counts.of(cause)), said.of(cause));
            // If it is less than under this name before, it has been started again.
            let began_anew = now < before && it.said.is_none();
            let new = if began_anew { now } else { now.saturating_sub(before) };
            self.counts.add(cause, new);
        }
        if self.relay_names.len() < RELAY_NAMES_MAX || self.relay_names.contains_key(&it.name) {
            self.relay_names.insert(it.name.clone(), said.clone());
        }
        it.said = Some(said);
    }

    pub(crate) fn relay_leaves(&mut self, relay: ConnectionId) {
        self.relays.remove(&relay);
    }

    /// Looks up who has lost most.
    pub(crate) fn look(&mut self, instances: &Instances) {
        self.worst.clear();
        if self.counts.is_empty() {
            return;
        }
        for cause in LossCause::ALL.into_iter().filter(|cause| self.counts.of(*cause) > 0) {
            let mut losers: Vec<(std::cmp::Reverse<u64>, &str)> = instances
                .iter()
                .map(|(_, it)| (std::cmp::Reverse(it.losses.of(cause)), &*it.identity.key.instance_id))
                .filter(|(count, _)| count.0 > 0)
                .collect();
            if losers.len() > NAMED_MAX {
                losers.select_nth_unstable(NAMED_MAX - 1);
                losers.truncate(NAMED_MAX);
            }
            losers.sort_unstable();
            if !losers.is_empty() {
                let names = losers.into_iter().map(|(_, name)| name.to_owned()).collect();
                self.worst.insert(cause, names);
            }
        }
    }

    /// As the API shows it, with what the graph has lost.
    pub(crate) fn shown(&self, graph: &Counts) -> Vec<api::Loss> {
        let shown = |cause| {
            let count = self.counts.of(cause).saturating_add(graph.of(cause));
            (count > 0).then(|| api::Loss {
                cause,
                count,
                instances: self.worst.get(&cause).cloned().unwrap_or_default(),
            })
        };
        LossCause::ALL.into_iter().filter_map(shown).collect()
    }

    /// How many events, with those that the graph has lost.
    pub(crate) fn events(&self, graph: &Counts) -> u64 {
        self.counts.events().saturating_add(graph.events())
    }
}

#[cfg(test)]
mod tests;
