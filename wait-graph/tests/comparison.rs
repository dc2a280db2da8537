//! The engine against the oracle: after every event of every history the same answers.
//!
//! How many histories: `STANDOFF_HISTORIES`. A failure is printed in the notation of the scenarios; keep it as a file of
//! `tests/histories/`, which is replayed with the scenarios in every run.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestError, TestRunner};

mod agreement;
mod bytes;
mod drawn;
mod history;
mod noise;
mod notation;
mod oracle;
#[expect(dead_code, reason = "what is true in a world is for the tests of its behaviour")]
mod world;

use agreement::{Compare, agree};
use drawn::histories;
use history::lines;

/// Of a history from bytes: some hundred steps.
const BYTES_MAX: usize = 1500;
/// About ten seconds in a debug build.
const HISTORIES: u32 = 400;
/// Shrinking a long history is slow; it is worth some minutes.
const SHRINKS_MAX: u32 = 20_000;

/// Draws so many histories as asked for, and compares on each.
#[expect(
    clippy::print_stdout,
    reason = "whoever runs this for long wants to know how many there were"
)]
fn on_all<S>(test: &'static str, drawn: &S, compare: impl Fn(&S::Value) -> Result<(), String>)
where
    S: Strategy,
    S::Value: std::fmt::Debug,
{
    let asked = std::env::var("STANDOFF_HISTORIES").ok().and_then(|it| it.parse().ok());
    let config = ProptestConfig {
        cases: asked.unwrap_or(HISTORIES),
        max_shrink_iters: SHRINKS_MAX,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        source_file: Some(file!()),
        test_name: Some(test),
        ..ProptestConfig::default()
    };
    let cases = config.cases;
    let outcome = TestRunner::new(config).run(drawn, |drawn| compare(&drawn).map_err(TestCaseError::fail));
    match outcome {
        Ok(()) => println!("{test}: {cases} histories, no difference"),
        Err(TestError::Fail(difference, drawn)) => panic!("{test}: {difference}\n{drawn:?}"),
        Err(TestError::Abort(reason)) => panic!("{test}: {reason}"),
    }
}

#[test]
#[ignore = "until the engine has the oracle's meaning of parent loops"]
fn engine_and_oracle_agree_after_every_event() {
    on_all("after every event", &histories(), |history| {
        agree(history, Compare::EveryStep)
    });
}

/// Nobody says when to look: what is put off is done at the end only.
#[test]
#[ignore = "until the engine has the oracle's meaning of parent loops"]
fn nobody_is_dead_too_early() {
    on_all("nobody dead too early", &histories(), |history| {
        agree(history, Compare::AtTheEnd)
    });
}

/// Histories that are any bytes, as a fuzzer would have them.
#[test]
#[ignore = "until the engine has the oracle's meaning of parent loops"]
fn engine_and_oracle_agree_on_any_bytes() {
    on_all("any bytes", &vec(any::<u8>(), 0..BYTES_MAX), |bytes| {
        let history = bytes::history(bytes);
        agree(&history, Compare::EveryStep).map_err(|difference| format!("{history:?}{difference}"))
    });
}

/// All scenarios, and all histories that have been worth keeping.
#[test]
#[ignore = "until the engine has the oracle's meaning of parent loops"]
fn engine_and_oracle_agree_on_what_is_kept() {
    let mut failures = Vec::new();
    for folder in ["tests/scenarios", "tests/histories"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let history = lines::read(&std::fs::read_to_string(&path).unwrap());
            if let Err(failure) = history.and_then(|history| agree(&history, Compare::EveryStep)) {
                failures.push(format!("{}: {failure}", path.display()));
            }
        }
    }
    failures.sort();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// What is printed of a history is that history.
    #[test]
    fn a_history_can_be_kept(history in histories()) {
        let printed = format!("{history:?}");
        let read = lines::read(&printed).map_err(TestCaseError::fail)?;
        prop_assert_eq!(format!("{read:?}"), printed);
    }
}
