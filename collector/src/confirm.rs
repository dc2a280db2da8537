//! Confirmation: asks every instance that owns a part of a suspect before it may fire.
//!
//! A set of spans that the collector has seen open may never have been open together, and a call that looks queued may
//! have been answered. So each suspect is put as [`Questions`] to the instances concerned, after the last of its spans
//! was first seen. Spans have one contiguous lifetime: if each was open when its owner was asked, all of them were open
//! when the round began, and no clock is compared. The same holds for calls that were not accepted.
//!
//! Where somebody is concerned who cannot be asked, what he would say is on its way by itself. So such a suspect *settles*
//! first: it stands for a while before anybody else is asked. If nobody else is concerned, that alone has to do.
//!
//! This module decides whom to ask what and when, and judges the answers. It does not know the graph's events, alerts
//! or connections.

mod questions;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use standoff_protocol::api::Confirmation;
use standoff_protocol::stream::{Acceptance, AcceptanceQuestion, AcceptanceState, Probe, ProbeAnswer};
use standoff_wait_graph::{InstanceId, SpanId};

pub(crate) use self::questions::Questions;
use self::questions::{Accepted, PROBE_BYTES_MAX};
use crate::alerts::EpisodeId;

/// What the answers say about a suspect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every instance has said yes.
    Confirmed(EpisodeId),
    /// An instance has said no.
    Refuted {
        episode: EpisodeId,
        /// Spans that are not open.
        not_open: Vec<SpanId>,
        /// Calls of which a handler has ended.
        answered: Vec<SpanId>,
    },
}

/// All suspects, and the probes under way.
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    suspects: BTreeMap<EpisodeId, Suspect>,
    /// At most one probe for each instance.
    in_flight: BTreeMap<InstanceId, InFlight>,
    /// Who has left a probe without an answer since somebody last asked for it.
    unanswered: Vec<InstanceId>,
    last_probe: u64,
    last_round: u64,
}

#[derive(Debug)]
struct Suspect {
    questions: Questions,
    /// Before this it may not be asked about.
    settled_at: Duration,
    /// Set after a refutation that left the suspect standing.
    not_before: Duration,
    /// Another number whenever the round begins anew, and never that of another suspect, even if that was an earlier one
    /// of the same episode: answers to another round do not count.
    round: u64,
    /// Who has not answered everything, and how many questions he has.
    unanswered: BTreeMap<InstanceId, usize>,
}

#[derive(Debug)]
struct InFlight {
    probe: u64,
    sent_at: Duration,
    about: Vec<About>,
}

/// What a probe asks about a suspect.
#[derive(Debug)]
struct About {
    episode: EpisodeId,
    round: u64,
    questions: Range<usize>,
}

impl Suspect {
    fn begin_round(&mut self, last_round: &mut u64) {
        *last_round += 1;
        self.round = *last_round;
        self.unanswered = self.questions.all();
    }

    fn may_ask_from(&self) -> Duration {
        self.settled_at.max(self.not_before)
    }

    /// Whether it has settled, and everybody who cannot be asked was heard of after that.
    fn may_ask(&self, now: Duration, heard_at: impl Fn(InstanceId) -> Duration) -> bool {
        now >= self.may_ask_from() && self.questions.unasked().all(|id| heard_at(id) >= self.settled_at)
    }
}

impl Confirmations {
    /// A suspect is there, and this is what must hold for it. What was answered before still counts if nothing changed.
    pub(crate) fn watch(&mut self, episode: EpisodeId, questions: Questions, settled_at: Duration) {
        let suspect = self.suspects.entry(episode).or_insert_with(|| Suspect {
            questions: Questions::default(),
            settled_at,
            not_before: Duration::ZERO,
            round: 0,
            unanswered: BTreeMap::new(),
        });
        if suspect.questions != questions || settled_at > suspect.settled_at {
            suspect.questions = questions;
            suspect.not_before = Duration::ZERO;
            suspect.begin_round(&mut self.last_round);
        }
        suspect.settled_at = settled_at;
    }

