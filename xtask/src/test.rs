//! `cargo xtask test`: all tests, with the servers that they need.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::servers::{self, AMQP_URL, REDIS_URL};
use crate::{node, python, run, tools};

/// Servers that run already and are to be used.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Running {
    /// A running RabbitMQ to use instead of a private one
    #[arg(long, value_name = "URL", env = AMQP_URL, hide_env_values = true)]
    pub amqp: Option<String>,
    /// A running Redis to use instead of a private one
    #[arg(long, value_name = "URL", env = REDIS_URL, hide_env_values = true)]
    pub redis: Option<String>,
}

/// Which tests to run; all, if nothing is said.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Only the tests of this package
    #[arg(short, long = "package", value_name = "NAME")]
    pub packages: Vec<String>,
    /// What to pass on to `cargo nextest run`, for instance a part of a test's name
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub filter: Vec<String>,
}

impl Selection {
    fn is_everything(&self) -> bool {
        self.packages.is_empty() && self.filter.is_empty()
    }

    /// The selected packages, for any command of cargo.
    fn packages(&self) -> Vec<&str> {
        if self.packages.is_empty() {
            return vec!["--workspace", "--all-features"];
        }
        let mut args = vec!["--all-features"];
        args.extend(self.packages.iter().flat_map(|name| ["--package", name.as_str()]));
        args
    }
}

/// The servers of one run; private ones stop when this is dropped.
#[derive(Debug)]
pub struct Servers {
    amqp: servers::Shared<servers::RabbitMq>,
    redis: servers::Shared<servers::Redis>,
}

impl Servers {
    /// Finds or starts them.
    ///
    /// # Errors
    ///
    /// If one is not to be had, or does not become ready.
    pub fn start(running: &Running) -> Result<Self> {
        run::timed("servers", "RabbitMQ and Redis", || {
            let (amqp, redis) = (running.amqp.clone(), running.redis.clone());
            Ok((
                Self {
                    amqp: servers::amqp_at(amqp)?,
                    redis: servers::redis_at(redis)?,
                },
                true,
            ))
        })
    }

    /// What to put into the environment of the tests.
    pub fn variables(&self) -> [(&'static str, &str); 2] {
        [(AMQP_URL, self.amqp.url()), (REDIS_URL, self.redis.url())]
    }
}

/// What the examples in other languages depend on, where the tests that run them may be selected.
#[derive(Debug, Default)]
struct Examples {
    node: Option<PathBuf>,
    python: Option<PathBuf>,
}

impl Examples {
    fn prepare(selection: &Selection) -> Result<Self> {
        // With a filter, the tests prepare what they need themselves: few of them do.
        let needed = selection.filter.is_empty()
            && (selection.packages.is_empty() || selection.packages.iter().any(|it| it == "standoff"));
        if !needed {
            return Ok(Self::default());
        }
        Ok(Self {
            node: Some(node::folder()?),
            python: Some(python::environments()?),
        })
    }

