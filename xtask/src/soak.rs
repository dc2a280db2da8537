//! `cargo xtask soak`: what takes too long for every change.
//!
//! Each step of a table is run again and again for its share of the time, at least once; a step that fails is not
//! repeated, so that the failure stays near the end of the log. Everything that is printed also goes to
//! `target/soak.log`, each line with the time since the start.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::test::{Running, Servers};
use crate::{run, tools};

/// A command that finds something only after a while.
struct Step {
    name: &'static str,
    /// Arguments of cargo.
    command: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

/// Bytes that take new ways through a decoder of OTLP, a minute a round: changed from what real emitters sent and from what
/// earlier rounds have found. It ends at a panic, at bytes that the reference decoder reads otherwise, and at much memory.
macro_rules! fuzz {
    ($target:literal) => {
        Step {
            name: concat!("fuzz ", $target),
            command: &[
                "fuzz",
                "run",
                "--fuzz-dir",
                "otlp/fuzz",
                $target,
                concat!("otlp/fuzz/corpus/", $target),
                "otlp/tests/samples",
                "--",
                "-max_total_time=60",
                "-rss_limit_mb=1024",
            ],
            // The compiler's switches for it are unstable.
            env: &[("RUSTC_BOOTSTRAP", "1")],
        }
    };
}

const STEPS: &[Step] = &[
    // Twenty times the default number of cases, drawn anew in each round.
    Step {
        name: "properties",
        command: &["nextest", "run", "--workspace", "--all-features", "--profile", "soak"],
        env: &[("PROPTEST_CASES", "5120")],
    },
    // Engine and oracle, on so many histories of each kind a round. It says how many.
    Step {
        name: "histories",
        command: &[
            "test",
            "--release",
            "--package",
            "standoff-wait-graph",
            "--test",
            "comparison",
            "--",
            "--nocapture",
        ],
        env: &[("STANDOFF_HISTORIES", "20000")],
    },
    // Engine and simulation, on so many scripts a round.
    Step {
        name: "scripts",
        command: &[
            "test",
            "--release",
            "--package",
            "standoff-wait-graph",
            "--test",
            "scripts",
        ],
        env: &[("STANDOFF_SCRIPTS", "20000")],
    },
    // Any bytes to the collector, on so many histories a round. It says what came of them, and how much memory was taken.
    Step {
        name: "any bytes",
        command: &[
            "test",
            "--release",
            "--package",
            "standoff-collector",
            "--features",
            "fuzzing",
            "--test",
            "any_bytes",
            "--",
            "--nocapture",
        ],
        env: &[("STANDOFF_PLAYS", "20000")],
    },
    // Library, relay and collector under a faulty network, on so many scripts a round, and as many with foreign services
    // that are heard of in time, and too late. It says what went wrong, and how often what was told was not so.
    Step {
        name: "whole",
        command: &[
            "test",
            "--release",
            "--package",
            "standoff-collector",
            "--lib",
            "detector::whole::",
            "--",
            "--nocapture",
        ],
        env: &[("WHOLE_SEEDS", "10000")],
    },
    // The library's shared state, on so many schedules of its threads a scenario and a round.
    Step {
        name: "schedules",
        command: &["test", "--release", "--package", "standoff-agent-schedules"],
        env: &[("STANDOFF_SCHEDULES", "50000")],
    },
    fuzz!("protobuf"),
    fuzz!("json"),
    fuzz!("partial"),
];

/// Tells a step how long it should take, in seconds. One that has no end of its own keeps to it.
const SECONDS: &str = "STANDOFF_SOAK_SECONDS";

/// Tells a step from which seed on to draw, where it would otherwise draw the same in each round.
const FIRST_SEED: &str = "STANDOFF_SCRIPTS_FROM";

/// Runs all steps for about so long in all, and answers whether all went well.
///
/// # Errors
///
/// If a step or a server cannot be started, or the log cannot be written.
pub fn soak(root: &Path, running: &Running, duration: Duration) -> Result<bool> {
    tools::NEXTEST.ensure(root)?;
    tools::FUZZ.ensure(root)?;
    fs::create_dir_all(root.join("target"))?;
    for step in STEPS {
        // What a fuzzer finds it puts into a folder that must be there.
        if let Some(corpus) = step.command.iter().find(|argument| argument.contains("/corpus/")) {
            fs::create_dir_all(root.join(corpus))?;
        }
    }
    let mut log = Log::create(&root.join("target/soak.log"))?;
    let servers = Servers::start(running)?;
    let share = duration / u32::try_from(STEPS.len()).unwrap_or(u32::MAX).max(1);

    let mut results = Vec::new();
    for step in STEPS {
        let mut command = run::cargo(root);
        command
            .args(step.command)
            .envs(step.env.iter().copied())
            .envs(servers.variables())
            .env(SECONDS, share.as_secs().to_string());
        results.push((step.name, repeat(step.name, &mut command, share, &mut log)?));
    }

    let mut well = true;
    for (name, rounds) in results {
        let how = if rounds.well { "all well" } else { "FAILED in the last" };
        log.line(&format!(
            "── {name}: rounds {}, in {}, {how}",
            rounds.count,
            run::seconds(rounds.elapsed)
        ))?;
        well &= rounds.well;
    }
    Ok(well)
}

/// What became of a step.
struct Rounds {
    count: u32,
    elapsed: Duration,
    well: bool,
}

/// Runs a command until the time is up, at least once, or until it fails.
fn repeat(name: &str, command: &mut Command, share: Duration, log: &mut Log) -> Result<Rounds> {
    let started = Instant::now();
    let line = run::command_line(command);
    let mut count = 0;
    loop {
        count += 1;
        let seed = rand::random::<u32>().to_string();
        log.line(&format!("── {name}, round {count}: {FIRST_SEED}={seed} {line}"))?;
        let well = run_into(command.env(FIRST_SEED, seed), log).with_context(|| format!("cannot run {line}"))?;
        let elapsed = started.elapsed();
        if !well || elapsed >= share {
            return Ok(Rounds { count, elapsed, well });
        }
    }
}

/// Runs a command with all its output going to the log, and answers whether it went well.
fn run_into(command: &mut Command, log: &mut Log) -> Result<bool> {
    let (reader, writer) = std::io::pipe()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()?;
    // The command keeps copies of the pipe for its next run; while they are open, the output has no end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        log.line(&String::from_utf8_lossy(&line?))?;
    }
    Ok(child.wait()?.success())
}

