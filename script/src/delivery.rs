//! What a collector sees of a run: later, reordered between instances, and without what is short.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use crate::simulation::agenda::Agenda;
use crate::simulation::{Event, InstanceId, Span, SpanId};

/// How events reach a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// A span is reported once it has been open for so long; if it ends earlier, never.
    pub report_after: Duration,
    /// How long a report may be on its way at most. Each takes a random time up to this, but never overtakes an
    /// earlier one of the same instance.
    pub delay_max: Duration,
}

/// As the agent library does it by default: spans of 20 milliseconds or more, flushed every 5.
impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            report_after: Duration::from_millis(20),
            delay_max: Duration::from_millis(5),
        }
    }
}

/// The events of a [`Simulation`](crate::Simulation), or of any other source in the order of time, as a collector sees
/// them, with the time at which it does.
///
/// What an instance has not reported when it crashes it never reports.
#[derive(Clone, Debug)]
pub struct Delivery<I: Iterator<Item = (Duration, Event)>> {
    source: Peekable<I>,
    settings: DeliverySettings,
    dice: Xoshiro256PlusPlus,
    /// When spans are due to be reported, if they are still open.
    due: Agenda<SpanId>,
    /// Open spans that are not reported yet.
    unreported: BTreeMap<SpanId, Span>,
    /// Open spans that are, and where they run.
    reported: BTreeMap<SpanId, InstanceId>,
    /// Reports on their way.
    on_its_way: Agenda<Event>,
    /// When the last report of each instance arrives.
    last_arrival: BTreeMap<InstanceId, Duration>,
}

impl<I: Iterator<Item = (Duration, Event)>> Delivery<I> {
    /// The same source, settings and seed give the same delivery.
    pub fn new(source: I, settings: DeliverySettings, seed: u64) -> Self {
        Self {
            source: source.peekable(),
            settings,
            dice: Xoshiro256PlusPlus::seed_from_u64(seed),
            due: Agenda::new(),
            unreported: BTreeMap::new(),
            reported: BTreeMap::new(),
            on_its_way: Agenda::new(),
            last_arrival: BTreeMap::new(),
        }
    }

    /// An event happens in an instance.
    fn happen(&mut self, now: Duration, event: Event) {
        match event {
            Event::Started(span) => {
                self.due.put(now.saturating_add(self.settings.report_after), span.id);
                self.unreported.insert(span.id, span);
            }
            Event::Finished(id) => {
                if self.unreported.remove(&id).is_none()
                    && let Some(instance) = self.reported.remove(&id)
                {
                    self.report(now, instance, Event::Finished(id));
                }
            }
            Event::Gone(instance) => {
                self.unreported.retain(|_, span| span.instance != instance);
                self.reported.retain(|_, its_instance| *its_instance != instance);
                self.report(now, instance, Event::Gone(instance));
            }
        }
    }

    fn report_span(&mut self, now: Duration, id: SpanId) {
        if let Some(span) = self.unreported.remove(&id) {
            let instance = span.instance;
            self.reported.insert(id, instance);
            self.report(now, instance, Event::Started(span));
        }
    }

    fn report(&mut self, now: Duration, instance: InstanceId, event: Event) {
        let delay_max_ns = u64::try_from(self.settings.delay_max.as_nanos()).unwrap_or(u64::MAX);
        let delay = if delay_max_ns == 0 {
            0
        } else {
            self.dice.random_range(0..=delay_max_ns)
        };
        let last = self.last_arrival.entry(instance).or_default();
        *last = now.saturating_add(Duration::from_nanos(delay)).max(*last);
        self.on_its_way.put(*last, event);
    }
}

impl<I: Iterator<Item = (Duration, Event)>> Iterator for Delivery<I> {
    type Item = (Duration, Event);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let happens_at = self.source.peek().map(|(at, _)| *at);
            let nexts = [happens_at, self.due.next_at(), self.on_its_way.next_at()];
            let next = nexts.iter().flatten().min().copied()?;
            // What ends in the moment in which it is due is short.
            if happens_at == Some(next) {
                if let Some((at, event)) = self.source.next() {
                    self.happen(at, event);
                }
            } else if self.due.next_at() == Some(next) {
                if let Some((at, id)) = self.due.pop() {
                    self.report_span(at, id);
                }
            } else {
                return self.on_its_way.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Script, Settings, Simulation};

    /// What is seen of a script: starts and ends by the names of spans.
    fn seen(script: &str, delay_max_ms: u64) -> Vec<(u128, String)> {
        let script: Script = script.parse().unwrap();
        let settings = DeliverySettings {
            delay_max: Duration::from_millis(delay_max_ms),
            ..DeliverySettings::default()
        };
        let mut names = BTreeMap::new();
        let events = Delivery::new(Simulation::new(&script, Settings::default(), 0), settings, 0);
        let word = |event| match event {
            Event::Started(span) => {
                names.insert(span.id, span.name.clone());
                format!("+{}", span.name)
            }
            Event::Finished(id) => format!("-{}", names[&id]),
            Event::Gone(instance) => format!("!{}", instance.0),
        };
        let (times, events): (Vec<u128>, Vec<Event>) = events.map(|(at, event)| (at.as_millis(), event)).unzip();
        times.into_iter().zip(events.into_iter().map(word)).collect()
    }

    fn words(seen: &[(u128, String)]) -> String {
        seen.iter()
            .map(|(at, word)| format!("{at}{word}"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn what_is_short_is_never_seen() {
        assert_eq!(words(&seen("x: A{~19}", 0)), "");
        assert_eq!(words(&seen("x: A{~20}", 0)), "");
        assert_eq!(words(&seen("x: ~5; A{~18; B}; ~2", 0)), "20+x 25-x");
        assert_eq!(
            words(&seen("x: A{~21}", 0)),
            "20+x 20+call A 20+serve A 21-serve A 21-call A 21-x"
        );
    }

    #[test]
    fn a_crash_takes_along_what_was_not_reported() {
        assert_eq!(words(&seen("x: A{~5; !}@30", 0)), "5!1 20+x 20+call A 30-call A 30-x");
        assert_eq!(
            words(&seen("x: A{~25; !}@30", 0)),
            "20+x 20+call A 20+serve A 25!1 30-call A 30-x"
        );
    }

    #[test]
    fn an_instance_is_seen_in_its_order_and_not_before_it_speaks() {
        let late = seen("x*5: A[5]{~30; B[5]{~40}; ~20}", 60);
        let punctual = seen("x*5: A[5]{~30; B[5]{~40}; ~20}", 0);
        assert_eq!(late.len(), punctual.len());
        assert!(late.is_sorted_by_key(|(at, _)| *at) && punctual.is_sorted_by_key(|(at, _)| *at));
        let of_a = |all: &[(u128, String)]| {
            all.iter()
                .map(|(_, word)| word.clone())
                .filter(|word| word.ends_with("serve A"))
                .collect::<Vec<_>>()
        };
        assert_eq!(of_a(&late), of_a(&punctual));
        let first = |all: &[(u128, String)], word| all.iter().position(|it| it.1 == word);
        assert!(first(&punctual, "+call A") < first(&punctual, "+serve A"));
        assert!(late != punctual);
    }
}
