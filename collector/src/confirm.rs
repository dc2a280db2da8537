//! Confirmation: asks every instance that owns a part of a suspect before it may fire.
//!
//! A set of spans that the collector has seen open may never have been open together, and a call that looks queued may
//! have been answered. So each suspect is put as [`Questions`] to the instances concerned, after the last of its spans
//! was first seen. Spans have one contiguous lifetime: if each was open when its owner was asked, all of them were open
//! when the round began, and no clock is compared. The same holds for calls that were not accepted.
//!
//! This module decides whom to ask what and when, and judges the answers. It does not know the graph's events, alerts
//! or connections.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use standoff_protocol::stream::{Acceptance, AcceptanceQuestion, AcceptanceState, Probe, ProbeAnswer};
use standoff_wait_graph::{CallState, Deadlock, InstanceId, SpanId, WaitGraph};

use crate::alerts::EpisodeId;

/// The most questions in one probe: about 50 bytes each, which keeps probes far below the limit on messages. What does
/// not fit is asked in the next probe.
const QUESTIONS_PER_PROBE_MAX: usize = 4096;

/// What has to hold for a suspect to be a deadlock, by the instance that knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Questions(BTreeMap<InstanceId, InstanceQuestions>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct InstanceQuestions {
    /// Are these still open?
    still_open: BTreeSet<SpanId>,
    /// Did you ever accept these calls?
    accepted: BTreeMap<SpanId, Accepted>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Accepted {
    stand_ins: Vec<SpanId>,
    conversation: Option<std::sync::Arc<str>>,
    started_at: Duration,
}

impl Questions {
    /// What to ask about a deadlock.
    pub(crate) fn about(deadlock: &Deadlock, graph: &WaitGraph) -> Self {
        let mut questions = Self::default();
        for id in deadlock.spans() {
            if let Some(span) = graph.span(id) {
                questions.0.entry(span.instance()).or_default().still_open.insert(id);
            }
        }
        // A pool has many who wait for it, and to know who serves it is to look at everything.
        let mut servers: BTreeMap<&str, Vec<InstanceId>> = BTreeMap::new();
        let waits = deadlock.core.iter().flat_map(|task| &task.waits);
        for wait in waits.filter(|wait| wait.in_core && wait.state == CallState::Queued) {
            let Some(target) = &wait.target else { continue };
            let accepted = Accepted {
                stand_ins: graph.stand_ins(wait.call),
                conversation: graph.span(wait.call).and_then(|span| span.conversation().cloned()),
                started_at: wait.started_at,
            };
            for server in servers.entry(target).or_insert_with(|| graph.servers(target)) {
                questions
                    .0
                    .entry(*server)
                    .or_default()
                    .accepted
                    .insert(wait.call, accepted.clone());
            }
        }
        questions
    }

    fn instances(&self) -> BTreeSet<InstanceId> {
        self.0.keys().copied().collect()
    }
}

impl InstanceQuestions {
    fn len(&self) -> usize {
        self.still_open.len() + self.accepted.values().map(|it| 1 + it.stand_ins.len()).sum::<usize>()
    }
}

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
    unanswered: BTreeSet<InstanceId>,
}

#[derive(Debug)]
struct InFlight {
    probe: u64,
    sent_at: Duration,
    /// The suspects it asks about, and their rounds.
    about: Vec<(EpisodeId, u64)>,
}

impl Suspect {
    fn begin_round(&mut self, last_round: &mut u64) {
        *last_round += 1;
        self.round = *last_round;
        self.unanswered = self.questions.instances();
    }

