//! Nothing is larger than it may be, and what there is no room for is counted.

use prost::Message as _;
use standoff_protocol::stream::{RESOURCES_PER_SPAN_MAX, TEXT_BYTES_MAX};

use super::super::messages::BYTES_MAX;
use super::*;

/// The batches of a source, each of which keeps to the protocol.
fn batches(said: Vec<Said>) -> Vec<stream::Batch> {
    let batches = said.into_iter().filter_map(|said| match said {
        Said::Batch { batch, .. } => Some(batch),
        Said::Came { .. } | Said::Left { .. } => None,
    });
    let batches: Vec<stream::Batch> = batches.collect();
    for batch in &batches {
        assert!(batch.encoded_len() <= BYTES_MAX + 64, "{}", batch.encoded_len());
        assert_eq!(check_spans(&batch.started), Ok(()));
        assert!(batch.ended.len() <= ENDED_PER_MESSAGE_MAX && batch.finished.len() <= ENDED_PER_MESSAGE_MAX);
    }
    batches
}

fn take(world: &mut World, batch: signal::Batch) -> Vec<stream::Batch> {
    let unix_now = world.unix_now();
    world.sources.take(world.now, unix_now, batch, &mut world.said);
    batches(std::mem::take(&mut world.said))
}

#[test]
fn messages_are_no_longer_than_the_stream_allows() {
    let mut world = world();
    let count = 2 * ENDED_PER_MESSAGE_MAX as u64 + 3;
    let spans: Vec<signal::Started> = (1..=count).map(|id| world.started(id, seconds(0))).collect();
    let started = take(&mut world, batch(vec![], spans));
    let lengths: Vec<usize> = started.iter().map(|batch| batch.started.len()).collect();
    assert_eq!(lengths.len(), count.div_ceil(SPANS_PER_MESSAGE_MAX as u64) as usize);
    assert_eq!(lengths.iter().sum::<usize>() as u64, count);

    let mut ids = (1..=2 * count)
        .map(|id| finished(id, 1, Role::Handle))
        .collect::<Vec<_>>();
    ids.rotate_left(5);
    let starts = vec![world.started(3 * count, seconds(0))];
    let said = take(&mut world, batch(ids, starts));
    assert_eq!(said.iter().map(|it| it.finished.len()).sum::<usize>() as u64, count);
    assert_eq!(said.iter().map(|it| it.ended.len()).sum::<usize>() as u64, count);
    let (last, before) = said.split_last().unwrap();
    assert!(before.iter().all(|batch| batch.started.is_empty()), "ends come first");
    assert_eq!(last.started.len(), 1);
}

#[test]
fn messages_have_no_more_bytes_than_the_stream_allows() {
    let mut world = world();
    let text = "x".repeat(TEXT_BYTES_MAX);
    let mut largest = world.started(0, seconds(0));
    largest.span = stream::Started {
        trace_id: vec![1; 16],
        name: text.clone(),
        target: text.clone(),
        conversation_id: text.clone(),
        resources: vec![text.clone(); RESOURCES_PER_SPAN_MAX],
        wait_group: Some(stream::WaitGroup {
            name: text.clone(),
            needed: u32::MAX,
            size: u32::MAX,
        }),
        ..largest.span
    };
    let spans = (1..=300).map(|id| {
        let mut span = largest.clone();
        span.span.span_id = id;
        span
    });
    let said = take(&mut world, batch(vec![], spans.collect()));
    assert!(said.len() > 300 * 36 / 2048, "{}", said.len());
    assert_eq!(said.iter().map(|it| it.started.len()).sum::<usize>(), 300);

    let answers = (1000..1000 + ENDED_PER_MESSAGE_MAX as u64).map(|id| signal::Finished {
        parent_is_remote: true,
        conversation_id: Some(text.as_str().into()),
        ..finished(id, u64::MAX, Role::Handle)
    });
    let said = take(&mut world, batch(answers.collect(), vec![]));
    assert!(said.len() > 3, "{}", said.len());
    assert_eq!(
        said.iter().map(|it| it.ended.len()).sum::<usize>(),
        ENDED_PER_MESSAGE_MAX
    );
}

#[test]
fn what_all_sources_have_open_is_limited() {
    let mut world = world();
    assert_eq!(world.sources.open_max, OPEN_SPANS_MAX);
    world.sources.open_max = 10_000;
    let mut spans = |ids: std::ops::RangeInclusive<u64>| {
        let spans = ids.map(|id| world.started(id, seconds(0))).collect();
        let said = take(&mut world, batch(vec![], spans));
        said.iter().map(|batch| batch.started.len()).sum::<usize>()
    };
    assert_eq!(spans(1..=10_000), 10_000);
    assert_eq!(spans(10_001..=10_003), 0);
    let counts = world.sources.counts();
    assert_eq!((counts.open, counts.refused_spans), (10_000, 3));
    let next = [world.started(10_004, seconds(0)), world.started(10_005, seconds(0))];
    let said = world.take(batch(vec![finished(1, 0, Role::Call)], next.into()));
    assert_eq!(said, ["1: -1 error, +10004 0s"], "room for one");
    world.wait(TIMES.max_open);
    let counts = world.sources.counts();
    assert_eq!((counts.open, counts.ended_by_max_open), (0, 10_000));
}

#[test]
fn sources_are_limited() {
    let mut world = World::new();
    let instances: Vec<_> = (0..SOURCES_MAX).map(|n| instance("a", &n.to_string())).collect();
    let all = signal::Batch {
        instances,
        ..signal::Batch::default()
    };
    assert_eq!(world.take(all).len(), SOURCES_MAX);
    let mut start = batch(vec![finished(1, 2, Role::Call)], vec![world.started(3, seconds(0))]);
    start.instances = vec![instance("b", "b")];
    assert!(world.take(start).is_empty());
    let counts = world.sources.counts();
    assert_eq!(counts.sources, SOURCES_MAX as u64);
    assert_eq!(
        (counts.refused_sources, counts.refused_ends, counts.refused_spans),
        (1, 1, 1)
    );
    assert_eq!(world.wait(TIMES.forget_after).len(), SOURCES_MAX);
    assert_eq!(
        world.take(starts(world.started(3, seconds(0)))).len(),
        2,
        "there is room again"
    );
}

#[test]
fn one_request_of_many_instances_is_told_apart() {
    let mut world = World::new();
    let count = 100_u32;
    // Each instance twice, under one place and another.
    let instances = (0..2 * count)
        .map(|n| instance("a", &(n % count).to_string()))
        .collect();
    let ends = (0..2 * count).map(|n| signal::Finished {
        instance: InstanceIx(n),
        ..finished(u64::from(n) + 1, 7, Role::Call)
    });
    let batch = signal::Batch {
        instances,
        finished: ends.collect(),
        ..signal::Batch::default()
    };
    let said = world.take(batch);
    assert_eq!(said.len(), 2 * count as usize);
    assert_eq!(said.last().unwrap(), "100: .100 call under 7, .200 call under 7");
}
