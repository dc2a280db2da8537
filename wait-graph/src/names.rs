//! What a deadlock is called: its identities, and one line for people.
//!
//! The hashes are XXH3, whose values are fixed for good: they are kept in databases and compared between collectors.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::deadlock::{DeadTask, DeadWait, Deadlock};
use crate::span::SpanId;

/// The most names in a summary: about what fits on three lines of a terminal.
const SUMMARY_NAMES_MAX: usize = 16;
/// The most resources by which a summary names one task.
const LABEL_RESOURCES_MAX: usize = 3;
/// Stands for a service that nobody has named.
const UNKNOWN_SERVICE: &str = "unknown_service";

impl DeadTask {
    /// Its smallest resource name; without a resource, `service/span name`.
    pub fn canonical_name(&self) -> Cow<'_, str> {
        match self.resources.first() {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(self.own_name()),
        }
    }

    fn own_name(&self) -> String {
        let service = if self.service.is_empty() {
            UNKNOWN_SERVICE
        } else {
            &self.service
        };
        format!("{service}/{}", self.name)
    }

    /// All its names that do not depend on when or where it runs.
    fn canonical_names(&self) -> Vec<Cow<'_, str>> {
        if self.resources.is_empty() {
            return vec![Cow::Owned(self.own_name())];
        }
        self.resources.iter().map(|name| Cow::Borrowed(&**name)).collect()
    }

    fn label(&self) -> String {
        let names = self.canonical_names();
        let shown = names
            .iter()
            .take(LABEL_RESOURCES_MAX)
            .map(|name| &**name)
            .collect::<Vec<_>>()
            .join(" + ");
        match names.len().saturating_sub(LABEL_RESOURCES_MAX) {
            0 => shown,
            more => format!("{shown} + {more} more"),
        }
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
        let calls: BTreeSet<SpanId> = self.waits().map(|wait| wait.call).collect();
        xxh3_64(&calls.into_iter().flat_map(|id| id.0.to_be_bytes()).collect::<Vec<u8>>())
    }

    /// Identifies the kind of deadlock, the same each time it recurs and on every collector: the hash of the canonical
    /// names of its core, each once.
    pub fn fingerprint(&self) -> u64 {
        hash_names(self.canonical_names().into_iter().collect())
    }

    /// The same with digits masked, so that like deadlocks of many ids have one pattern.
    pub fn pattern(&self) -> u64 {
        hash_names(
            self.canonical_names()
                .iter()
                .map(|name| Cow::Owned(mask_digits(name)))
                .collect(),
        )
    }

    fn canonical_names(&self) -> BTreeSet<Cow<'_, str>> {
        self.core.iter().flat_map(DeadTask::canonical_names).collect()
    }

    /// Exactly the spans on whose being open the deadlock rests, by id: the waits of the core, the handles of the core
    /// that answer accepted ones, the handles and holds of the core that occupy the targets of queued ones.
    pub fn spans(&self) -> Vec<SpanId> {
        let spans: BTreeSet<SpanId> = self
            .waits()
            .flat_map(|wait| wait.rests_on.iter().copied().chain([wait.call]))
            .collect();
        spans.into_iter().collect()
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
struct Crowd {
    labels: Vec<String>,
    /// For each label, those that its tasks wait for.
    waits_for: Vec<BTreeSet<usize>>,
}

impl Crowd {
    fn of(deadlock: &Deadlock) -> Self {
        let mut order: Vec<String> = Vec::new();
        let mut members: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        let mut places: BTreeMap<SpanId, usize> = BTreeMap::new();
        for task in &deadlock.core {
            let label = task.label();
            let (place, count) = members.entry(label.clone()).or_insert_with(|| {
                order.push(label);
                (order.len() - 1, 0)
            });
            *count += 1;
            places.insert(task.id, *place);
        }
        let mut waits_for = vec![BTreeSet::new(); order.len()];
        for task in &deadlock.core {
            let on = task
                .waits
                .iter()
                .flat_map(|wait| &wait.blocked_by)
                .filter_map(|id| places.get(id));
            waits_for[places[&task.id]].extend(on.copied());
        }
        let counted = |label: String| match members.get(&label) {
            Some((_, count)) if *count > 1 => format!("{label} ×{count}"),
            Some(_) | None => label,
        };
        Self {
            labels: order.into_iter().map(counted).collect(),
            waits_for,
        }
    }

    /// One name after the other, if each waits for the next only.
    fn ring(&self) -> Option<String> {
        let last = self.labels.len().checked_sub(1)?;
        let next_only = |place: usize| {
            self.waits_for[place]
                .iter()
                .eq([&(if place == last { 0 } else { place + 1 })])
        };
        if !(0..=last).all(next_only) {
            return None;
        }
        let mut names: Vec<String> = self.labels.iter().take(SUMMARY_NAMES_MAX).cloned().collect();
        if self.labels.len() > SUMMARY_NAMES_MAX {
            names.push(format!("({} more)", self.labels.len() - SUMMARY_NAMES_MAX));
        }
        names.extend(self.labels.first().cloned());
        Some(names.join(" → "))
    }

    /// Who waits for whom, name by name.
    fn knot(&self) -> String {
        let mut left = SUMMARY_NAMES_MAX;
        let mut clauses = Vec::new();
        for (label, on) in self.labels.iter().zip(&self.waits_for) {
            if left == 0 {
                break;
            }
            let names: Vec<&str> = on.iter().take(left).map(|place| self.labels[*place].as_str()).collect();
            left = left.saturating_sub(names.len());
            clauses.push(format!("{label} → {}", names.join(" and ")));
        }
        match self.labels.len() - clauses.len() {
            0 => clauses.join("; "),
            more => format!("{}; and {more} more", clauses.join("; ")),
        }
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
fn hash_names(names: BTreeSet<Cow<'_, str>>) -> u64 {
    let mut hash = Xxh3::new();
    for name in names {
        hash.update(&(name.len() as u64).to_be_bytes());
        hash.update(name.as_bytes());
    }
    hash.digest()
}

#[cfg(test)]
mod tests;
