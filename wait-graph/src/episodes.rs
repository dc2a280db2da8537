//! Which deadlock is which over time.
//!
//! A deadlock changes while it lasts: victims join, a core grows, splits, or two grow together. An *episode* is one
//! deadlock through all of that. It goes on as long as some core still has a wait in common with it, and once it is
//! over it never comes back. Knows nothing of confirmation or alerts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::deadlock::Deadlock;
use crate::span::SpanId;

/// Ids of episodes that are over, kept so that none is given twice. A minute of storms; the same waits rarely die
/// twice, and then soon.
const PAST_IDS_MAX: usize = 4096;

/// All episodes that are going on. There are never more than there are deadlocks, but for those restored.
#[derive(Debug, Default)]
pub struct Episodes {
    open: BTreeMap<u64, Episode>,
    /// The episode of each wait of a current core. A wait is in one core at most.
    by_wait: HashMap<SpanId, u64>,
    past_ids: PastIds,
    /// How many episodes there have been.
    opened: u64,
}

#[derive(Debug)]
struct Episode {
    /// The smaller, the older.
    number: u64,
    /// `None` until the first update after [`Episodes::restore`].
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    current: Arc<Deadlock>,
    widest: Arc<Deadlock>,
    /// How many waits it had when it was widest.
    widest_waits: usize,
}

/// What has become of an episode. Episodes of which nothing is said are as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A deadlock that is none of the open episodes.
    Opened {
        /// The hash of the sorted span ids of its waits, now and for as long as it lasts.
        id: u64,
        /// As it is now.
        deadlock: Arc<Deadlock>,
    },
    /// It looks different now.
    Continued {
        /// Which one.
        id: u64,
        /// As it is now.
        current: Arc<Deadlock>,
        /// As it was when its core had the most waits.
        widest: Arc<Deadlock>,
    },
    /// It is no longer dead.
    Closed {
        /// Which one.
        id: u64,
    },
    /// It has grown together with an older one, which goes on.
    Merged {
        /// Which one.
        id: u64,
        /// The older one.
        into: u64,
    },
}

impl Episodes {
    /// An episode that is known from before a restart, with the waits that its core had. Episodes are restored in the
    /// order of their age, before the first update.
    pub fn restore(&mut self, id: u64, waits: impl IntoIterator<Item = SpanId>) {
        self.by_wait.extend(waits.into_iter().map(|wait| (wait, id)));
        self.opened += 1;
        let number = self.opened;
        self.open.insert(id, Episode { number, seen: None });
    }

    /// Compares all deadlocks that there are now with the open episodes.
    pub fn update(&mut self, deadlocks: Vec<Deadlock>) -> Vec<Change> {
        let parts: Vec<Part> = deadlocks.into_iter().map(|deadlock| self.part(deadlock)).collect();
        let meetings = self.meetings(&parts);
        let claims = claims(&meetings, parts.len());
        let mut changes = self.end_all_but(&meetings, &claims);
        self.by_wait.clear();
        // A storm that is over takes its memory with it.
        self.by_wait.shrink_to(parts.iter().map(|part| part.waits).sum());
        for (part, claim) in parts.into_iter().zip(claims) {
            let id = claim.unwrap_or_else(|| self.fresh_id(&part.deadlock));
            self.by_wait.extend(part.deadlock.waits().map(|wait| (wait.call, id)));
            changes.extend(self.go_on(id, part));
        }
        changes
    }

    /// Whether a span is a wait of a core that is dead now. Its end is to be judged before the next event.
    pub fn touches(&self, span: SpanId) -> bool {
        self.by_wait.contains_key(&span)
    }

    /// Ends the episode of a wait, if nobody who waits in it is dead any more. The answer is which one that was.
    ///
    /// This is what most ends of waits come to, and takes no comparison of all deadlocks. The episode may also have gone on
    /// as victims of others, or may not have been seen since it was restored: then that has to be compared.
    pub fn close(&mut self, wait: SpanId, is_dead: impl Fn(SpanId) -> bool) -> Option<u64> {
        let id = *self.by_wait.get(&wait)?;
        let current = &self.open.get(&id)?.seen.as_ref()?.current;
        if current.waits().any(|wait| is_dead(wait.call)) {
            return None;
        }
        for wait in current.waits() {
            self.by_wait.remove(&wait.call);
        }
        self.open.remove(&id);
        self.past_ids.add(id);
        Some(id)
    }

    /// Ends an episode that is still dead, and opens another one of what it is now, under an id of its own.
    ///
    /// For whoever has told of a part of a core only, when nothing of that part is left. `None` if the episode is not open,
    /// or not seen since it was restored.
    pub fn renew(&mut self, id: u64) -> Option<u64> {
        let current = Arc::clone(&self.open.get(&id)?.seen.as_ref()?.current);
        self.open.remove(&id);
        self.past_ids.add(id);
        let renewed = self.fresh_id(&current);
        self.by_wait.extend(current.waits().map(|wait| (wait.call, renewed)));
        let widest_waits = current.waits().count();
        self.begin(renewed, current, widest_waits);
        Some(renewed)
    }

