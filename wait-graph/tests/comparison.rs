//! The engine against the oracle: after every event of every history the same answers.
//!
//! How many histories: `STANDOFF_HISTORIES`. A failure is shrunk and kept as a file of `tests/histories/` in the
//! notation of the scenarios; all of them are replayed in every run, and so are the scenarios. With `STANDOFF_SHRINKS=0`
//! it is only shown, for whoever wants to know no more than whether there is one.

use std::cell::Cell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{TestError, TestRunner};
use standoff_wait_graph::{Event, Role, WaitGraph};
use xxhash_rust::xxh3::xxh3_64;

mod agreement;
mod bytes;
mod drawn;
mod history;
mod noise;
mod notation;
mod oracle;
#[expect(dead_code, reason = "what is true in a world is for the tests of its behaviour")]
mod world;

use agreement::{Compare, Pair, agree, tell};
use drawn::histories;
use history::{History, Input, lines};

/// Of a history from bytes: some hundred steps.
const BYTES_MAX: usize = 1500;
/// About ten seconds in a debug build.
const HISTORIES: u32 = 256;
/// A core of more tasks than this is a large one.
const SMALL_CORE: usize = 4;
/// Enough to find what is at the bottom of a failure; leaving out steps does the rest.
const SHRINKS_MAX: u32 = 4000;

