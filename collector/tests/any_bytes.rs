//! Any bytes that instances and relays may send, between the socket and the alert: no panic, and memory within a multiple
//! of what was sent. A fuzzer plays the same, in `collector/fuzz`.
//!
//! `STANDOFF_PLAYS` says how many histories are played, `STANDOFF_SCRIPTS_FROM` from which seed on.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod traffic;

use std::alloc::System;

use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use standoff_collector::fuzzing::{Played, play};
use standoff_protocol::stream::codec::DECODED_BYTES_MAX;
use standoff_protocol::stream::{FromInstance, Started, read};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a collector takes that has heard nothing, and what its tables and lists begin with.
const EMPTY_BYTES: usize = 4 << 20;

/// The most bytes that it takes for each byte that it was sent. Of what is tried here the greediest take 52: resources of
/// members with names of two bytes, each of which takes hundreds with its name and who has served it. Tables grow to twice
/// what is in them.
const BYTES_PER_BYTE: usize = 128;

/// The most bytes that are allocated in all to read a message, for each of its bytes.
const READ_BYTES_PER_BYTE: usize = 3;

/// What was allocated since, and is still there.
fn kept(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.bytes_allocated.saturating_sub(change.bytes_deallocated)
}

/// Plays, and fails if that takes too much memory at any moment.
fn play_within_bounds(bytes: &[u8], what: &str) -> (Played, usize) {
    let region = Region::new(ALLOCATOR);
    let mut most = 0;
    let played = play(bytes, || most = most.max(kept(&region)));
    let bound = EMPTY_BYTES + BYTES_PER_BYTE * bytes.len();
    assert!(most <= bound, "{what}: {most} bytes for {}, not {bound}", bytes.len());
    (played, most)
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// One test, since the allocator counts for all threads together.
#[test]
fn any_bytes_are_played_without_a_panic_and_within_bounds() {
    let plays = variable("STANDOFF_PLAYS", 300);
    let first = variable("STANDOFF_SCRIPTS_FROM", 1);
    let mut all = Played::default();
    for seed in first..first + plays {
        let mut random = StdRng::seed_from_u64(seed);
        let bytes = match random.random_range(0..10) {
            0 => (0..random.random_range(0..5000)).map(|_| random.random()).collect(),
            1..6 => traffic::history(&mut random, 0.0),
            damage => traffic::history(&mut random, f64::from(damage - 5) / 2000.0),
        };
        let (played, _) = play_within_bounds(&bytes, &format!("STANDOFF_SCRIPTS_FROM={seed}"));
        all.read += played.read;
        all.unreadable += played.unreadable;
        all.fired += played.fired;
    }
    println!("{plays} histories from seed {first}: {all:?}");
    if plays >= 300 {
        assert!(
            all.read > 5000 && all.unreadable > 100 && all.fired > 20,
            "they reach everything: {all:?}"
        );
    }

    for (what, bytes) in traffic::greedy() {
        let (_, most) = play_within_bounds(&bytes, what);
        let sent = bytes.len();
        println!(
            "{what}: {sent} bytes sent, {most} kept, {:.1} each",
            most as f64 / sent as f64
        );
    }

    for (what, message) in traffic::lists() {
        let region = Region::new(ALLOCATOR);
        let is_read = read::<FromInstance>(&message).is_ok();
        let took = region.change().bytes_allocated;
        let bound = READ_BYTES_PER_BYTE * message.len() + DECODED_BYTES_MAX;
        println!("{what}: {} bytes, read: {is_read}, {took} allocated", message.len());
        assert!(took <= bound, "{what}: {took} bytes, not {bound}");
    }
    // What would be, if lists were not counted first: the reason for all this.
    let region = Region::new(ALLOCATOR);
    let empty = traffic::empty_spans(256 << 10);
    let unbounded = FromInstance::decode(&*empty).unwrap();
    let took = region.change().bytes_allocated;
    println!(
        "256 KiB of empty spans without a count: {took} allocated, {} for each span",
        size_of::<Started>()
    );
    assert!(took > 50 * empty.len());
    drop(unbounded);
}
