//! A program that runs for as long as its owner lives, and not a moment longer.
//!
//! Between the owner and the program stands a small shell script, `supervise.sh`, whose standard input is a pipe that
//! only the owner holds. When the owner lets go of the pipe — on purpose, or because it was killed — the script stops
//! the program. That needs no signal handler, no `unsafe` and no supervisor that could be forgotten, and works however
//! the owner ends. The script leads a process group of its own, so a Ctrl-C meant for the owner does not reach the
//! program before its owner has had its say.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

/// How long a program may take to stop when asked: a broker with a few open connections needs two seconds, and several
/// times that on a busy machine.
const GRACE: Duration = Duration::from_secs(20);

/// How long the script may outlive the grace that it enforces itself.
const SUPERVISOR_GRACE: Duration = Duration::from_secs(5);

/// How often a condition is looked at. Short against everything that is waited for here.
const POLL_EVERY: Duration = Duration::from_millis(10);

/// How much of a program's output an error shows.
const LOG_LINES_MAX: usize = 20;

const SUPERVISE: &str = include_str!("supervise.sh");

/// A command line with its environment, to be run any number of times.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Launch {
    pub(super) fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    pub(super) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(super) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(super) fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}

/// A running program. Dropping it stops the program.
#[derive(Debug)]
pub(super) struct Process {
    supervisor: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the program; its output is appended to `log`.
    pub(super) fn start(launch: &Launch, log: &Path) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open the log {}", log.display()))?;
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISE, "supervise.sh", &GRACE.as_secs().to_string()])
            .arg(&launch.program)
            .args(&launch.args)
            .envs(launch.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", launch.program.display()))?;
        Ok(Self {
            supervisor,
            log: log.to_owned(),
        })
    }

    /// Waits until `is_ready` says so.
    ///
    /// # Errors
    ///
    /// If the program ends first, or takes longer than `within`. The error shows the end of its output.
    pub(super) fn wait_until(&mut self, within: Duration, is_ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + within;
        while !is_ready() {
            if self.supervisor.try_wait()?.is_some() {
                bail!(
                    "it ended before it was ready; its output ends with\n{}",
                    self.last_output()
                );
            }
            if Instant::now() >= deadline {
                bail!(
                    "it was not ready within {within:?}; its output ends with\n{}",
                    self.last_output()
                );
            }
            thread::sleep(POLL_EVERY);
        }
        Ok(())
    }

    /// Asks the program to stop, and waits until it has.
    pub(super) fn stop(mut self) -> Result<()> {
        self.end()
    }

    /// Kills the program without a warning, and waits until it is gone.
    pub(super) fn kill(mut self) -> Result<()> {
        if let Some(input) = self.supervisor.stdin.as_mut() {
            // A supervisor that no longer reads has already seen the program end.
            let _ended = input.write_all(b"kill\n");
        }
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        drop(self.supervisor.stdin.take());
        let deadline = Instant::now() + GRACE + SUPERVISOR_GRACE;
        while self.supervisor.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                let group = Pid::from_child(&self.supervisor);
                rustix::process::kill_process_group(group, Signal::KILL)?;
                self.supervisor.wait()?;
                bail!("it had to be killed; its output ends with\n{}", self.last_output());
            }
            thread::sleep(POLL_EVERY);
        }
        Ok(())
    }

    fn last_output(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; whoever wants to know calls `stop`.
        let _unheard = self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Launch {
        Launch::new("sh").args(["-c", script])
    }

    fn log() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        (folder, log)
    }

    fn says(log: &Path, what: &str) -> bool {
        fs::read_to_string(log).is_ok_and(|log| log.contains(what))
    }

    /// Says that it runs, and what asked it to stop.
    const POLITE: &str = "trap 'echo stopped; exit' TERM; echo running; while :; do sleep 0.01; done";

    #[test]
    fn stopping_asks_and_waits() {
        let (_folder, log) = log();
        let mut process = Process::start(&shell(POLITE), &log).unwrap();
        process.wait_until(SOON, || says(&log, "running")).unwrap();
        process.stop().unwrap();
        assert!(says(&log, "stopped"));
    }

    #[test]
    fn dropping_stops() {
        let (_folder, log) = log();
        let mut process = Process::start(&shell(POLITE), &log).unwrap();
        process.wait_until(SOON, || says(&log, "running")).unwrap();
        drop(process);
        assert!(says(&log, "stopped"));
    }

    #[test]
    fn killing_does_not_ask() {
        let (_folder, log) = log();
        let mut process = Process::start(&shell(POLITE), &log).unwrap();
        process.wait_until(SOON, || says(&log, "running")).unwrap();
        process.kill().unwrap();
        assert!(!says(&log, "stopped"));
    }

    #[test]
    fn an_early_end_is_an_error_with_the_output() {
        let (_folder, log) = log();
        let mut process = Process::start(&shell("echo no such luck"), &log).unwrap();
        let error = process.wait_until(SOON, || false).unwrap_err().to_string();
        assert!(error.contains("ended before it was ready"), "{error}");
        assert!(error.contains("no such luck"), "{error}");
    }

    #[test]
    fn a_missed_deadline_is_an_error() {
        let (_folder, log) = log();
        let mut process = Process::start(&shell(POLITE), &log).unwrap();
        let error = process.wait_until(Duration::ZERO, || false).unwrap_err().to_string();
        assert!(error.contains("not ready within"), "{error}");
    }

    #[test]
    fn the_environment_reaches_the_program() {
        let (_folder, log) = log();
        let launch = shell("echo \"$GREETING\"; sleep 60").env("GREETING", "hello there");
        let mut process = Process::start(&launch, &log).unwrap();
        process.wait_until(SOON, || says(&log, "hello there")).unwrap();
    }
}