/// Lines with the time since the log was begun, in a file and on standard output.
struct Log {
    file: File,
    begun: Instant,
}

impl Log {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            file,
            begun: Instant::now(),
        })
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let line = format!("{:9.1} s  {line}", self.begun.elapsed().as_secs_f64());
        writeln!(self.file, "{line}")?;
        run::print(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn log() -> (tempfile::TempDir, Log) {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(&folder.path().join("log")).unwrap();
        (folder, log)
    }

    #[test]
    fn output_of_both_kinds_goes_to_the_log() {
        let (folder, mut log) = log();
        assert!(run_into(&mut shell("echo one; echo two >&2"), &mut log).unwrap());
        let written = fs::read_to_string(folder.path().join("log")).unwrap();
        let lines: Vec<&str> = written
            .lines()
            .filter_map(|line| line.split_once(" s  "))
            .map(|(_, rest)| rest)
            .collect();
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_step_runs_at_least_once() {
        let (_folder, mut log) = log();
        let rounds = repeat("step", &mut shell("true"), Duration::ZERO, &mut log).unwrap();
        assert_eq!((rounds.count, rounds.well), (1, true));
    }

    #[test]
    fn a_step_is_repeated_until_it_fails() {
        let (folder, mut log) = log();
        let marks = folder.path().join("marks");
        let script = format!("echo >>{0}; test $(wc -l <{0}) -lt 3", marks.display());
        let rounds = repeat("step", &mut shell(&script), Duration::from_secs(60), &mut log).unwrap();
        assert_eq!((rounds.count, rounds.well), (3, false));
    }
}
