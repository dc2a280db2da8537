//! Running commands, and saying how long they took.
//!
//! Progress goes to standard error and results to standard output, as everywhere in standoff.

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::tools;

/// The root of the workspace that this program was built in.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// A cargo that runs in the root, is the one that runs us, and finds the [`tools`] that were installed for us.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).env("PATH", tools::search_path(root));
    // `cargo xtask` is a `cargo run`, which describes this package in the environment of what it runs. Neither a build nor
    // a subcommand may take that for a description of itself.
    for (name, _) in env::vars_os() {
        let about_us = ["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_"];
        if about_us.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// Tells whoever watches.
#[expect(
    clippy::print_stderr,
    reason = "the watcher of a development task sits at the terminal"
)]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// Prints a result.
///
/// # Errors
///
/// If nobody listens.
pub fn print(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

/// Runs a command under a heading, and says how it went.
pub(crate) fn step(name: &str, command: &mut Command) -> Result<ExitStatus> {
    let line = command_line(command);
    timed(name, &line, || {
        let status = command.status().with_context(|| format!("cannot run {line}"))?;
        Ok((status, status.success()))
    })
}

/// Does something under a heading, and says how it went. What it does answers with its result, and whether that is well.
pub(crate) fn timed<T>(name: &str, what: &str, act: impl FnOnce() -> Result<(T, bool)>) -> Result<T> {
    say(&format!("── {name}: {what}"));
    let started = Instant::now();
    let result = act();
    let how = if result.as_ref().is_ok_and(|(_, well)| *well) {
        "done"
    } else {
        "FAILED"
    };
    say(&format!("── {name}: {how} after {}", seconds(started.elapsed())));
    result.map(|(value, _)| value)
}

pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

pub(crate) fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_short() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command.args(["fmt", "--check"]);
        assert_eq!(command_line(&command), "cargo fmt --check");
    }

    #[test]
    fn cargo_is_told_nothing_about_the_package_that_runs_it() {
        // Set by the runner of this test.
        assert!(env::var_os("CARGO_PKG_NAME").is_some());
        let mut command = cargo(&root());
        let removed: Vec<_> = command
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name)
            .collect();
        assert!(removed.contains(&"CARGO_PKG_NAME".as_ref()), "{removed:?}");
        assert!(!removed.contains(&"CARGO_HOME".as_ref()), "{removed:?}");
        assert!(command.arg("--version").status().unwrap().success());
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
    }
}