    fn may_ask_from(&self) -> Duration {
        self.settled_at.max(self.not_before)
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
            unanswered: BTreeSet::new(),
        });
        if suspect.questions != questions || settled_at > suspect.settled_at {
            suspect.questions = questions;
            suspect.not_before = Duration::ZERO;
            suspect.begin_round(&mut self.last_round);
        }
        suspect.settled_at = settled_at;
    }

    /// The suspect has fired or is gone.
    pub(crate) fn forget(&mut self, episode: EpisodeId) {
        self.suspects.remove(&episode);
    }

    /// The probes to send now. `reachable` says which instances can be asked.
    pub(crate) fn probes(
        &mut self,
        now: Duration,
        probe_timeout: Duration,
        reachable: impl Fn(InstanceId) -> bool,
    ) -> Vec<(InstanceId, Probe)> {
        self.in_flight.retain(|_, probe| now < probe.sent_at + probe_timeout);
        let mut wanted: BTreeMap<InstanceId, Vec<EpisodeId>> = BTreeMap::new();
        for (episode, suspect) in &self.suspects {
            if now >= suspect.may_ask_from() {
                for instance in &suspect.unanswered {
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
        let mut len = 0;
        for episode in episodes {
            let Some(suspect) = self.suspects.get(episode) else {
                continue;
            };
            let Some(questions) = suspect.questions.0.get(&instance) else {
                continue;
            };
            len += questions.len();
            if len > QUESTIONS_PER_PROBE_MAX && !about.is_empty() {
                break;
            }
            about.push((*episode, suspect.round));
            still_open.extend(&questions.still_open);
            accepted.extend(questions.accepted.iter().map(|(call, it)| (*call, it)));
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
        for (episode, round) in in_flight.about {
            let Some(suspect) = self.suspects.get_mut(&episode).filter(|it| it.round == round) else {
                continue;
            };
            let Some(questions) = suspect.questions.0.get(&instance) else {
                continue;
            };
            // A call that the answer leaves out is one of which the instance knows nothing.
            let state = |call| acceptances.get(call).copied().unwrap_or(AcceptanceState::Forgotten);
            if questions.still_open.is_disjoint(&not_open)
                && questions
                    .accepted
                    .keys()
                    .all(|call| state(call) == AcceptanceState::Never)
            {
                suspect.unanswered.remove(&instance);
                if suspect.unanswered.is_empty() {
                    verdicts.push(Verdict::Confirmed(episode));
                }
                continue;
            }
            verdicts.push(Verdict::Refuted {
                episode,
                not_open: questions.still_open.intersection(&not_open).copied().collect(),
                answered: questions
                    .accepted
                    .keys()
                    .filter(|call| state(call) == AcceptanceState::Ended)
                    .copied()
                    .collect(),
            });
            suspect.not_before = now + probe_timeout;
            suspect.begin_round(&mut self.last_round);
        }
        verdicts
    }

    /// The instance's connection has ended: what was asked on it will not be answered.
    pub(crate) fn disconnected(&mut self, instance: InstanceId) {
        self.in_flight.remove(&instance);
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
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(500);
    const A: InstanceId = InstanceId(1);
    const B: InstanceId = InstanceId(2);
    const CALL_OF_A: SpanId = SpanId(0xa1);
    const CALL_OF_B: SpanId = SpanId(0xb1);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A owns a call that B may have accepted.
    fn questions() -> Questions {
        let mut questions = Questions::default();
        questions.0.entry(A).or_default().still_open.insert(CALL_OF_A);
        let b = questions.0.entry(B).or_default();
        b.still_open.insert(CALL_OF_B);
        let accepted = Accepted {
            stand_ins: vec![CALL_OF_A],
            conversation: None,
            started_at: ms(0),
        };
        b.accepted.insert(CALL_OF_A, accepted);
        questions
    }

    fn watched(episode: EpisodeId) -> Confirmations {
        let mut confirmations = Confirmations::default();
        confirmations.watch(episode, questions(), ms(0));
        confirmations
    }

    fn yes(probe: &Probe) -> ProbeAnswer {
        let acceptances = probe
            .accepted
            .iter()
            .map(|it| Acceptance {
                call_span_id: it.call_span_id,
                state: AcceptanceState::Never.into(),
            })
            .collect();
        ProbeAnswer {
            probe_id: probe.probe_id,
            not_open: vec![],
            acceptances,
        }
    }

    fn send(confirmations: &mut Confirmations, now: Duration) -> BTreeMap<InstanceId, Probe> {
        confirmations.probes(now, TIMEOUT, |_| true).into_iter().collect()
    }

    #[test]
    fn confirmed_when_everyone_has_said_yes() {
        let mut confirmations = watched(1);
        let probes = send(&mut confirmations, ms(0));
        assert_eq!(probes[&A].still_open, [CALL_OF_A.0]);
        assert_eq!(probes[&B].accepted[0].span_ids, [CALL_OF_A.0]);
        assert_eq!(confirmations.answer(ms(1), TIMEOUT, A, &yes(&probes[&A])), []);
        assert_eq!(
            confirmations.answer(ms(2), TIMEOUT, B, &yes(&probes[&B])),
            [Verdict::Confirmed(1)]
        );
    }

    #[test]
    fn refuted_by_a_call_that_was_answered() {
        let mut confirmations = watched(1);
        let probes = send(&mut confirmations, ms(0));
        let mut answer = yes(&probes[&B]);
        answer.acceptances[0].state = AcceptanceState::Ended.into();
        let refuted = Verdict::Refuted {
            episode: 1,
            not_open: vec![],
            answered: vec![CALL_OF_A],
        };
        assert_eq!(confirmations.answer(ms(1), TIMEOUT, B, &answer), [refuted]);
        assert_eq!(send(&mut confirmations, ms(2)).len(), 0, "not asked again at once");
        assert_eq!(confirmations.wake_at(ms(2), TIMEOUT), Some(ms(500)));
    }

    #[test]
    fn what_was_forgotten_left_out_or_is_unheard_of_does_not_confirm() {
        for state in [AcceptanceState::Forgotten as i32, AcceptanceState::Open as i32, 77] {
            let mut confirmations = watched(1);
            let probes = send(&mut confirmations, ms(0));
            let mut answer = yes(&probes[&B]);
            answer.acceptances[0].state = state;
            let refuted = Verdict::Refuted {
                episode: 1,
                not_open: vec![],
                answered: vec![],
            };
            assert_eq!(confirmations.answer(ms(1), TIMEOUT, B, &answer), [refuted]);
        }
        let mut confirmations = watched(1);
        let probes = send(&mut confirmations, ms(0));
        let silent = ProbeAnswer {
            probe_id: probes[&B].probe_id,
            ..ProbeAnswer::default()
        };
        assert!(matches!(
            confirmations.answer(ms(1), TIMEOUT, B, &silent)[..],
            [Verdict::Refuted { .. }]
        ));
    }

    #[test]
    fn an_unanswered_probe_is_asked_again_and_a_late_answer_does_not_count() {
        let mut confirmations = watched(1);
        let first = send(&mut confirmations, ms(0));
        assert_eq!(
            send(&mut confirmations, ms(499)).len(),
            0,
            "one probe in flight for each instance"
        );
        let second = send(&mut confirmations, ms(500));
        assert_eq!(confirmations.answer(ms(501), TIMEOUT, A, &yes(&first[&A])), []);
        assert_eq!(confirmations.answer(ms(502), TIMEOUT, B, &yes(&second[&B])), []);
        assert_eq!(
            confirmations.answer(ms(503), TIMEOUT, A, &yes(&second[&A])),
            [Verdict::Confirmed(1)]
        );
    }

    #[test]
    fn a_suspect_that_grows_is_asked_about_anew() {
        let mut confirmations = watched(1);
        let first = send(&mut confirmations, ms(0));
        let mut wider = questions();
        wider.0.entry(A).or_default().still_open.insert(SpanId(0xa2));
        confirmations.watch(1, wider, ms(0));
        assert_eq!(confirmations.answer(ms(1), TIMEOUT, A, &yes(&first[&A])), []);
        assert_eq!(confirmations.answer(ms(1), TIMEOUT, B, &yes(&first[&B])), []);
        let second = send(&mut confirmations, ms(2));
        assert_eq!(second[&A].still_open, [CALL_OF_A.0, 0xa2]);
    }

    #[test]
    fn what_was_answered_about_an_earlier_suspect_of_the_episode_does_not_count() {
        let mut confirmations = watched(1);
        let first = send(&mut confirmations, ms(0));
        confirmations.forget(1);
        let mut other = questions();
        other.0.entry(A).or_default().still_open = [SpanId(0xa2)].into();
        confirmations.watch(1, other, ms(0));
        assert_eq!(confirmations.answer(ms(1), TIMEOUT, A, &yes(&first[&A])), []);
        assert_eq!(confirmations.answer(ms(1), TIMEOUT, B, &yes(&first[&B])), []);
        assert_eq!(send(&mut confirmations, ms(2))[&A].still_open, [0xa2]);
    }

    #[test]
    fn nobody_is_asked_before_the_suspect_has_settled() {
        let mut confirmations = Confirmations::default();
        confirmations.watch(1, questions(), ms(250));
        assert_eq!(send(&mut confirmations, ms(249)).len(), 0);
        assert_eq!(confirmations.wake_at(ms(249), TIMEOUT), Some(ms(250)));
        assert_eq!(send(&mut confirmations, ms(250)).len(), 2);
    }

    #[test]
    fn suspects_share_a_probe() {
        let mut confirmations = watched(1);
        confirmations.watch(2, questions(), ms(0));
        let probes = send(&mut confirmations, ms(0));
        assert_eq!(confirmations.answer(ms(1), TIMEOUT, A, &yes(&probes[&A])), []);
        let confirmed = [Verdict::Confirmed(1), Verdict::Confirmed(2)];
        assert_eq!(confirmations.answer(ms(1), TIMEOUT, B, &yes(&probes[&B])), confirmed);
    }

    #[test]
    fn whoever_cannot_be_reached_keeps_the_suspect_a_suspect() {
        let mut confirmations = watched(1);
        let probes: BTreeMap<_, _> = confirmations.probes(ms(0), TIMEOUT, |it| it == A).into_iter().collect();
        assert_eq!(probes.keys().copied().collect::<Vec<_>>(), [A]);
        assert_eq!(confirmations.answer(ms(1), TIMEOUT, A, &yes(&probes[&A])), []);
        let later = send(&mut confirmations, ms(1000));
        assert_eq!(later.keys().copied().collect::<Vec<_>>(), [B]);
    }
}
