//! `cargo xtask instructions`: how many instructions the engine takes for an event, at a thousand and at a million open
//! waits, counted by valgrind. Unlike times they are the same on every machine, and whatever else it does.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::run;

/// The shapes of which the design promises something, by parts of their names in `wait-graph/benches/engine/shapes.rs`.
const SHAPES: &[&str] = &[
    "call trees",
    "queued",
    "groups",
    "tail",
    "head",
    "hot lock",
    "pools",
    "comes and goes",
];
/// Below and above what a processor's cache holds; the count must not tell.
const SIZES: [u64; 2] = [1_000, 1_000_000];

/// Prints a table of instructions per event.
///
/// # Errors
///
/// If valgrind is missing, or what is measured fails.
pub fn instructions(root: &Path, events: u64) -> Result<()> {
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    ensure!(
        valgrind.is_ok_and(|status| status.success()),
        "there is no valgrind: apt-get install valgrind"
    );
    run::print(&format!(
        "| shape | instructions per event at {} open waits | at {} | ratio |\n|---|--:|--:|--:|",
        SIZES[0], SIZES[1]
    ))?;
    for shape in SHAPES {
        let [few, many] = SIZES.map(|size| of_shape(root, shape, size, events));
        let (few, many) = (few?, many?);
        run::print(&format!("| {shape} | {few:.0} | {many:.0} | {:.2} |", many / few))?;
    }
    Ok(())
}

/// Instructions per event of one shape and size.
fn of_shape(root: &Path, shape: &str, size: u64, events: u64) -> Result<f64> {
    let runner = "target.'cfg(all())'.runner=['valgrind','--tool=callgrind','--callgrind-out-file=/dev/null',\
                  '--collect-atstart=no','--toggle-collect=*counted_events*','--main-stacksize=67108864']";
    let mut command = run::cargo(root);
    command.args(["bench", "--quiet", "-p", "standoff-wait-graph", "--bench", "engine"]);
    command.args(["--config", runner, "--", "--counted", "--shape", shape]);
    command.args(["--size", &size.to_string(), "--events", &events.to_string()]);
    let line = run::command_line(&command);
    run::say(&format!("── {line}"));
    let output = command.output().with_context(|| format!("cannot run {line}"))?;
    let (out, log) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    ensure!(output.status.success(), "{line} failed:\n{log}");
    let collected = number_after(&log, "Collected : ").with_context(|| format!("no count in:\n{log}"))?;
    let counted = number_after(&out, "open waits: ").with_context(|| format!("no events in:\n{out}"))?;
    Ok(collected as f64 / counted.max(1) as f64)
}

/// The number that follows a word.
fn number_after(text: &str, word: &str) -> Option<u64> {
    let (_, rest) = text.split_once(word)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found() {
        let log = "==1== Events    : Ir\n==1== Collected : 27104230\n==1==\n";
        assert_eq!(number_after(log, "Collected : "), Some(27_104_230));
        assert_eq!(
            number_after("call trees, 1000 open waits: 2002 events", "open waits: "),
            Some(2002)
        );
        assert_eq!(number_after(log, "nothing"), None);
    }
}
