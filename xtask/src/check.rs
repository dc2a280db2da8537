//! `cargo xtask check`: everything that can be said about the code without running it.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{protos, run, tools};

/// Runs every check, so that one call shows all there is to mend, and answers whether all went well.
///
/// # Errors
///
/// If a check cannot be run.
pub fn check(root: &Path) -> Result<bool> {
    tools::DENY.ensure(root)?;
    tools::MACHETE.ensure(root)?;

    let mut failed = Vec::new();
    for (name, mut command) in commands(root) {
        if !run::step(name, &mut command)?.success() {
            failed.push(name);
        }
    }
    if !generated_code_is_current(root)? {
        failed.push("generated code");
    }

    if failed.is_empty() {
        run::say("── all checks passed");
    } else {
        run::say(&format!("── FAILED: {}", failed.join(", ")));
    }
    Ok(failed.is_empty())
}

fn commands(root: &Path) -> Vec<(&'static str, Command)> {
    let cargo = |line: &str| {
        let mut command = run::cargo(root);
        command.args(line.split_whitespace());
        command
    };
    let mut docs = cargo("doc --keep-going --no-deps --workspace --all-features --document-private-items");
    docs.env("RUSTDOCFLAGS", "-D warnings");
    vec![
        ("format", cargo("fmt --all --check")),
        (
            "lints",
            cargo("clippy --keep-going --workspace --all-targets --all-features -- -D warnings"),
        ),
        ("documentation", docs),
        // The whole graph, all platforms included, so that the next check needs nothing from outside.
        ("fetch", cargo("fetch --locked")),
        // Advisories are left out: they come from a database that changes by itself, and a check must not fail by itself.
        (
            "dependencies",
            cargo("deny --offline check --deny warnings bans licenses sources"),
        ),
        ("unused dependencies", cargo("machete --with-metadata")),
    ]
}

fn generated_code_is_current(root: &Path) -> Result<bool> {
    run::timed("generated code", "compare with `cargo xtask protos`", || {
        let stale = protos::stale(root)?;
        for path in &stale {
            run::say(&format!("{} is not current: run `cargo xtask protos`", path.display()));
        }
        Ok((stale.is_empty(), stale.is_empty()))
    })
}
