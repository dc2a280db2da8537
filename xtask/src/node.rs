//! Node, and what the example in `examples/node` depends on, for the tests that run it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::prepared::prepared;
use crate::programs::{self, Installed};

/// The environment variable that names a folder with the example's `node_modules`.
pub const NODE: &str = "STANDOFF_TEST_NODE";

/// The oldest that the example's dependencies run on.
const OLDEST: (u32, u32) = (18, 19);

/// A way to run the example.
#[derive(Clone, Debug)]
pub struct Node {
    /// The program.
    pub program: PathBuf,
    /// The `node_modules` of the example.
    pub modules: PathBuf,
}

/// Node with the modules that [`NODE`] names, or else with those that are prepared below `target`.
///
/// # Errors
///
/// If Node is not to be had or too old, or its package manager cannot get the modules.
pub fn node() -> Result<Node> {
    let (program, npm) = installed()?;
    Ok(Node {
        program,
        modules: folder_with(&npm)?.join("node_modules"),
    })
}

/// The folder that [`NODE`] names, or else the prepared one.
///
/// # Errors
///
/// As [`node`].
pub(crate) fn folder() -> Result<PathBuf> {
    let (_, npm) = installed()?;
    folder_with(&npm)
}

fn folder_with(npm: &Path) -> Result<PathBuf> {
    match env::var_os(NODE).filter(|folder| !folder.is_empty()) {
        Some(folder) => Ok(folder.into()),
        None => prepare(&crate::run::root(), npm),
    }
}

/// Once for each content of the example's lock file.
fn prepare(root: &Path, npm: &Path) -> Result<PathBuf> {
    let example = root.join("examples/node");
    let files = ["package.json", "package-lock.json"];
    let lock = fs::read(example.join(files[1])).context("cannot read the lock file of examples/node")?;
    prepared(root, "node", &lock, |folder| {
        for file in files {
            fs::copy(example.join(file), folder.join(file))?;
        }
        let mut install = Command::new(npm);
        install
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(folder);
        // Standard output is for results.
        let status = install.stdin(Stdio::null()).stdout(std::io::stderr()).status()?;
        ensure!(status.success(), "npm cannot install what examples/node depends on");
        Ok(())
    })
}

/// The programs, installed if need be.
fn installed() -> Result<(PathBuf, PathBuf)> {
    let find = || programs::find(&["node", "nodejs"]).zip(programs::find(&["npm"]));
    let found = match find() {
        Some(found) => Some(found),
        None if programs::install(&["nodejs", "npm"])? == Installed::Yes => find(),
        None => None,
    };
    let Some((node, npm)) = found else {
        bail!("Node is not installed: install it with npm (Debian: the packages nodejs and npm)");
    };
    let said = Command::new(&node).arg("--version").output()?.stdout;
    let said = String::from_utf8_lossy(&said);
    ensure!(
        version(&said).is_some_and(|version| version >= OLDEST),
        "{} is too old ({}): the example needs Node {}.{} or newer",
        node.display(),
        said.trim(),
        OLDEST.0,
        OLDEST.1
    );
    Ok((node, npm))
}

/// The first two numbers of a text like `v20.20.2`.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.trim().strip_prefix('v')?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("v20.20.2\n"), Some((20, 20)));
        assert!(version("v18.19.1") >= Some(OLDEST));
        assert!(version("v8.20.0") < Some(OLDEST));
        assert_eq!(version("20"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn the_lock_file_names_no_registry() {
        let lock = fs::read_to_string(crate::run::root().join("examples/node/package-lock.json")).unwrap();
        assert!(lock.contains("integrity"));
        assert!(!lock.contains("resolved"));
    }
}
