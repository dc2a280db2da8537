//! What is asked, and what the answers mean.

use std::sync::Arc;

use standoff_protocol::stream::MESSAGE_BYTES_MAX;

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
    questions.by_instance.entry(A).or_default().still_open.push(CALL_OF_A);
    let b = questions.by_instance.entry(B).or_default();
    b.still_open.push(CALL_OF_B);
    b.accepted.push((CALL_OF_A, accepted(CALL_OF_A)));
    questions
}

fn accepted(call: SpanId) -> Arc<Accepted> {
    Arc::new(Accepted {
        stand_ins: vec![call],
        conversation: None,
        started_at: ms(0),
    })
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
    confirmations
        .probes(now, TIMEOUT, |_| true, |_| Duration::MAX)
        .into_iter()
        .collect()
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
    wider.by_instance.entry(A).or_default().still_open.push(SpanId(0xa2));
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
    other.by_instance.entry(A).or_default().still_open = vec![SpanId(0xa2)];
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

/// The first id of a large core.
const FIRST: u64 = 0x10_0000;

/// A core of very many tasks of one instance, all queued, and a small one of another.
fn large(conversation: &Arc<str>) -> Confirmations {
    let mut questions = Questions::default();
    let a = questions.by_instance.entry(A).or_default();
    a.still_open = (0..100_000).map(|number| SpanId(FIRST + number)).collect();
    let calls = a.still_open.iter().take(10_000);
    a.accepted = calls.map(|call| (*call, accepted(*call))).collect();
    // The longest that there are.
    let long = Accepted {
        stand_ins: vec![SpanId(7); 40_000],
        conversation: Some(Arc::clone(conversation)),
        started_at: ms(0),
    };
    a.accepted.push((SpanId(FIRST + 10_000), Arc::new(long)));
    let mut confirmations = watched(1);
    confirmations.watch(2, questions, ms(0));
    confirmations
}

#[test]
fn a_large_suspect_is_asked_about_in_parts_and_confirmed_after_the_last() {
    let mut confirmations = large(&"conversation".repeat(80).into());
    let mut asked = BTreeSet::new();
    let mut verdicts = Vec::new();
    let mut probes = 0;
    while verdicts.len() < 2 {
        for (instance, probe) in send(&mut confirmations, ms(0)) {
            let of_question = |it: &AcceptanceQuestion| 50 + 10 * it.span_ids.len() + it.conversation_id.len();
            let bytes = 10 * probe.still_open.len() + probe.accepted.iter().map(of_question).sum::<usize>();
            assert!(bytes < MESSAGE_BYTES_MAX / 4, "{bytes}");
            asked.extend(probe.still_open.iter().map(|id| (instance, *id, false)));
            asked.extend(probe.accepted.iter().map(|it| (instance, it.call_span_id, true)));
            verdicts.extend(confirmations.answer(ms(1), TIMEOUT, instance, &yes(&probe)));
            probes += 1;
        }
    }
    assert_eq!(verdicts, [Verdict::Confirmed(1), Verdict::Confirmed(2)]);
    assert_eq!(asked.len(), 3 + 110_001);
    assert!((5..20).contains(&probes), "{probes}");
    assert_eq!(send(&mut confirmations, ms(2)).len(), 0);
}

#[test]
fn one_no_to_any_part_refutes_and_all_is_asked_again() {
    let mut confirmations = large(&"".into());
    let first = send(&mut confirmations, ms(0));
    confirmations.answer(ms(1), TIMEOUT, A, &yes(&first[&A]));
    let second = send(&mut confirmations, ms(2));
    assert!(second[&A].still_open[0] > FIRST + 1000, "it goes on where it was");
    let mut answer = yes(&second[&A]);
    answer.not_open = vec![second[&A].still_open[5], FIRST];
    let refuted = Verdict::Refuted {
        episode: 2,
        not_open: vec![SpanId(second[&A].still_open[5])],
        answered: vec![],
    };
    assert_eq!(confirmations.answer(ms(3), TIMEOUT, A, &answer), [refuted]);
    let again = send(&mut confirmations, ms(3) + TIMEOUT);
    assert_eq!(again[&A].still_open[..2], [FIRST, FIRST + 1]);
}

#[test]
fn whoever_cannot_be_reached_keeps_the_suspect_a_suspect() {
    let mut confirmations = watched(1);
    let probes: BTreeMap<_, _> = confirmations
        .probes(ms(0), TIMEOUT, |it| it == A, |_| Duration::MAX)
        .into_iter()
        .collect();
    assert_eq!(probes.keys().copied().collect::<Vec<_>>(), [A]);
    assert_eq!(confirmations.answer(ms(1), TIMEOUT, A, &yes(&probes[&A])), []);
    let later = send(&mut confirmations, ms(1000));
    assert_eq!(later.keys().copied().collect::<Vec<_>>(), [B]);
}