/// Draws so many histories as asked for, and compares on each.
#[expect(
    clippy::print_stdout,
    reason = "whoever runs this for long wants to know how many there were"
)]
fn on_all<S: Strategy>(test: &'static str, drawn: &S, history: impl Fn(&S::Value) -> History, compare: Compare) {
    let asked = |name| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let shrinks_max = asked("STANDOFF_SHRINKS").unwrap_or(SHRINKS_MAX);
    let config = ProptestConfig {
        cases: asked("STANDOFF_HISTORIES").unwrap_or(HISTORIES),
        max_shrink_iters: shrinks_max,
        // The history itself is kept, which means the same whatever becomes of the strategies.
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let cases = config.cases;
    let large = Cell::new(0);
    let outcome = TestRunner::new(config).run(drawn, |drawn| {
        let largest = agree(&history(&drawn), compare).map_err(TestCaseError::fail)?;
        large.set(large.get() + u32::from(largest > SMALL_CORE));
        Ok(())
    });
    match outcome {
        Ok(()) => println!(
            "{test}: {cases} histories, {} with a core of more than {SMALL_CORE} tasks, no difference",
            large.get()
        ),
        Err(TestError::Fail(difference, drawn)) if shrinks_max == 0 => {
            panic!("{test}: {difference}\n{:?}", history(&drawn));
        }
        Err(TestError::Fail(difference, drawn)) => {
            let smallest = smallest(history(&drawn), compare);
            let difference = agree(&smallest, compare)
                .err()
                .unwrap_or_else(|| difference.to_string());
            let kept = keep(test, &smallest);
            panic!("{test}: {difference}\n{smallest:?}\nkept as {}", kept.display());
        }
        Err(TestError::Abort(reason)) => panic!("{test}: {reason}"),
    }
}

/// Writes a history into the folder that every run replays.
fn keep(test: &str, history: &History) -> PathBuf {
    let text = format!("# Engine and oracle differed: {test}\n{history:?}");
    let name = format!("found-{:016x}.txt", xxh3_64(text.as_bytes()));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories").join(name);
    std::fs::write(&path, text).expect("the folder of histories is ours");
    path
}

/// Leaves out every step without which engine and oracle still differ.
fn smallest(mut history: History, compare: Compare) -> History {
    let mut place = history.steps.len();
    while place > 0 {
        place -= 1;
        let mut without = history.clone();
        without.steps.remove(place);
        if agree(&without, compare).is_err() {
            history = without;
            // What came later may have been there only for the sake of this step.
            place = history.steps.len();
        }
    }
    history
}

#[test]
fn engine_and_oracle_agree_after_every_event() {
    on_all("after every event", &histories(), History::clone, Compare::EveryStep);
}

/// Nobody says when to look: what is put off is done at the end only.
#[test]
fn nobody_is_dead_too_early() {
    on_all("nobody dead too early", &histories(), History::clone, Compare::AtTheEnd);
}

/// By chance alone there would be hardly any.
#[test]
fn large_cores_are_drawn() {
    const HISTORIES: u32 = 300;
    let mut runner = TestRunner::deterministic();
    let has_large_core = |history: History| {
        let (mut engine, mut now) = (WaitGraph::new(history.limits.clone()), Duration::ZERO);
        history.steps.iter().any(|step| {
            now += step.after;
            tell(&mut engine, now, &step.input);
            engine.settle(now);
            engine
                .deadlocks()
                .iter()
                .any(|deadlock| deadlock.core.len() > SMALL_CORE)
        })
    };
    let drawn = (0..HISTORIES).map(|_| histories().new_tree(&mut runner).expect("nothing is refused").current());
    let large = drawn.filter(|history| has_large_core(history.clone())).count();
    assert!(large > 6, "{large} of {HISTORIES}");
}

/// Histories that are any bytes, as a fuzzer would have them.
#[test]
fn engine_and_oracle_agree_on_any_bytes() {
    let bytes = vec(any::<u8>(), 0..BYTES_MAX);
    on_all("any bytes", &bytes, |bytes| bytes::history(bytes), Compare::EveryStep);
}

/// Nobody's clock runs for so long, but nothing that is told may break the engine.
#[test]
fn the_end_of_time_is_not_the_end_of_the_graph() {
    let strategy = vec(any::<u8>(), 0..BYTES_MAX);
    let config = ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let told = TestRunner::new(config).run(&strategy, |bytes| {
        let mut history = bytes::history(&bytes);
        let half = history.steps.len() / 2;
        for step in history.steps.iter_mut().skip(half) {
            step.after = Duration::MAX;
            if let Input::Event(Event::Started(span)) = &mut step.input {
                span.started_at = Duration::MAX;
                if let Role::Call(call) = &mut span.role {
                    call.timeout = Some(Duration::MAX);
                }
            }
        }
        let (mut engine, mut now) = (WaitGraph::new(history.limits.clone()), Duration::ZERO);
        for step in &history.steps {
            now = now.saturating_add(step.after);
            tell(&mut engine, now, &step.input);
            engine.settle(now);
            engine.deadlocks();
        }
        Ok(())
    });
    assert!(told.is_ok(), "{told:?}");
}

/// Servers each of which is queued for the one before. One more, for whom somebody waits, is queued for the last of them
/// and gives up, again and again: whether that makes a ring is known only at the other end, which is too far to look each
/// time. Now and then it does make one, and now and then the first is not reported until what was put off is done.
#[test]
fn what_is_put_off_is_done_when_it_is_due() {
    const SERVERS: u64 = 1500;
    const ROUNDS: u64 = 120;
    const LOOK: usize = 7;
    let (joining, waiting, asks) = (SERVERS, SERVERS + 1, 20_000);
    let mut lines = String::new();
    let mut line = |line: String| writeln!(lines, "{line}").expect("a string has room");
    for server in 0..SERVERS {
        line(format!("handle {server} at 1 resource server-{server}"));
        // The first one waits for somebody of whom nothing is known.
        let target = server
            .checked_sub(1)
            .map_or("elsewhere".into(), |before| format!("server-{before}"));
        line(format!("call {} at 1 under {server} target {target}", asks + server));
    }
    line(format!("handle {joining} at 1 resource joining"));
    line(format!("handle {waiting} at 1"));
    line(format!("call {} at 1 under {waiting} target joining", asks + waiting));
    for round in 0..ROUNDS {
        let (joins, closes) = (30_000 + round, 40_000 + round);
        line(format!(
            "call {joins} at 1 under {joining} target server-{}",
            SERVERS - 1
        ));
        if round % 10 == 9 {
            line(format!("call {closes} at 1 under 0 target joining"));
            // Long enough for a look.
            (0..LOOK).for_each(|_| line("expire".into()));
        }
        line(format!("finish {joins}"));
        line(format!("finish {closes}"));
    }
    let history = lines::read(&lines).expect("what we wrote");

    let mut pair = Pair::new(&history.limits);
    let (mut was_put_off, mut were_dead) = (0, 0);
    for (place, step) in history.steps.iter().enumerate() {
        let mut told = pair.step(step).and_then(|()| pair.nobody_is_dead_too_early());
        if place >= 2 * SERVERS as usize && place % LOOK == 0 {
            let before = pair.dead_count();
            told = told.and_then(|()| pair.compare_deadlocks());
            was_put_off += u32::from(before != pair.dead_count());
            were_dead += u32::from(pair.dead_count() > 0);
        }
        assert_eq!(told, Ok(()), "after step {place}, {step:?}");
    }
    assert!(
        was_put_off > 5 && were_dead > 5,
        "put off {was_put_off} times, dead {were_dead} times"
    );
    assert_eq!(pair.compare(), Ok(()));
}

/// All scenarios, and all histories that have been worth keeping.
#[test]
fn engine_and_oracle_agree_on_what_is_kept() {
    let mut failures = Vec::new();
    for folder in ["tests/scenarios", "tests/histories"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let history = lines::read(&std::fs::read_to_string(&path).unwrap());
            let both = |history: History| {
                agree(&history, Compare::EveryStep)?;
                agree(&history, Compare::AtTheEnd).map(drop)
            };
            if let Err(failure) = history.and_then(both) {
                failures.push(format!("{}: {failure}", path.display()));
            }
        }
    }
    failures.sort();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is printed of a history is that history.
    #[test]
    fn a_history_can_be_kept(history in histories()) {
        let printed = format!("{history:?}");
        let read = lines::read(&printed).map_err(TestCaseError::fail)?;
        prop_assert_eq!(format!("{read:?}"), printed);
    }
}
