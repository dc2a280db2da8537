//! Drawing histories at random: what happens, and how much of it arrives when.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use standoff_wait_graph::{Event, Limits, SpanId};

use crate::history::{History, Input, Step};
use crate::noise::{noise, started};
use crate::notation::TICK;
use crate::world;

mod traffic;

/// How one input arrives.
#[derive(Clone, Copy, Debug, Default)]
struct Arrival {
    /// After so many that come behind it.
    lag: u8,
    is_lost: bool,
    comes_twice: bool,
}

/// Histories of all kinds.
pub(crate) fn histories() -> impl Strategy<Value = History> {
    let happened = prop_oneof![
        6 => traffic::acts().prop_map(|acts| traffic::steps(&acts)),
        2 => (world::worlds(), ends()).prop_map(|(world, ends)| steps(world.events(), &ends)),
        2 => (noise().prop_shuffle(), ends()).prop_map(|(events, ends)| steps(events, &ends)),
    ];
    (limits(), happened, arrivals()).prop_map(|(limits, steps, arrivals)| History {
        limits,
        steps: deliver(steps, &arrivals),
    })
}

/// Mostly none, so that failures shrink to what happened rather than to how it arrived.
fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let arrival = (
        prop_oneof![8 => Just(0u8), 2 => 1..4u8, 1 => 4..40u8],
        prop::bool::weighted(0.02),
        prop::bool::weighted(0.05),
    );
    let arrival = arrival.prop_map(|(lag, is_lost, comes_twice)| Arrival {
        lag,
        is_lost,
        comes_twice,
    });
    prop_oneof![1 => Just(Vec::new()), 1 => vec(arrival, 1..400)]
}

fn limits() -> impl Strategy<Value = Limits> {
    let few = |default: usize, range: std::ops::Range<usize>| prop_oneof![2 => Just(default), 1 => range];
    let all = Limits::default();
    let small = (
        few(all.open_spans, 2..40),
        few(all.ended_spans, 0..16),
        few(all.early_finishes, 0..10),
        few(all.answered, 0..10),
        few(all.served, 0..12),
        few(all.pools, 0..6),
        few(all.instances, 1..6),
        few(all.refused, 0..8),
        few(all.conversation_pairs, 0..6),
    );
    let small = small.prop_map(
        |(open_spans, ended_spans, early_finishes, answered, served, pools, instances, refused, conversation_pairs)| {
            Limits {
                open_spans,
                ended_spans,
                early_finishes,
                answered,
                served,
                pools,
                instances,
                refused,
                conversation_pairs,
            }
        },
    );
    prop_oneof![3 => Just(Limits::default()), 1 => small]
}

/// Which of the started spans end, in which order, and whether time passes between.
fn ends() -> impl Strategy<Value = Vec<(u8, bool)>> {
    vec((any::<u8>(), prop::bool::weighted(0.05)), 0..60)
}

/// The events, and some ends after them.
fn steps(events: Vec<Event>, ends: &[(u8, bool)]) -> Vec<Step> {
    let mut spans: Vec<SpanId> = events.iter().filter_map(started).collect();
    let step = |after, input| Step { after, input };
    let mut steps: Vec<Step> = events
        .into_iter()
        .map(|event| step(Duration::ZERO, Input::Event(event)))
        .collect();
    for (pick, passes) in ends {
        let Some(place) = usize::from(*pick).checked_rem(spans.len()) else {
            break;
        };
        let end = Event::Finished(spans.swap_remove(place));
        steps.push(step(Duration::ZERO, Input::Event(end)));
        if *passes {
            steps.push(step(Duration::from_secs(61), Input::Expire));
        }
    }
    steps
}

/// The steps as they arrive, each a tick later than said.
fn deliver(steps: Vec<Step>, arrivals: &[Arrival]) -> Vec<Step> {
    let all = arrivals.iter().copied().chain(std::iter::repeat(Arrival::default()));
    let mut placed: Vec<(usize, Step)> = Vec::new();
    for (place, (mut step, arrival)) in steps.into_iter().zip(all).enumerate() {
        step.after += TICK;
        if !matches!(step.input, Input::Event(_)) {
            placed.push((place, step));
            continue;
        }
        if arrival.is_lost {
            continue;
        }
        if arrival.comes_twice {
            placed.push((place, step.clone()));
        }
        placed.push((place + usize::from(arrival.lag), step));
    }
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, step)| step).collect()
}
