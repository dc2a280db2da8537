//! Spans of which only the end is told: what they mean for calls that are open, in whatever order it is told.

use standoff_wait_graph::{CallState, Event, Settled, SpanId};

use super::*;
use crate::decode;
use crate::detector::chance::Random;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn ended(span: &Started) -> Ended {
    Ended {
        span_id: span.span_id,
        parent_span_id: span.parent_span_id,
        parent_is_remote: span.parent_is_remote,
        role: span.role,
        conversation_id: span.conversation_id.clone(),
    }
}

/// A span that only keeps the parent chain.
fn link(id: u64, parent: u64) -> Started {
    Started {
        span_id: id,
        parent_span_id: parent,
        ..Started::default()
    }
}

/// `A` calls `B`, and what `B` does calls `A`: dead unless `B` has answered the call in between.
fn closed(rig: &mut Rig) {
    for name in NAMES {
        rig.connect_unasked(name);
    }
    rig.start("a", handle(0xa1, 0, "A"));
    rig.start("b", handle(0xb1, 0, "B"));
    rig.start("b", call(0xc2, 0xb1, "A"));
}

fn the_call(rig: &mut Rig) {
    rig.start("a", call(0xc1, 0xa1, "B"));
}

fn is_dead(rig: &mut Rig) -> bool {
    assert_eq!(rig.detector.graph.settle(rig.now + ms(60_000)), Settled::Exact);
    rig.detector.graph.is_dead(SpanId(0xc1))
}

/// Lets all of these happen in each order of them.
fn in_any_order(steps: &[&dyn Fn(&mut Rig)], check: impl Fn(&mut Rig)) {
    let mut order: Vec<usize> = (0..steps.len()).collect();
    let mut counts = vec![0; steps.len()];
    let run = |order: &[usize]| {
        let mut rig = Rig::new();
        closed(&mut rig);
        order.iter().for_each(|step| steps[*step](&mut rig));
        check(&mut rig);
    };
    // Heap's algorithm.
    run(&order);
    let mut place = 0;
    while place < steps.len() {
        if counts[place] < place {
            order.swap(if place % 2 == 0 { 0 } else { counts[place] }, place);
            run(&order);
            counts[place] += 1;
            place = 0;
        } else {
            counts[place] = 0;
            place += 1;
        }
    }
}

#[test]
fn without_anything_else_it_is_dead() {
    in_any_order(&[&the_call], |rig| assert!(is_dead(rig)));
}

#[test]
fn a_handler_that_has_ended_has_answered_the_call_above_it() {
    let answer = |rig: &mut Rig| rig.ended("b", [ended(&handle(0xb2, 0xc1, "B"))]);
    in_any_order(&[&the_call, &answer, &answer], |rig| assert!(!is_dead(rig)));
}

#[test]
fn a_handler_has_answered_through_spans_of_the_caller_that_have_ended() {
    let answer = |rig: &mut Rig| rig.ended("b", [ended(&handle(0xb2, 0xd3, "B"))]);
    let link = |id, parent| move |rig: &mut Rig| rig.ended("a", [ended(&link(id, parent))]);
    in_any_order(
        &[
            &the_call,
            &answer,
            &link(0xd1, 0xc1),
            &link(0xd2, 0xd1),
            &link(0xd3, 0xd2),
        ],
        |rig| assert!(!is_dead(rig)),
    );
    in_any_order(&[&the_call, &answer, &link(0xd1, 0xc1), &link(0xd3, 0xd2)], |rig| {
        assert!(is_dead(rig), "one is missing");
    });
}

#[test]
fn a_call_that_has_ended_leads_to_the_one_that_it_is_inside_of() {
    let answer = |rig: &mut Rig| rig.ended("b", [ended(&handle(0xb2, 0xd1, "B"))]);
    let inner = |rig: &mut Rig| rig.ended("a", [ended(&call(0xd1, 0xc1, "B"))]);
    in_any_order(&[&the_call, &answer, &inner], |rig| assert!(!is_dead(rig)));
}

