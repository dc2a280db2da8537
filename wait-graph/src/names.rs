//! What a deadlock is called: its identities, and one line for people.
//!
//! The hashes are XXH3, whose values are fixed for good: they are kept in databases and compared between collectors.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::deadlock::{DeadTask, DeadWait, Deadlock};
use crate::span::SpanId;

/// The most names in a summary: about what fits on three lines of a terminal.
const SUMMARY_NAMES_MAX: usize = 16;
/// The most characters of one name in a summary or a drawing. Names are free text and may be a megabyte long.
pub(crate) const LABEL_CHARS_MAX: usize = 200;
/// The most resources by which a summary names one task.
const LABEL_RESOURCES_MAX: usize = 3;
/// Stands for a service that nobody has named.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// The name of a service, even if nobody has named it.
pub(crate) fn known_service(service: &str) -> &str {
    if service.is_empty() { UNKNOWN_SERVICE } else { service }
}

impl DeadTask {
    /// Its smallest resource name; without a resource, `service/span name`.
    pub fn canonical_name(&self) -> Cow<'_, str> {
        match self.resources.first() {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(self.own_name()),
        }
    }

    fn own_name(&self) -> String {
        format!("{}/{}", known_service(&self.service), self.name)
    }

    /// Its names as a reader sees them, cut to a length that fits.
    pub(crate) fn label(&self) -> String {
        if self.resources.is_empty() {
            return format!("{}/{}", cut(known_service(&self.service)), cut(&self.name));
        }
        let shown = self
            .resources
            .iter()
            .take(LABEL_RESOURCES_MAX)
            .map(|name| cut(name))
            .collect::<Vec<_>>()
            .join(" + ");
        match self.resources.len().saturating_sub(LABEL_RESOURCES_MAX) {
            0 => shown,
            more => format!("{shown} + {more} more"),
        }
    }

    /// What tells its label from those of others, where labels that are cut look the same.
    fn label_key(&self) -> LabelKey<'_> {
        if self.resources.is_empty() {
            return LabelKey::Own(known_service(&self.service), &self.name);
        }
        let shown = self.resources.len().min(LABEL_RESOURCES_MAX);
        LabelKey::Resources(&self.resources[..shown], self.resources.len())
    }
}

impl Deadlock {
    /// The waits of the core: its dead calls that depend on a task of the core.
    pub fn waits(&self) -> impl Iterator<Item = &DeadWait> {
        self.core
            .iter()
            .flat_map(|task| &task.waits)
            .filter(|wait| wait.in_core)
    }

    /// Identifies these very waits: the hash of their sorted span ids.
    pub fn id(&self) -> u64 {
        let mut calls: Vec<SpanId> = self.waits().map(|wait| wait.call).collect();
        calls.sort_unstable();
        calls.dedup();
        xxh3_64(&calls.into_iter().flat_map(|id| id.0.to_be_bytes()).collect::<Vec<u8>>())
    }

    /// Identifies the kind of deadlock, the same each time it recurs and on every collector: the hash of the canonical
    /// names of its core, each once.
    pub fn fingerprint(&self) -> u64 {
        hash_names(&self.canonical_names())
    }

    /// The same with digits masked, so that like deadlocks of many ids have one pattern.
    pub fn pattern(&self) -> u64 {
        let mut names: Vec<Cow<'_, str>> = self.canonical_names();
        for name in &mut names {
            *name = Cow::Owned(mask_digits(name));
        }
        names.sort_unstable();
        names.dedup();
        hash_names(&names)
    }

