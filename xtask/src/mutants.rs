//! `cargo xtask mutants`: which changes of the engine no test notices.
//!
//! cargo-mutants makes one small change after the other to a copy of the code. First the unit tests look at each, which
//! takes seconds; what they do not notice is then shown to the slower tests, above all to the comparison with the oracle.
//! What is left is either a test that is missing, or a change that changes nothing: those are listed with their reasons
//! in `.cargo/mutants.toml` and left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::{run, tools};

/// What is changed if nothing else is asked for: who is dead, and what is said of it.
const FILES: &[&str] = &[
    "wait-graph/src/deadlock/same.rs",
    "wait-graph/src/episodes.rs",
    "wait-graph/src/explain.rs",
    "wait-graph/src/explain/**",
    "wait-graph/src/names.rs",
    "wait-graph/src/wait_for/**",
];

/// A round of tests, for the mutants that the rounds before it did not notice.
struct Round {
    name: &'static str,
    /// Of each mutant these targets are built and run.
    targets: &'static [&'static str],
    /// What is passed on to them.
    arguments: &'static [&'static str],
    /// In seconds; a mutant that never ends is noticed by this. Many times what the tests take.
    timeout: &'static str,
    env: &'static [(&'static str, &'static str)],
}

const ROUNDS: [Round; 2] = [
    Round {
        name: "unit tests",
        targets: &["--lib"],
        // These take most of the time, and the next round has them.
        arguments: &["--skip=hundred_thousand", "--skip=a_crowd_behind_very_many"],
        timeout: "30",
        env: &[("PROPTEST_CASES", "32")],
    },
    Round {
        name: "comparison",
        targets: &[
            "--lib",
            "--test=comparison",
            "--test=growth",
            "--test=properties",
            "--test=scenarios",
            "--test=scripts",
        ],
        arguments: &[],
        timeout: "300",
        // Nobody wants to know how small the history can be in which a mutant fails.
        env: &[("STANDOFF_SHRINKS", "0")],
    },
];

/// Builds are many and short.
const BUILD_FAST: [(&str, &str); 3] = [
    ("CARGO_PROFILE_DEV_DEBUG", "false"),
    ("CARGO_PROFILE_TEST_DEBUG", "false"),
    ("CARGO_INCREMENTAL", "1"),
];

/// Prints a table of what became of the mutants of each file, and those that no test notices.
///
/// # Errors
///
/// If cargo-mutants cannot be run, or the tests fail without any change.
pub fn mutants(root: &Path, files: &[String]) -> Result<()> {
    tools::MUTANTS.ensure(root)?;
    let output = root.join("target/mutants");
    fs::create_dir_all(&output)?;
    // Of an earlier run nothing is to be taken over: the code is another.
    for old in ["mutants.out", "mutants.out.old"] {
        let old = output.join(old);
        if old.exists() {
            fs::remove_dir_all(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    let asked: Vec<&str> = files.iter().map(String::as_str).collect();
    let files = if asked.is_empty() { FILES } else { &asked };
    let mut table = Table::default();
    for round in &ROUNDS {
        let mut command = run::cargo(root);
        command
            .args([
                "mutants",
                "--package=standoff-wait-graph",
                "--iterate",
                "--no-shuffle",
                "--colors=never",
            ])
            .args(["--timeout", round.timeout])
            .args(files.iter().map(|file| format!("--file={file}")))
            .args(round.targets.iter().map(|target| format!("--cargo-arg={target}")))
            .arg("--output")
            .arg(&output)
            .args(["--", "--"])
            .args(round.arguments)
            .env("CARGO_TARGET_DIR", output.join("build"))
            .envs(BUILD_FAST)
            .envs(round.env.iter().copied());
        let status = run::step(round.name, &mut command)?;
        // Not all caught, or not all in time: that is what we want to know.
        ensure!(matches!(status.code(), Some(0 | 2 | 3)), "cargo mutants: {status}");
        table.add(&Outcomes::read(&output.join("mutants.out"))?);
    }
    for line in table.lines() {
        run::print(&line)?;
    }
    Ok(())
}

/// The mutants of a round, each as `file:line:column: what is changed`, one a line.
#[derive(Debug, Default)]
struct Outcomes {
    caught: String,
    timeout: String,
    unviable: String,
    missed: String,
}

impl Outcomes {
    fn read(folder: &Path) -> Result<Self> {
        let list = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Self {
            caught: list("caught.txt")?,
            timeout: list("timeout.txt")?,
            unviable: list("unviable.txt")?,
            missed: list("missed.txt")?,
        })
    }
}

/// How many mutants of a file came to which end, in the rounds so far.
#[derive(Debug, Default)]
struct Counts {
    caught: usize,
    timeout: usize,
    unviable: usize,
    survived: usize,
}

#[derive(Debug, Default)]
struct Table {
    /// By file.
    counts: BTreeMap<String, Counts>,
    survivors: Vec<String>,
}

impl Table {
    /// Adds a round, which was shown the survivors of the one before and what had taken too long in it.
    fn add(&mut self, outcomes: &Outcomes) {
        self.survivors = outcomes.missed.lines().map(str::to_owned).collect();
        for counts in self.counts.values_mut() {
            (counts.survived, counts.timeout) = (0, 0);
        }
        let mut count = |list: &str, of: fn(&mut Counts) -> &mut usize| {
            for file in list.lines().filter_map(|mutant| mutant.split(':').next()) {
                *of(self.counts.entry(file.to_owned()).or_default()) += 1;
            }
        };
        count(&outcomes.caught, |it| &mut it.caught);
        count(&outcomes.timeout, |it| &mut it.timeout);
        count(&outcomes.unviable, |it| &mut it.unviable);
        count(&outcomes.missed, |it| &mut it.survived);
    }

    fn lines(&self) -> Vec<String> {
        let head = "| file | mutants | caught | timeout | unviable | survived |\n|---|--:|--:|--:|--:|--:|";
        let row = |(file, it): (&String, &Counts)| {
            let Counts {
                caught,
                timeout,
                unviable,
                survived,
            } = it;
            let all = caught + timeout + unviable + survived;
            format!("| {file} | {all} | {caught} | {timeout} | {unviable} | {survived} |")
        };
        let rows = self.counts.iter().map(row);
        let survivors = self.survivors.iter().map(|mutant| format!("survived: {mutant}"));
        std::iter::once(head.to_owned()).chain(rows).chain(survivors).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_round_notices_has_not_survived() {
        let mut table = Table::default();
        table.add(&Outcomes {
            caught: "a.rs:1:1: replace + with -\n".into(),
            timeout: "b.rs:1:1: replace += with *=\n".into(),
            unviable: "a.rs:2:1: replace f -> T with Default::default()\n".into(),
            missed: "a.rs:3:1: replace > with >=\na.rs:4:1: delete !\n".into(),
        });
        table.add(&Outcomes {
            caught: "a.rs:3:1: replace > with >=\n".into(),
            timeout: "b.rs:1:1: replace += with *=\n".into(),
            unviable: String::new(),
            missed: "a.rs:4:1: delete !\n".into(),
        });
        assert_eq!(
            table.lines()[1..],
            [
                "| a.rs | 4 | 2 | 0 | 1 | 1 |",
                "| b.rs | 1 | 0 | 1 | 0 | 0 |",
                "survived: a.rs:4:1: delete !"
            ]
        );
    }
}
