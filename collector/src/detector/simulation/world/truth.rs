//! Who can never proceed, judged from what is really going on.
//!
//! Written without the engine: it knows no spans, and who truly has a message, a lock or a consumer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Call, Place, Target, Waiting, World, actor_name, lock_name, pool_name};

/// Who is dead at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Dead {
    pub(in super::super) tasks: BTreeSet<u64>,
    /// Their calls that cannot be answered.
    pub(in super::super) calls: BTreeSet<u64>,
}

/// Who was dead when.
#[derive(Debug, Default)]
pub(in super::super) struct Truth {
    /// From each of these times on until the next.
    history: Vec<(Duration, Dead)>,
}

impl Truth {
    pub(super) fn now(&self) -> Dead {
        self.history.last().map(|(_, dead)| dead.clone()).unwrap_or_default()
    }

    pub(super) fn note(&mut self, now: Duration, dead: Dead) {
        if self.now() != dead {
            self.history.push((now, dead));
        }
    }

    /// Whether all of them were dead together at some moment from `from` until now.
    pub(in super::super) fn was_dead(&self, tasks: &BTreeSet<u64>, calls: &BTreeSet<u64>, from: Duration) -> bool {
        let last_before = self
            .history
            .partition_point(|(since, _)| *since <= from)
            .saturating_sub(1);
        self.history[last_before..]
            .iter()
            .any(|(_, dead)| tasks.is_subset(&dead.tasks) && calls.is_subset(&dead.calls))
    }
}

/// What the collector cannot know. A deadlock that rests on it need not be found.
#[derive(Debug, Default)]
pub(in super::super) struct Doubt {
    /// Names that instances have served, or were members of, that died where nobody could see it.
    ghosts: BTreeSet<String>,
    /// Names for which calls from before these times may have been accepted by somebody who has left.
    left: BTreeMap<String, Duration>,
}

impl Doubt {
    pub(in super::super) fn note(&mut self, name: String) {
        self.ghosts.insert(name);
    }

    pub(in super::super) fn note_left(&mut self, name: String, at: Duration) {
        self.left.insert(name, at);
    }

    fn concerns(&self, call: &Call) -> bool {
        let target = name(call.target);
        let left = self.left.get(&target);
        call.was_orphaned || self.ghosts.contains(&target) || left.is_some_and(|at| call.started_at <= *at)
    }
}

impl World {
    /// Everybody who can never proceed, if nobody gives up and nobody comes to help. With a doubt, without those of whom
    /// the collector cannot know it.
    pub(in super::super) fn dead(&self, doubt: Option<&Doubt>) -> Dead {
        let mut dead: BTreeSet<u64> = self
            .tasks
            .iter()
            .filter(|(_, it)| it.waiting.is_some())
            .map(|(id, _)| *id)
            .collect();
        loop {
            let can_proceed = |id: &u64| {
                let waiting = self.tasks.get(id).and_then(|it| it.waiting.as_ref());
                waiting.is_none_or(|it| self.can_get_enough(it, &dead, doubt))
            };
            let still: BTreeSet<u64> = dead.iter().copied().filter(|id| !can_proceed(id)).collect();
            if still == dead {
                break;
            }
            dead = still;
        }
        let waits = dead.iter().filter_map(|id| self.tasks.get(id)?.waiting.as_ref());
        let calls = waits.flat_map(|it| &it.calls).copied();
        let calls = calls
            .filter(|call| !self.can_be_answered(*call, &dead, doubt))
            .collect();
        Dead { tasks: dead, calls }
    }

    /// The tasks that a dead task waits for, and those that they wait for, and so on, with itself.
    pub(in super::super) fn reach(&self, from: u64, dead: &Dead) -> BTreeSet<u64> {
        let mut reached = BTreeSet::from([from]);
        let mut next = vec![from];
        while let Some(task) = next.pop() {
            let waiting = self.tasks.get(&task).and_then(|it| it.waiting.as_ref());
            for call in waiting
                .iter()
                .flat_map(|it| &it.calls)
                .filter_map(|it| self.calls.get(it))
            {
                let on: Vec<u64> = match (call.place, call.target) {
                    (Place::Handled(task), _) => vec![task],
                    (Place::Queued, Target::Actor(actor)) => self.actors[actor].turn.into_iter().collect(),
                    (Place::Queued, Target::Lock(lock)) => self.locks[lock].holders.clone(),
                    (Place::Queued, Target::Pool(pool)) => {
                        let consumers = self.pools[pool].consumers.values();
                        consumers.filter_map(|it| it.busy.as_ref()?.1).collect()
                    }
                    (Place::Queued | Place::Granted | Place::Replied | Place::Lost, _) => vec![],
                };
                next.extend(
                    on.into_iter()
                        .filter(|it| dead.tasks.contains(it) && reached.insert(*it)),
                );
            }
        }
        reached
    }

    fn can_get_enough(&self, waiting: &Waiting, dead: &BTreeSet<u64>, doubt: Option<&Doubt>) -> bool {
        let answerable = waiting
            .calls
            .iter()
            .filter(|call| self.can_be_answered(**call, dead, doubt))
            .count();
        // The collector takes an alternative that has failed for one that has finished.
        let failed = if doubt.is_some() { waiting.failed } else { 0 };
        waiting.succeeded + answerable + failed >= waiting.needed
    }

    fn can_be_answered(&self, call: u64, dead: &BTreeSet<u64>, doubt: Option<&Doubt>) -> bool {
        let Some(call) = self.calls.get(&call) else { return true };
        if doubt.is_some_and(|doubt| doubt.concerns(call)) {
            return true;
        }
        match call.place {
            Place::Granted | Place::Replied => true,
            Place::Lost => false,
            Place::Handled(task) => !dead.contains(&task),
            Place::Queued => self.can_be_taken(call.target, dead, doubt.is_some()),
        }
    }

    /// Whether a unit of the target is free, or may become so.
    fn can_be_taken(&self, target: Target, dead: &BTreeSet<u64>, is_doubtful: bool) -> bool {
        match target {
            Target::Service(_) => true,
            Target::Actor(actor) => self.actors[actor].turn.is_none_or(|task| !dead.contains(&task)),
            Target::Lock(lock) => {
                let lock = &self.locks[lock];
                lock.holders.len() < lock.capacity || lock.holders.iter().any(|task| !dead.contains(task))
            }
            Target::Pool(pool) => {
                let consumers = &self.pools[pool].consumers;
                // Nobody can tell a pool without members from one whose members have not been heard of yet.
                is_doubtful && consumers.is_empty()
                    || consumers.values().any(|it| match &it.busy {
                        Some((_, Some(task))) => !dead.contains(task),
                        Some((_, None)) => true,
                        None => it.registered,
                    })
            }
        }
    }
}

fn name(target: Target) -> String {
    match target {
        Target::Actor(actor) => actor_name(actor),
        Target::Pool(pool) => pool_name(pool),
        Target::Lock(lock) => lock_name(lock),
        Target::Service(_) => String::new(),
    }
}