#[test]
fn spans_of_another_instance_lead_nowhere() {
    let answer = |rig: &mut Rig| rig.ended("b", [ended(&handle(0xb2, 0xd2, "B"))]);
    let near = |rig: &mut Rig| rig.ended("a", [ended(&link(0xd1, 0xc1))]);
    let far = |rig: &mut Rig| rig.ended("c", [ended(&link(0xd2, 0xd1))]);
    in_any_order(&[&the_call, &answer, &near, &far], |rig| assert!(is_dead(rig)));
}

#[test]
fn what_another_handler_has_caused_it_has_not_answered() {
    let caused = |rig: &mut Rig| rig.ended("c", [ended(&handle(0xe2, 0xd2, "C"))]);
    let link = |rig: &mut Rig| rig.ended("b", [ended(&link(0xd2, 0xb2))]);
    let open = |rig: &mut Rig| {
        rig.start(
            "b",
            Started {
                resources: vec![],
                ..handle(0xb2, 0xc1, "")
            },
        )
    };
    let unseen = |rig: &mut Rig| rig.ended("b", [ended(&handle(0xb2, 0xc9, "B"))]);
    in_any_order(&[&the_call, &caused, &link, &unseen], |rig| assert!(is_dead(rig)));
    in_any_order(&[&the_call, &caused, &link, &open], |rig| {
        let state = rig.detector.graph.call_state(SpanId(0xc1));
        assert_eq!(state, Some(CallState::Accepted));
    });
}

#[test]
fn a_start_that_comes_after_the_end_opens_nothing() {
    let end = |rig: &mut Rig| rig.ended("b", [ended(&handle(0xb2, 0xc9, "A"))]);
    let start = |rig: &mut Rig| rig.start("b", handle(0xb2, 0xc9, "A"));
    in_any_order(&[&end, &start, &end], |rig| {
        assert_eq!(rig.detector.graph.span(SpanId(0xb2)).map(|it| it.id()), None);
    });
}

#[test]
fn whoever_can_be_asked_tells_himself_how_his_spans_have_ended() {
    let mut rig = Rig::new();
    rig.connect_unasked("b");
    two_servers(&mut rig);
    rig.ended("b", [ended(&call(0xc1, 0xa1, "B"))]);
    assert!(is_dead(&mut rig));
    rig.ended("b", [ended(&call(0xc2, 0xb1, "A"))]);
    assert!(!is_dead(&mut rig));
}

fn talking(span: Started) -> Started {
    Started {
        conversation_id: "talk".into(),
        ..span
    }
}

#[test]
fn a_handler_without_a_caller_answers_by_its_conversation() {
    let call = |rig: &mut Rig| rig.start("a", talking(call(0xc1, 0xa1, "B")));
    let answer = |rig: &mut Rig| rig.ended("b", [ended(&talking(handle(0xb2, 0, "B")))]);
    in_any_order(&[&call, &answer], |rig| assert!(!is_dead(rig)));
    let other = |rig: &mut Rig| rig.start("a", self::call(0xc1, 0xa1, "B"));
    in_any_order(&[&other, &answer], |rig| assert!(is_dead(rig)));
}

#[test]
fn a_handler_with_a_caller_does_not_answer_by_its_conversation() {
    let call = |rig: &mut Rig| rig.start("a", talking(call(0xc1, 0xa1, "B")));
    let answer = |rig: &mut Rig| rig.ended("b", [ended(&talking(handle(0xb2, 0xd1, "B")))]);
    let link = |rig: &mut Rig| rig.ended("c", [ended(&link(0xd1, 0xc5))]);
    let caller = |rig: &mut Rig| rig.start("c", self::call(0xc5, 0, "B"));
    in_any_order(&[&call, &answer, &link, &caller], |rig| assert!(is_dead(rig)));
    in_any_order(&[&call, &answer, &link], |rig| {
        assert!(!is_dead(rig), "nobody knows of one")
    });
}

