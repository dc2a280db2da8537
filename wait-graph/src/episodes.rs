//! Which deadlock is which over time.
//!
//! A deadlock changes while it lasts: victims join, a core grows, splits, or two grow together. An *episode* is one
//! deadlock through all of that. It goes on as long as some core still has a wait in common with it, and once it is
//! over it never comes back. Knows nothing of confirmation or alerts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::deadlock::Deadlock;
use crate::span::SpanId;

/// Ids of episodes that are over, kept so that none is given twice. A minute of storms; the same waits rarely die
/// twice, and then soon.
const PAST_IDS_MAX: usize = 4096;

/// All episodes that are going on.
#[derive(Debug, Default)]
pub struct Episodes {
    open: BTreeMap<u64, Episode>,
    /// The episode of each wait of a current core. A wait is in one core at most.
    by_wait: BTreeMap<SpanId, u64>,
    /// The oldest first.
    past_ids: VecDeque<u64>,
    /// How many episodes there have been.
    opened: u64,
}

#[derive(Debug)]
struct Episode {
    /// The smaller, the older.
    number: u64,
    waits: BTreeSet<SpanId>,
    /// `None` until the first update after [`Episodes::restore`].
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    current: Deadlock,
    widest: Deadlock,
}

/// What has become of an episode. Episodes of which nothing is said are as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A deadlock that is none of the open episodes.
    Opened {
        /// The hash of the sorted span ids of its waits, now and for as long as it lasts.
        id: u64,
        /// As it is now.
        deadlock: Deadlock,
    },
    /// It looks different now.
    Continued {
        /// Which one.
        id: u64,
        /// As it is now.
        current: Deadlock,
        /// As it was when its core had the most waits.
        widest: Deadlock,
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
        let waits: BTreeSet<SpanId> = waits.into_iter().collect();
        self.by_wait.extend(waits.iter().map(|wait| (*wait, id)));
        self.opened += 1;
        self.open.insert(
            id,
            Episode {
                number: self.opened,
                waits,
                seen: None,
            },
        );
    }

    /// Compares all deadlocks that there are now with the open episodes.
    pub fn update(&mut self, deadlocks: Vec<Deadlock>) -> Vec<Change> {
        let parts: Vec<Part> = deadlocks.into_iter().map(|deadlock| self.part(deadlock)).collect();
        let claims = self.claims(&parts);
        let mut changes = self.end_all_but(&parts, &claims);
        self.by_wait.clear();
        for (place, part) in parts.into_iter().enumerate() {
            let id = claims
                .get(&place)
                .copied()
                .unwrap_or_else(|| self.fresh_id(&part.deadlock));
            self.by_wait.extend(part.waits.iter().map(|wait| (*wait, id)));
            changes.extend(self.go_on(id, part));
        }
        changes
    }

    /// Whether a span is a wait of a core that is dead now. Its end is to be judged before the next event.
    pub fn touches(&self, span: SpanId) -> bool {
        self.by_wait.contains_key(&span)
    }

    fn part(&self, deadlock: Deadlock) -> Part {
        let waits: BTreeSet<SpanId> = deadlock.waits().map(|wait| wait.call).collect();
        let episodes = waits
            .iter()
            .filter_map(|wait| self.by_wait.get(wait))
            .copied()
            .collect();
        Part {
            deadlock,
            waits,
            episodes,
        }
    }

    /// Which episode each part goes on: the older episodes first, each with its largest part.
    fn claims(&self, parts: &[Part]) -> BTreeMap<usize, u64> {
        let mut by_age: Vec<(&u64, &Episode)> = self.open.iter().collect();
        by_age.sort_by_key(|(_, episode)| episode.number);
        let mut claims = BTreeMap::new();
        for (id, _) in by_age {
            let own = parts.iter().enumerate().filter(|(_, part)| part.episodes.contains(id));
            let free = own.filter(|(place, _)| !claims.contains_key(place));
            // The first of several that are equally large: parts come in the order of their names.
            if let Some((place, _)) = free.min_by_key(|(_, part)| std::cmp::Reverse(part.waits.len())) {
                claims.insert(place, *id);
            }
        }
        claims
    }

    /// Episodes that go on with no part are over: merged if an older one has taken a part of them, else closed.
    fn end_all_but(&mut self, parts: &[Part], claims: &BTreeMap<usize, u64>) -> Vec<Change> {
        let going_on: BTreeSet<u64> = claims.values().copied().collect();
        let ended: Vec<u64> = self.open.keys().copied().filter(|id| !going_on.contains(id)).collect();
        let mut changes = Vec::new();
        for id in ended {
            let mut taken = claims.iter().filter(|(place, _)| parts[**place].episodes.contains(&id));
            changes.push(match taken.next() {
                Some((_, into)) => Change::Merged { id, into: *into },
                None => Change::Closed { id },
            });
            self.open.remove(&id);
            self.past_ids.push_back(id);
            if self.past_ids.len() > PAST_IDS_MAX {
                self.past_ids.pop_front();
            }
        }
        changes
    }

    fn go_on(&mut self, id: u64, part: Part) -> Option<Change> {
        let Part { deadlock, waits, .. } = part;
        let Some(episode) = self.open.get_mut(&id) else {
            self.opened += 1;
            let seen = Some(Seen {
                current: deadlock.clone(),
                widest: deadlock.clone(),
            });
            self.open.insert(
                id,
                Episode {
                    number: self.opened,
                    waits,
                    seen,
                },
            );
            return Some(Change::Opened { id, deadlock });
        };
        episode.waits = waits;
        let widest = match episode.seen.take() {
            Some(seen) if seen.current == deadlock => {
                episode.seen = Some(seen);
                return None;
            }
            Some(seen) if seen.widest.waits().count() > episode.waits.len() => seen.widest,
            Some(_) | None => deadlock.clone(),
        };
        episode.seen = Some(Seen {
            current: deadlock.clone(),
            widest: widest.clone(),
        });
        Some(Change::Continued {
            id,
            current: deadlock,
            widest,
        })
    }

    /// The hash of its waits, unless an episode has it already that began with the same waits and went another way.
    fn fresh_id(&self, deadlock: &Deadlock) -> u64 {
        let mut id = deadlock.id();
        while self.open.contains_key(&id) || self.past_ids.contains(&id) {
            id = xxh3_64_with_seed(&id.to_be_bytes(), id);
        }
        id
    }
}

/// A deadlock that there is now, and the open episodes with which it shares a wait.
struct Part {
    deadlock: Deadlock,
    waits: BTreeSet<SpanId>,
    episodes: BTreeSet<u64>,
}

#[cfg(test)]
mod tests;
