//! The engine against the oracle: after every event of every history the same answers.
//!
//! How many histories: `STANDOFF_HISTORIES`. A failure is printed in the notation of the scenarios; keep it as a file of
//! `tests/histories/`, which is replayed with the scenarios in every run.

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

mod agreement;
mod history;
mod noise;
mod notation;
mod oracle;
#[expect(dead_code, reason = "what is true in a world is for the tests of its behaviour")]
mod world;

use agreement::{Compare, agree};
use history::drawn::histories;
use history::lines;

/// About ten seconds in a debug build.
const HISTORIES: u32 = 400;

fn config() -> ProptestConfig {
    let asked = std::env::var("STANDOFF_HISTORIES").ok().and_then(|it| it.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(HISTORIES),
        max_shrink_iters: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn engine_and_oracle_agree_after_every_event(history in histories()) {
        agree(&history, Compare::EveryStep).map_err(TestCaseError::fail)?;
    }

    /// Nobody is told when to look: what is put off is done at the end only.
    #[test]
    fn nobody_is_dead_too_early(history in histories()) {
        agree(&history, Compare::AtTheEnd).map_err(TestCaseError::fail)?;
    }
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
