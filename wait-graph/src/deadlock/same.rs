//! Whether two reports say the same, in time linear in their tasks.
//!
//! The derived comparison would read what many waits share once for each of them: the spans on which a pool of n units
//! with n waiters rests, or a name of a megabyte.

use std::collections::HashMap;
use std::sync::Arc;

use super::{DeadTask, DeadWait, Deadlock};
use crate::span::SpanId;

/// Lists up to this length are compared as they are: looking them up costs more.
const SHORT: usize = 8;

/// Lists of spans that have been found to be the same.
#[derive(Default)]
struct Known(HashMap<*const SpanId, *const SpanId>);

impl Deadlock {
    /// The same as `==`.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        let Self {
            core,
            victims,
            victims_total,
            blast,
            resources,
        } = self;
        let mut known = Known::default();
        *victims_total == other.victims_total
            && *blast == other.blast
            && *resources == other.resources
            && known.tasks(core, &other.core)
            && known.tasks(victims, &other.victims)
    }
}

impl Known {
    fn tasks(&mut self, one: &[DeadTask], other: &[DeadTask]) -> bool {
        one.len() == other.len() && one.iter().zip(other).all(|(one, other)| self.task(one, other))
    }

    fn task(&mut self, one: &DeadTask, other: &DeadTask) -> bool {
        let DeadTask {
            id,
            trace,
            instance,
            service,
            name,
            resources,
            occupied_by,
            waits,
        } = one;
        (id, trace, instance) == (&other.id, &other.trace, &other.instance)
            && same_text(service, &other.service)
            && same_text(name, &other.name)
            && resources.len() == other.resources.len()
            && resources
                .iter()
                .zip(&other.resources)
                .all(|(one, other)| same_text(one, other))
            && *occupied_by == other.occupied_by
            && waits.len() == other.waits.len()
            && waits.iter().zip(&other.waits).all(|(one, other)| self.wait(one, other))
    }

    fn wait(&mut self, one: &DeadWait, other: &DeadWait) -> bool {
        let DeadWait {
            call,
            trace,
            name,
            target,
            state,
            blocked_by,
            in_core,
            rests_on,
            group,
            started_at,
            timeout_at,
        } = one;
        (call, trace, state, in_core) == (&other.call, &other.trace, &other.state, &other.in_core)
            && (started_at, timeout_at) == (&other.started_at, &other.timeout_at)
            && same_text(name, &other.name)
            && same_texts(target.as_ref(), other.target.as_ref())
            && group.as_ref().map(|it| it.1) == other.group.as_ref().map(|it| it.1)
            && same_texts(group.as_ref().map(|it| &it.0), other.group.as_ref().map(|it| &it.0))
            && self.spans(blocked_by, &other.blocked_by)
            && self.spans(rests_on, &other.rests_on)
    }

    fn spans(&mut self, one: &[SpanId], other: &[SpanId]) -> bool {
        if one.len() != other.len() {
            return false;
        }
        if one.len() <= SHORT {
            return one == other;
        }
        if self.0.get(&one.as_ptr()) == Some(&other.as_ptr()) {
            return true;
        }
        let is_same = one == other;
        if is_same {
            self.0.insert(one.as_ptr(), other.as_ptr());
        }
        is_same
    }
}

/// Names are interned: what is the same is mostly the same allocation.
fn same_text(one: &Arc<str>, other: &Arc<str>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

fn same_texts(one: Option<&Arc<str>>, other: Option<&Arc<str>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => same_text(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::{InstanceId, Quorum, TraceId};
    use crate::testing::{call, graph, ring, started};

    /// A ring of ten and a victim.
    fn deadlock() -> Deadlock {
        let mut events = ring(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
        events.push(started(900, 9, 0, call("a")));
        let mut deadlock = graph(events).deadlocks().remove(0);
        deadlock.core[5].waits[0].group = Some(("group".into(), Quorum { needed: 1, size: 2 }));
        deadlock
    }

    #[test]
    fn every_difference_is_seen() {
        let changes: [fn(&mut Deadlock); 28] = [
            |it| it.victims_total += 1,
            |it| it.blast.clear(),
            |it| it.resources[0].held += 1,
            |it| it.victims.clear(),
            |it| it.victims[0].waits[0].in_core = false,
            |it| it.core.swap(0, 1),
            |it| it.core.truncate(9),
            |it| it.core[0].id = SpanId(7),
            |it| it.core[0].trace = TraceId(7),
            |it| it.core[0].instance = InstanceId(7),
            |it| it.core[0].service = "another".into(),
            |it| it.core[0].name = "another".into(),
            |it| it.core[0].resources[0] = "another".into(),
            |it| it.core[0].waits.clear(),
            |it| it.core[9].waits[0].call = SpanId(7),
            |it| it.core[9].waits[0].name = "another".into(),
            |it| it.core[9].waits[0].target = Some("another".into()),
            |it| it.core[9].waits[0].started_at += std::time::Duration::from_secs(1),
            |it| it.core[9].waits[0].group = Some(("group".into(), Quorum { needed: 1, size: 2 })),
            |it| it.core[5].waits[0].group = Some(("other".into(), Quorum { needed: 1, size: 2 })),
            |it| it.core[5].waits[0].group = Some(("group".into(), Quorum { needed: 2, size: 2 })),
            |it| it.core[9].waits[0].blocked_by = [SpanId(7)].into(),
            |it| it.core[0].occupied_by.clear(),
            |it| it.core[9].waits[0].blocked_by = [].into(),
            |it| it.core[9].waits[0].rests_on = (0..20).map(SpanId).collect(),
            |it| it.core[9].waits[0].target = None,
            |it| it.core[9].waits[0].timeout_at = Some(std::time::Duration::ZERO),
            |it| it.core[0].resources.push("more".into()),
        ];
        assert!(deadlock().says_the_same_as(&deadlock()));
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = deadlock();
            change(&mut changed);
            assert!(!deadlock().says_the_same_as(&changed), "change {number}");
            assert!(!changed.says_the_same_as(&deadlock()), "change {number}");
        }
    }

    #[test]
    fn long_lists_that_are_shared_are_read_once_and_still_told_apart() {
        let shared: Arc<[SpanId]> = (0..20).map(SpanId).collect();
        let with = |last: &Arc<[SpanId]>| {
            let mut deadlock = deadlock();
            for task in &mut deadlock.core {
                task.waits[0].rests_on = Arc::clone(&shared);
            }
            deadlock.core[9].waits[0].rests_on = Arc::clone(last);
            deadlock
        };
        assert!(with(&shared).says_the_same_as(&with(&shared)));
        assert!(with(&shared).says_the_same_as(&with(&(0..20).map(SpanId).collect())));
        assert!(!with(&shared).says_the_same_as(&with(&(1..21).map(SpanId).collect())));
    }
}