    fn begin(&mut self, id: u64, current: Arc<Deadlock>, widest_waits: usize) {
        self.opened += 1;
        let number = self.opened;
        let seen = Some(Seen {
            widest: Arc::clone(&current),
            current,
            widest_waits,
        });
        self.open.insert(id, Episode { number, seen });
    }

    fn part(&self, deadlock: Deadlock) -> Part {
        let waits = deadlock.waits().count();
        let mut episodes: Vec<u64> = deadlock
            .waits()
            .filter_map(|wait| self.by_wait.get(&wait.call))
            .copied()
            .collect();
        episodes.sort_unstable();
        episodes.dedup();
        Part {
            deadlock: Arc::new(deadlock),
            waits,
            episodes,
        }
    }

    /// Every open episode with every part that shares a wait with it: the older episodes first, of each its largest part.
    fn meetings(&self, parts: &[Part]) -> Vec<Meeting> {
        let mut meetings: Vec<(u64, Reverse<usize>, Meeting)> = Vec::new();
        for (place, part) in parts.iter().enumerate() {
            for id in &part.episodes {
                if let Some(episode) = self.open.get(id) {
                    meetings.push((episode.number, Reverse(part.waits), Meeting { id: *id, place }));
                }
            }
        }
        // The first of several that are equally large: parts come in the order of their names.
        meetings.sort_unstable_by_key(|(number, waits, meeting)| (*number, *waits, meeting.place));
        meetings.into_iter().map(|(.., meeting)| meeting).collect()
    }

    /// Episodes that go on with no part are over: merged if an older one has taken a part of them, else closed.
    fn end_all_but(&mut self, meetings: &[Meeting], claims: &[Option<u64>]) -> Vec<Change> {
        let going_on: HashSet<u64> = claims.iter().flatten().copied().collect();
        let mut taken_from: HashMap<u64, usize> = HashMap::new();
        for Meeting { id, place } in meetings {
            let first = taken_from.entry(*id).or_insert(*place);
            *first = (*first).min(*place);
        }
        let ended: Vec<u64> = self.open.keys().copied().filter(|id| !going_on.contains(id)).collect();
        let mut changes = Vec::with_capacity(ended.len());
        for id in ended {
            let into = taken_from
                .get(&id)
                .and_then(|place| claims.get(*place).copied().flatten());
            changes.push(into.map_or(Change::Closed { id }, |into| Change::Merged { id, into }));
            self.open.remove(&id);
            self.past_ids.add(id);
        }
        changes
    }

    fn go_on(&mut self, id: u64, part: Part) -> Option<Change> {
        let Part {
            deadlock: current,
            waits,
            ..
        } = part;
        let Some(episode) = self.open.get_mut(&id) else {
            let deadlock = Arc::clone(&current);
            self.begin(id, current, waits);
            return Some(Change::Opened { id, deadlock });
        };
        let (widest, widest_waits) = match episode.seen.take() {
            Some(seen) if seen.current.says_the_same_as(&current) => {
                episode.seen = Some(seen);
                return None;
            }
            Some(seen) if seen.widest_waits > waits => (seen.widest, seen.widest_waits),
            Some(_) | None => (Arc::clone(&current), waits),
        };
        let change = Change::Continued {
            id,
            current: Arc::clone(&current),
            widest: Arc::clone(&widest),
        };
        episode.seen = Some(Seen {
            current,
            widest,
            widest_waits,
        });
        Some(change)
    }

    /// The hash of its waits, unless an episode has it already that began with the same waits and went another way.
    fn fresh_id(&self, deadlock: &Deadlock) -> u64 {
        let mut id = deadlock.id();
        while self.open.contains_key(&id) || self.past_ids.contains(id) {
            id = xxh3_64_with_seed(&id.to_be_bytes(), id);
        }
        id
    }
}

/// Which episode each part goes on: the older episodes first, each with its largest part that is free.
fn claims(meetings: &[Meeting], parts: usize) -> Vec<Option<u64>> {
    let mut claims = vec![None; parts];
    for of_one in meetings.chunk_by(|one, other| one.id == other.id) {
        if let Some(Meeting { id, place }) = of_one.iter().find(|meeting| claims[meeting.place].is_none()) {
            claims[*place] = Some(*id);
        }
    }
    claims
}

/// A deadlock that there is now, and the open episodes with which it shares a wait.
struct Part {
    deadlock: Arc<Deadlock>,
    waits: usize,
    episodes: Vec<u64>,
}

/// An open episode and the place of a part that shares a wait with it.
#[derive(Clone, Copy)]
struct Meeting {
    id: u64,
    place: usize,
}

/// The last ids that are over.
#[derive(Debug, Default)]
struct PastIds {
    /// The oldest first.
    in_order: VecDeque<u64>,
    all: BTreeSet<u64>,
}

impl PastIds {
    /// Precondition: it is none of them.
    fn add(&mut self, id: u64) {
        self.in_order.push_back(id);
        self.all.insert(id);
        if self.in_order.len() > PAST_IDS_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    fn contains(&self, id: u64) -> bool {
        self.all.contains(&id)
    }
}

#[cfg(test)]
mod tests;