    /// How a suspect is going to be confirmed, or is.
    pub(crate) fn kind(&self, episode: EpisodeId) -> Confirmation {
        match self.suspects.get(&episode) {
            Some(suspect) if suspect.questions.rests_on_time() => Confirmation::Settled,
            Some(_) | None => Confirmation::Probed,
        }
    }

    /// The suspects of whom nobody can be asked, and that have stood for long enough. `heard_at` says when somebody has last
    /// given a sign that all that was to be told before it has been.
    pub(crate) fn settled(&self, now: Duration, heard_at: impl Fn(InstanceId) -> Duration) -> Vec<EpisodeId> {
        let has_settled = |suspect: &Suspect| {
            let is_all = suspect.questions.rests_on_time() && suspect.unanswered.is_empty();
            is_all && suspect.may_ask(now, &heard_at)
        };
        let suspects = self.suspects.iter().filter(|(_, suspect)| has_settled(suspect));
        suspects.map(|(episode, _)| *episode).collect()
    }

    /// The suspect has fired or is gone.
    pub(crate) fn forget(&mut self, episode: EpisodeId) {
        self.suspects.remove(&episode);
    }

    /// The probes to send now. `reachable` says which instances can be asked just now, `heard_at` is that of
    /// [`Confirmations::settled`].
    pub(crate) fn probes(
        &mut self,
        now: Duration,
        probe_timeout: Duration,
        reachable: impl Fn(InstanceId) -> bool,
        heard_at: impl Fn(InstanceId) -> Duration,
    ) -> Vec<(InstanceId, Probe)> {
        let late = self
            .in_flight
            .extract_if(.., |_, probe| now >= probe.sent_at + probe_timeout);
        self.unanswered.extend(late.map(|(instance, _)| instance));
        let mut wanted: BTreeMap<InstanceId, Vec<EpisodeId>> = BTreeMap::new();
        for (episode, suspect) in &self.suspects {
            if suspect.may_ask(now, &heard_at) {
                for instance in suspect.unanswered.keys() {
                    wanted.entry(*instance).or_default().push(*episode);
                }
            }
        }
        let mut probes = Vec::new();
        for (instance, episodes) in wanted {
            if reachable(instance) && !self.in_flight.contains_key(&instance) {
                probes.push((instance, self.probe(now, instance, &episodes)));
            }
        }
        probes
    }

    fn probe(&mut self, now: Duration, instance: InstanceId, episodes: &[EpisodeId]) -> Probe {
        self.last_probe += 1;
        let mut probe = Probe {
            probe_id: self.last_probe,
            ..Probe::default()
        };
        let mut about = Vec::new();
        let mut still_open: BTreeSet<SpanId> = BTreeSet::new();
        let mut accepted: BTreeMap<SpanId, &Accepted> = BTreeMap::new();
        let mut room = PROBE_BYTES_MAX;
        for episode in episodes {
            let Some(suspect) = self.suspects.get(episode) else {
                continue;
            };
            let (Some(questions), Some(from)) = (
                suspect.questions.by_instance.get(&instance),
                suspect.unanswered.get(&instance).copied(),
            ) else {
                continue;
            };
            let range = questions.next(from, &mut room);
            if range.is_empty() {
                break;
            }
            let part = questions.part(&range);
            still_open.extend(part.still_open);
            accepted.extend(part.accepted.iter().map(|(call, it)| (*call, &**it)));
            about.push(About {
                episode: *episode,
                round: suspect.round,
                questions: range,
            });
        }
        probe.still_open = still_open.into_iter().map(|id| id.0).collect();
        probe.accepted = accepted
            .into_iter()
            .map(|(call, it)| AcceptanceQuestion {
                call_span_id: call.0,
                span_ids: it.stand_ins.iter().map(|id| id.0).collect(),
                conversation_id: it.conversation.as_deref().unwrap_or_default().into(),
                age_ns: u64::try_from(now.saturating_sub(it.started_at).as_nanos()).unwrap_or(u64::MAX),
            })
            .collect();
        self.in_flight.insert(
            instance,
            InFlight {
                probe: probe.probe_id,
                sent_at: now,
                about,
            },
        );
        probe
    }