    fn variables(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let folders = [
            (node::NODE, self.node.as_deref()),
            (python::PYTHON, self.python.as_deref()),
        ];
        folders
            .into_iter()
            .filter_map(|(variable, folder)| Some((variable, folder?)))
    }
}

/// Runs the tests and answers with the exit code: that of the first runner that failed.
///
/// Documentation tests are run with all others only. The last line printed is the sum of all runners' counts.
///
/// # Errors
///
/// If a runner or a server cannot be started.
pub fn test(root: &Path, running: &Running, selection: &Selection) -> Result<u8> {
    let started = Instant::now();
    tools::NEXTEST.ensure(root)?;
    for (name, mut command) in builds(root, selection) {
        let status = run::step(name, &mut command)?;
        if !status.success() {
            return Ok(exit_code(status));
        }
    }

    let examples = Examples::prepare(selection)?;
    let servers = Servers::start(running)?;
    let profile = if std::env::var_os("CI").is_some() {
        "ci"
    } else {
        "default"
    };
    let mut counts = Counts::default();
    let mut code = 0;

    let report = root.join("target/nextest").join(profile).join("junit.xml");
    // One that an earlier run left must not be counted.
    if report.exists() {
        fs::remove_file(&report)?;
    }
    let mut nextest = run::cargo(root);
    nextest
        .args(["nextest", "run", "--profile", profile])
        .args(selection.packages())
        .args(&selection.filter)
        .envs(examples.variables())
        .envs(servers.variables());
    let status = run::step("tests", &mut nextest)?;
    code = first_failure(code, status);
    // No report: no test was run.
    if report.exists() {
        counts += Counts::of_junit(&fs::read_to_string(&report)?).context("cannot read the test runner's report")?;
    }

    if selection.is_everything() {
        let mut doc_tests = run::cargo(root);
        doc_tests
            .args(["test", "--doc", "--workspace", "--all-features"])
            .envs(servers.variables());
        let status = run::timed("documentation tests", &run::command_line(&doc_tests), || {
            let (status, doc_counts) = count_libtest(&mut doc_tests)?;
            counts += doc_counts;
            Ok((status, status.success()))
        })?;
        code = first_failure(code, status);
    }

    drop(servers);
    run::say(&format!(
        "── {} after {}",
        if code == 0 { "all well" } else { "FAILED" },
        run::seconds(started.elapsed())
    ));
    run::print(&format!("{} passed, {} failed", counts.passed, counts.failed))?;
    Ok(code)
}

/// Everything is built before the servers start, so that they do not wait for the compiler.
fn builds(root: &Path, selection: &Selection) -> [(&'static str, Command); 2] {
    let cargo = |line: &str| {
        let mut command = run::cargo(root);
        command.args(line.split_whitespace()).args(selection.packages());
        command
    };
    [
        ("build tests", cargo("nextest run --no-run")),
        ("build examples", cargo("build --examples")),
    ]
}

fn first_failure(code: u8, status: ExitStatus) -> u8 {
    if code == 0 { exit_code(status) } else { code }
}

/// A runner that was killed by a signal has none; that is a failure like any other.
fn exit_code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Runs a command whose standard output is that of libtest, shows it, and adds up its counts.
fn count_libtest(command: &mut Command) -> Result<(ExitStatus, Counts)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut counts = Counts::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            run::print(&line)?;
            if let Some(more) = Counts::of_libtest_line(&line) {
                counts += more;
            }
        }
    }
    Ok((child.wait()?, counts))
}

/// How many tests did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
    }
}

impl Counts {
    /// From the totals in the first tag of a JUnit report.
    fn of_junit(report: &str) -> Option<Self> {
        let (_, totals) = report.split_once("<testsuites ")?;
        let (totals, _) = totals.split_once('>')?;
        let number = |name: &str| {
            let (_, rest) = totals.split_once(&format!("{name}=\""))?;
            rest.split_once('"')?.0.parse::<u64>().ok()
        };
        let failed = number("failures")? + number("errors")?;
        Some(Self {
            passed: number("tests")?.checked_sub(failed)?,
            failed,
        })
    }

    /// From a line such as `test result: ok. 3 passed; 0 failed; …`.
    fn of_libtest_line(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let number = |name: &str| {
            counts
                .split("; ")
                .find_map(|count| count.strip_suffix(name))
                .and_then(|number| number.trim().parse().ok())
        };
        Some(Self {
            passed: number("passed")?,
            failed: number("failed")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_a_junit_report() {
        let report = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="12" failures="2" errors="1" uuid="x" timestamp="y" time="1.0">
    <testsuite name="xtask" tests="12" disabled="0" errors="1" failures="2">"#;
        assert_eq!(Counts::of_junit(report), Some(Counts { passed: 9, failed: 3 }));
        assert_eq!(Counts::of_junit("<nothing/>"), None);
    }

    #[test]
    fn counts_of_libtest_output() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 4 filtered out; finished in 0.10s";
        assert_eq!(Counts::of_libtest_line(line), Some(Counts { passed: 3, failed: 1 }));
        assert_eq!(Counts::of_libtest_line("test src/lib.rs - run (line 3) ... ok"), None);
    }

    #[test]
    fn all_counts_of_a_libtest_run_are_added_up_and_its_exit_code_is_kept() {
        let line = |passed| format!("echo 'test result: ok. {passed} passed; 1 failed; 0 ignored; 0 measured';");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{}{}exit 101", line(3), line(4))]);
        let (status, counts) = count_libtest(&mut command).unwrap();
        assert_eq!(counts, Counts { passed: 7, failed: 2 });
        assert_eq!(exit_code(status), 101);
    }
}