    /// Sorted, each once.
    fn canonical_names(&self) -> Vec<Cow<'_, str>> {
        // Of tasks with the same names, which may be long, the same allocations are looked at once.
        let mut known = HashSet::new();
        let mut names = Vec::new();
        for task in &self.core {
            if task.resources.is_empty() {
                if known.insert((task.service.as_ptr(), task.name.as_ptr())) {
                    names.push(Cow::Owned(task.own_name()));
                }
                continue;
            }
            for name in &task.resources {
                if known.insert((name.as_ptr(), std::ptr::null())) {
                    names.push(Cow::Borrowed(&**name));
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Exactly the spans on whose being open the deadlock rests, by id: the waits of the core, the handles of the core
    /// that answer accepted ones, the handles and holds of the core that occupy the targets of queued ones.
    pub fn spans(&self) -> Vec<SpanId> {
        let mut spans: Vec<SpanId> = Vec::new();
        let mut taken = HashSet::new();
        for wait in self.waits() {
            spans.push(wait.call);
            // Those who are queued for the same share what it rests on: a pool of n with n waiters is not n × n.
            if taken.insert(wait.rests_on.as_ptr()) {
                spans.extend(wait.rests_on.iter());
            }
        }
        spans.sort_unstable();
        spans.dedup();
        spans
    }

    /// One line: `{:server_a, 42} → {:server_b, 42} → {:server_a, 42}`.
    ///
    /// Tasks of the same names are shown as one, with their number. What is not a ring is shown as who waits for whom.
    pub fn summary(&self) -> String {
        let crowd = Crowd::of(self);
        crowd.ring().unwrap_or_else(|| crowd.knot())
    }
}

/// A core with tasks of the same names taken together, in the order of the core.
struct Crowd<'a> {
    /// One task for each label, and how many there are.
    tasks: Vec<(&'a DeadTask, usize)>,
    /// Each label with each that its tasks wait for. Sorted.
    waits_for: Vec<(usize, usize)>,
}

/// What tells labels apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum LabelKey<'a> {
    Own(&'a str, &'a str),
    /// The first of its resources, and how many there are.
    Resources(&'a [Arc<str>], usize),
}

impl<'a> Crowd<'a> {
    fn of(deadlock: &'a Deadlock) -> Self {
        let mut order: Vec<(&DeadTask, usize)> = Vec::new();
        let mut members: HashMap<LabelKey<'_>, usize> = HashMap::new();
        let mut places: HashMap<SpanId, usize> = HashMap::new();
        for task in &deadlock.core {
            let place = *members.entry(task.label_key()).or_insert_with(|| {
                order.push((task, 0));
                order.len() - 1
            });
            order[place].1 += 1;
            places.insert(task.id, place);
        }
        let mut waits_for: Vec<(usize, usize)> = Vec::new();
        // Those of one label who are queued for the same are blocked by the same list, and a pool is not n × n.
        let mut taken = HashSet::new();
        for task in &deadlock.core {
            let Some(place) = places.get(&task.id).copied() else {
                continue;
            };
            for wait in &task.waits {
                if taken.insert((place, wait.blocked_by.as_ptr())) {
                    let on = wait.blocked_by.iter().filter_map(|id| places.get(id));
                    waits_for.extend(on.map(|on| (place, *on)));
                }
            }
        }
        waits_for.sort_unstable();
        waits_for.dedup();
        Self {
            tasks: order,
            waits_for,
        }
    }

    fn label(&self, place: usize) -> String {
        match self.tasks[place] {
            (task, 1) => task.label(),
            (task, count) => format!("{} ×{count}", task.label()),
        }
    }

    /// One name after the other, if each waits for the next only.
    fn ring(&self) -> Option<String> {
        let last = self.tasks.len().checked_sub(1)?;
        let next = |place: usize| if place == last { 0 } else { place + 1 };
        if !self
            .waits_for
            .iter()
            .copied()
            .eq((0..=last).map(|place| (place, next(place))))
        {
            return None;
        }
        let mut names: Vec<String> = (0..=last)
            .take(SUMMARY_NAMES_MAX)
            .map(|place| self.label(place))
            .collect();
        if self.tasks.len() > SUMMARY_NAMES_MAX {
            names.push(format!("({} more)", self.tasks.len() - SUMMARY_NAMES_MAX));
        }
        names.push(self.label(0));
        Some(names.join(" → "))
    }

    /// Who waits for whom, name by name.
    fn knot(&self) -> String {
        let mut left = SUMMARY_NAMES_MAX;
        let mut clauses = Vec::new();
        for place in 0..self.tasks.len() {
            if left == 0 {
                break;
            }
            let start = self.waits_for.partition_point(|(from, _)| *from < place);
            let on = self.waits_for[start..].iter().take_while(|(from, _)| *from == place);
            let names: Vec<String> = on.take(left).map(|(_, on)| self.label(*on)).collect();
            left = left.saturating_sub(names.len());
            clauses.push(format!("{} → {}", self.label(place), names.join(" and ")));
        }
        match self.tasks.len() - clauses.len() {
            0 => clauses.join("; "),
            more => format!("{}; and {more} more", clauses.join("; ")),
        }
    }
}

/// The first of its characters, and a sign that there are more.
pub(crate) fn cut(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(LABEL_CHARS_MAX) {
        None => Cow::Borrowed(name),
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
    }
}

/// Each run of digits becomes one mark.
fn mask_digits(name: &str) -> String {
    let mut masked = String::with_capacity(name.len());
    let mut in_digits = false;
    for character in name.chars() {
        let is_digit = character.is_ascii_digit();
        if !is_digit {
            masked.push(character);
        } else if !in_digits {
            masked.push('#');
        }
        in_digits = is_digit;
    }
    masked
}

/// Names are free text, so each goes with its length: no two lists of names run into the same bytes.
fn hash_names(names: &[Cow<'_, str>]) -> u64 {
    let mut hash = Xxh3::new();
    for name in names {
        hash.update(&(name.len() as u64).to_be_bytes());
        hash.update(name.as_bytes());
    }
    hash.digest()
}

#[cfg(test)]
mod tests;
