//! Runs every file of `tests/scenarios/`: a title, a drawing, lines of events, the expected deadlocks or silence.
//!
//! `tests/notation/` reads the notation and describes it.

use std::fmt::Write as _;
use std::path::Path;

mod notation;

#[test]
fn every_scenario_ends_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut failures = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        if let Err(failure) = notation::run(&text) {
            writeln!(failures, "{}:{failure}", file.display()).unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}
