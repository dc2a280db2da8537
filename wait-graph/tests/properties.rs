//! What holds for every history: the verdict is the true one, and the order of events does not matter.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use standoff_wait_graph::{CallState, Deadlock, Event, Limits, Role, Settled, Span, SpanId, WaitGraph};

mod noise;
mod world;

use noise::{SPANS, noise, started};

fn graph_of(events: &[Event]) -> WaitGraph {
    let mut graph = WaitGraph::new(Limits::default());
    for (index, event) in events.iter().enumerate() {
        graph.apply(Duration::from_millis(index as u64), event);
    }
    let mut now = Duration::from_secs(1);
    while let Settled::PassDueAt(due_at) = graph.settle(now) {
        now = due_at;
    }
    graph
}

fn ids(tasks: &[standoff_wait_graph::DeadTask]) -> BTreeSet<SpanId> {
    tasks.iter().map(|task| task.id).collect()
}

/// What a graph answers.
#[derive(Debug, PartialEq)]
struct Answers {
    deadlocks: Vec<Deadlock>,
    spans: Vec<(Option<CallState>, Vec<SpanId>)>,
    open_calls: usize,
    undecided_waits: usize,
}

impl Answers {
    fn of(events: &[Event]) -> Self {
        let graph = graph_of(events);
        let of_span = |id| (graph.call_state(SpanId(id)), graph.stand_ins(SpanId(id)));
        Self {
            deadlocks: graph.deadlocks(),
            spans: (0..SPANS).map(of_span).collect(),
            open_calls: graph.open_calls(),
            undecided_waits: graph.undecided_waits(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    /// A task is dead if and only if a simulation cannot end it, and if and only if it is in a set that is stuck.
    #[test]
    fn the_dead_are_those_that_can_never_end(world in world::worlds()) {
        let deadlocks = graph_of(&world.events()).deadlocks();
        let dead: BTreeSet<SpanId> =
            deadlocks.iter().flat_map(|it| ids(&it.core).into_iter().chain(ids(&it.victims))).collect();
        prop_assert_eq!(&dead, &world.dead_by_simulation());
        prop_assert_eq!(&dead, &world.dead_by_definition());
    }

    /// A core is stuck by itself and hangs together, and no task is in two of them.
    #[test]
    fn a_core_needs_nobody_else(world in world::worlds()) {
        let mut seen = BTreeSet::new();
        for deadlock in graph_of(&world.events()).deadlocks() {
            let core: BTreeSet<usize> =
                (0..world.tasks.len()).filter(|task| ids(&deadlock.core).contains(&world.task_id(*task))).collect();
            prop_assert!(world.is_stuck(&core));
            for task in &deadlock.core {
                prop_assert!(seen.insert(task.id));
                prop_assert_eq!(reached_from(task.id, &deadlock), ids(&deadlock.core));
                prop_assert!(task.waits.iter().any(|wait| wait.in_core));
            }
            for wait in deadlock.waits() {
                prop_assert!(!wait.rests_on.is_empty());
            }
        }
    }

    /// The same events in any order, some of them twice, give the same answers.
    #[test]
    fn order_does_not_matter((events, shuffled) in shuffled(world::worlds().prop_map(|world| world.events()))) {
        prop_assert_eq!(Answers::of(&events), Answers::of(&shuffled));
    }

    /// The same of spans that make no sense: loops of parents, hints that lead nowhere, whatever there may be.
    #[test]
    fn order_does_not_matter_to_noise((events, shuffled) in shuffled(noise())) {
        prop_assert_eq!(Answers::of(&events), Answers::of(&shuffled));
    }

    /// What has ended leaves nothing behind but memories, and those for a minute.
    #[test]
    fn everything_is_forgotten(events in noise()) {
        let mut graph = graph_of(&events);
        for id in 0..SPANS {
            graph.apply(Duration::from_secs(1), &Event::Finished(SpanId(id)));
        }
        prop_assert!(graph.deadlocks().is_empty());
        prop_assert_eq!(graph.open_calls(), 0);
        graph.expire(Duration::from_secs(70));
        prop_assert!((0..SPANS).all(|id| graph.stand_ins(SpanId(id)).is_empty()));
    }

    /// Forgetting after a minute changes no verdict.
    #[test]
    fn forgetting_changes_nothing(events in noise()) {
        let mut graph = graph_of(&events);
        let before = graph.deadlocks();
        graph.expire(Duration::from_secs(3600));
        let after = graph.deadlocks();
        // Only a pool that nobody is a member of any more ceases to be one, which may show a deadlock.
        let had_members = events.iter().any(|event| matches!(
            event, Event::Started(Span { role: Role::Member(_), .. })
        ));
        prop_assert!(had_members || before == after, "{before:#?}\n{after:#?}");
    }
}

/// The tasks of a core that one of them waits for, directly or through others.
fn reached_from(task: SpanId, deadlock: &Deadlock) -> BTreeSet<SpanId> {
    let mut reached = BTreeSet::new();
    let mut next = vec![task];
    while let Some(id) = next.pop() {
        let on = deadlock
            .core
            .iter()
            .filter(|it| it.id == id)
            .flat_map(|it| &it.waits)
            .flat_map(|it| it.blocked_by.iter());
        let core = ids(&deadlock.core);
        next.extend(on.filter(|other| core.contains(other) && reached.insert(**other)));
    }
    reached
}

/// A history, and the same one shuffled, with some events twice.
fn shuffled(events: impl Strategy<Value = Vec<Event>>) -> impl Strategy<Value = (Vec<Event>, Vec<Event>)> {
    let finished = vec(prop::option::weighted(0.1, Just(())), 60);
    let history = (events, finished).prop_map(|(mut events, finished)| {
        let spans: Vec<SpanId> = events.iter().filter_map(started).collect();
        events.extend(
            spans
                .iter()
                .zip(finished)
                .filter_map(|(id, it)| it.map(|()| Event::Finished(*id))),
        );
        events
    });
    history.prop_flat_map(|events| {
        let twice = events.iter().step_by(2).cloned();
        let shuffled = Just(events.iter().cloned().chain(twice).collect::<Vec<_>>()).prop_shuffle();
        (Just(events), shuffled)
    })
}