#[test]
fn a_handler_has_not_answered_what_it_has_caused_in_its_conversation() {
    let call = |rig: &mut Rig| rig.start("a", talking(call(0xc1, 0xd1, "B")));
    let cause = |rig: &mut Rig| rig.ended("a", [ended(&talking(handle(0xa2, 0, "")))]);
    let link = |rig: &mut Rig| rig.ended("a", [ended(&link(0xd1, 0xa2))]);
    let holds = |rig: &mut Rig| {
        let hold = Started {
            role: Role::Hold.into(),
            resources: vec!["A".into()],
            ..self::link(0xa3, 0xc1)
        };
        rig.start("a", hold);
    };
    in_any_order(&[&call, &cause, &link, &holds], |rig| {
        let state = rig.detector.graph.call_state(SpanId(0xc1));
        assert_eq!(state, Some(CallState::Queued));
    });
}

#[test]
fn ordinary_spans_concern_nobody_and_the_graph_hears_of_none() {
    let mut rig = Rig::new();
    rig.pass(ms(2000));
    closed(&mut rig);
    the_call(&mut rig);
    let (open, anomalies) = (rig.detector.graph.open_span_count(), rig.detector.graph.anomalies());
    for trace in 1..1000 {
        let id = trace << 8;
        rig.ended("b", [ended(&handle(id + 3, id + 2, "B"))]);
        rig.ended("a", [ended(&call(id + 2, id + 1, "B")), ended(&handle(id + 1, 0, "A"))]);
    }
    assert_eq!(rig.detector.graph.open_span_count(), open);
    assert_eq!(rig.detector.graph.anomalies(), anomalies);
    assert!(is_dead(&mut rig));
    rig.pass(ms(1000));
    assert_eq!(rig.history(), [AlertState::Firing]);
    rig.pass(ms(180_000));
    assert!(rig.detector.ended.is_empty(), "forgotten");
}

/// What happened, as it would be told by a library that tells everything.
struct History {
    /// Each with its instance.
    spans: Vec<(usize, Started)>,
    ended: BTreeSet<u64>,
}

impl History {
    fn new(random: &mut Random) -> Self {
        let resources = ["A", "B", "C", "D"];
        // Two that are dead unless something that has ended says otherwise.
        let mut spans = vec![
            (0, handle(1, 0, "A")),
            (0, call(2, 1, "B")),
            (1, handle(3, 0, "B")),
            (1, call(4, 3, "A")),
        ];
        let mut has_ended = BTreeSet::new();
        let talks = random.percent(30);
        for id in 5..=random.within(6, 20) as u64 {
            let above = random.below(spans.len() + 2);
            let above = spans.get(above).cloned();
            let instance = match &above {
                Some((instance, _)) if random.percent(60) => *instance,
                _ => random.below(NAMES.len()),
            };
            let is_open = random.percent(30);
            let parent_span_id = match &above {
                Some((_, span)) => span.span_id,
                None if random.percent(50) => 0,
                // One that is never heard of.
                None => 100 + random.below(3) as u64,
            };
            let is_far = above.is_some_and(|(there, _)| there != instance);
            let mut span = Started {
                span_id: id,
                parent_span_id,
                parent_is_remote: parent_span_id != 0 && (is_far && random.percent(80) || random.percent(5)),
                ..Started::default()
            };
            let resource = || resources[id as usize % resources.len()].to_owned();
            match random.below(10) {
                0..3 => {}
                3..7 => {
                    span.role = Role::Call.into();
                    span.target = random.pick(&resources).unwrap().into();
                    span.detached = is_open && random.percent(10);
                }
                7..9 => {
                    span.role = Role::Handle.into();
                    span.resources = if is_open { vec![resource()] } else { vec![] };
                }
                _ => {
                    span.role = Role::Hold.into();
                    span.resources = if is_open { vec![resource()] } else { vec![] };
                }
            }
            if talks && matches!(span.role(), Role::Call | Role::Handle) && random.percent(50) {
                span.conversation_id = random.pick(&["x", "y"]).unwrap().into();
            }
            if !is_open {
                has_ended.insert(id);
            }
            spans.push((instance, span));
        }
        Self {
            spans,
            ended: has_ended,
        }
    }