    /// An instance has answered. An answer that nobody waits for any more says nothing.
    pub(crate) fn answer(
        &mut self,
        now: Duration,
        probe_timeout: Duration,
        instance: InstanceId,
        answer: &ProbeAnswer,
    ) -> Vec<Verdict> {
        if self
            .in_flight
            .get(&instance)
            .is_none_or(|it| it.probe != answer.probe_id)
        {
            return Vec::new();
        }
        let Some(in_flight) = self.in_flight.remove(&instance) else {
            return Vec::new();
        };
        let not_open: BTreeSet<SpanId> = answer.not_open.iter().copied().map(SpanId).collect();
        let acceptances: BTreeMap<SpanId, AcceptanceState> = answer
            .acceptances
            .iter()
            .map(|it| (SpanId(it.call_span_id), acceptance(it)))
            .collect();
        let mut verdicts = Vec::new();
        for About {
            episode,
            round,
            questions: range,
        } in in_flight.about
        {
            let Some(suspect) = self.suspects.get_mut(&episode).filter(|it| it.round == round) else {
                continue;
            };
            let Some(questions) = suspect.questions.by_instance.get(&instance) else {
                continue;
            };
            let part = questions.part(&range);
            // A call that the answer leaves out is one of which the instance knows nothing.
            let state = |call: SpanId| acceptances.get(&call).copied().unwrap_or(AcceptanceState::Forgotten);
            let calls = || part.accepted.iter().map(|(call, _)| *call);
            let gone: Vec<SpanId> = part
                .still_open
                .iter()
                .filter(|span| not_open.contains(span))
                .copied()
                .collect();
            if !gone.is_empty() || calls().any(|call| state(call) != AcceptanceState::Never) {
                verdicts.push(Verdict::Refuted {
                    episode,
                    not_open: gone,
                    answered: calls().filter(|call| state(*call) == AcceptanceState::Ended).collect(),
                });
                suspect.not_before = now + probe_timeout;
                suspect.begin_round(&mut self.last_round);
            } else if range.end < questions.len() {
                // What is left is asked next. If anything changes meanwhile, that is another round.
                suspect.unanswered.insert(instance, range.end);
            } else {
                suspect.unanswered.remove(&instance);
                if suspect.unanswered.is_empty() {
                    verdicts.push(Verdict::Confirmed(episode));
                }
            }
        }
        verdicts
    }

    /// The instance's connection has ended: what was asked on it will not be answered.
    pub(crate) fn disconnected(&mut self, instance: InstanceId) {
        if self.in_flight.remove(&instance).is_some() {
            self.unanswered.push(instance);
        }
    }

    /// Who has left a probe without an answer since this was last asked.
    pub(crate) fn take_unanswered(&mut self) -> Vec<InstanceId> {
        std::mem::take(&mut self.unanswered)
    }

    /// When there may be something to send without anything else happening.
    pub(crate) fn wake_at(&self, now: Duration, probe_timeout: Duration) -> Option<Duration> {
        let settle = self
            .suspects
            .values()
            .map(Suspect::may_ask_from)
            .filter(|at| *at > now)
            .min();
        let timeout = self.in_flight.values().map(|probe| probe.sent_at + probe_timeout).min();
        settle.into_iter().chain(timeout).min()
    }
}

/// An unknown state comes from a newer library; whatever it means, it does not support the suspicion.
fn acceptance(acceptance: &Acceptance) -> AcceptanceState {
    AcceptanceState::try_from(acceptance.state).unwrap_or(AcceptanceState::Forgotten)
}

#[cfg(test)]
mod tests;