    /// Who is dead, if all is told and in order.
    fn truth(&self) -> BTreeSet<u64> {
        let mut graph = WaitGraph::new(Limits::default());
        for (instance, started) in &self.spans {
            let instance = InstanceId(*instance as u64 + 1);
            for span in decode::spans(instance, START, vec![started.clone()]).unwrap() {
                graph.apply(START, &Event::Started(span));
            }
        }
        for id in &self.ended {
            graph.apply(START, &Event::Finished(SpanId(*id)));
        }
        self.dead(&mut graph)
    }

    fn dead(&self, graph: &mut WaitGraph) -> BTreeSet<u64> {
        assert_eq!(graph.settle(START + ms(60_000)), Settled::Exact);
        let ids = self.spans.iter().map(|(_, span)| span.span_id);
        ids.filter(|id| graph.is_dead(SpanId(*id))).collect()
    }

    /// Who is dead, told in some order, and of much only the end.
    fn as_told(&self, random: &mut Random) -> BTreeSet<u64> {
        let mut rig = Rig::new();
        NAMES.into_iter().for_each(|name| rig.connect_unasked(name));
        let mut said: Vec<(usize, &Started, u8)> = Vec::new();
        for (instance, span) in &self.spans {
            let ways: &[&[u8]] = if self.ended.contains(&span.span_id) {
                &[&[2], &[2], &[2], &[2, 2], &[0, 1], &[0, 2], &[0, 1, 2]]
            } else {
                &[&[0], &[0, 0]]
            };
            let way = random.pick(ways).unwrap();
            said.extend(way.iter().map(|what| (*instance, span, *what)));
        }
        for last in (1..said.len()).rev() {
            said.swap(last, random.below(last + 1));
        }
        for (instance, span, what) in said {
            let name = NAMES[instance];
            match what {
                0 => rig.start(name, span.clone()),
                1 => rig.end(name, span.span_id, Outcome::Finished),
                _ => rig.ended(name, [ended(span)]),
            }
        }
        self.dead(&mut rig.detector.graph)
    }
}

impl std::fmt::Display for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (instance, it) in &self.spans {
            let link = if it.parent_is_remote {
                "in another process"
            } else {
                "here"
            };
            let end = if self.ended.contains(&it.span_id) {
                "has ended"
            } else {
                "is open"
            };
            writeln!(
                f,
                "{} of {} under {} {link} {end}: {:?} {:?} {} {}",
                it.span_id,
                NAMES[*instance],
                it.parent_span_id,
                it.role(),
                it.resources,
                it.target,
                it.conversation_id
            )?;
        }
        Ok(())
    }
}

/// Random call trees over three instances, told in any order: the verdict is that of a graph that was told everything.
///
/// `ENDINGS_SEEDS=100000` tries so many.
#[test]
fn whatever_the_order_the_verdict_is_that_of_whoever_knows_everything() {
    let seeds = std::env::var("ENDINGS_SEEDS").map_or(600, |seeds| seeds.parse().unwrap());
    let (mut dead, mut differs) = (0, 0);
    for seed in 0..seeds {
        let mut random = Random::new(seed);
        let history = History::new(&mut random);
        let truth = history.truth();
        let told = history.as_told(&mut random);
        assert_eq!(told, truth, "seed {seed}: {history}");
        dead += usize::from(!truth.is_empty());
        // Whether the spans that have ended make a difference at all.
        let without = History {
            spans: history
                .spans
                .into_iter()
                .filter(|(_, it)| !history.ended.contains(&it.span_id))
                .collect(),
            ended: BTreeSet::new(),
        };
        differs += usize::from(without.truth() != truth);
    }
    let seeds = seeds as usize;
    assert!(
        dead > seeds / 5 && differs > seeds / 10,
        "{dead} and {differs} of {seeds} say anything"
    );
}
