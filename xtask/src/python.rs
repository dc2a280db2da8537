//! Python, and what the example in `examples/python` depends on, for the tests that run it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::prepared::prepared;
use crate::programs::{self, Installed};

/// The environment variable that names a folder with a virtual environment for each of [`ENVIRONMENTS`].
pub const PYTHON: &str = "STANDOFF_TEST_PYTHON";

/// Each is made of `examples/python/requirements-….txt`. They need different versions of the same libraries.
pub const ENVIRONMENTS: [&str; 3] = ["live", "partial", "logfire"];

/// The oldest that the example's dependencies run on.
const OLDEST: (u32, u32) = (3, 10);

/// Prints the version, and fails where virtual environments cannot be made: Debian has that in a package of its own.
const PROBE: &str = "import ensurepip, sys, venv; print(sys.version)";

/// The folder that [`PYTHON`] names, or else one that is prepared below `target`. In it, `live/bin/python` is the interpreter
/// of the environment `live`.
///
/// # Errors
///
/// If Python is not to be had or too old, or its package manager cannot get the libraries.
pub fn environments() -> Result<PathBuf> {
    match env::var_os(PYTHON).filter(|folder| !folder.is_empty()) {
        Some(folder) => Ok(folder.into()),
        None => prepare(&crate::run::root()),
    }
}

/// Once for each content of the requirements and each version of Python.
fn prepare(root: &Path) -> Result<PathBuf> {
    let (python, said) = installed()?;
    let requirements = ENVIRONMENTS.map(|name| root.join("examples/python").join(format!("requirements-{name}.txt")));
    let mut stamp = said.into_bytes();
    for file in &requirements {
        stamp.extend(fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    prepared(root, "python", &stamp, |folder| {
        for (name, file) in ENVIRONMENTS.iter().zip(&requirements) {
            let environment = folder.join(name);
            run(
                &python,
                ["-m", "venv"].map(OsStr::new).into_iter().chain([environment.as_ref()]),
            )?;
            let install = [
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-input",
                "-r",
            ];
            run(
                &environment.join("bin/python"),
                install.map(OsStr::new).into_iter().chain([file.as_ref()]),
            )
            .with_context(|| format!("cannot install what {} names", file.display()))?;
        }
        Ok(())
    })
}

fn run<'a>(python: &Path, args: impl Iterator<Item = &'a OsStr>) -> Result<()> {
    let mut command = Command::new(python);
    // Standard output is for results.
    let status = command
        .args(args)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()?;
    ensure!(status.success(), "{} failed: {status}", python.display());
    Ok(())
}

/// A Python that makes virtual environments, installed if need be, and what it says of its version.
fn installed() -> Result<(PathBuf, String)> {
    let found = match able() {
        Some(found) => Some(found),
        None if programs::install(&["python3", "python3-venv"])? == Installed::Yes => able(),
        None => None,
    };
    let Some((python, said)) = found else {
        bail!(
            "there is no Python that can make virtual environments: install it (Debian: the packages python3 and \
             python3-venv)"
        );
    };
    ensure!(
        version(&said).is_some_and(|version| version >= OLDEST),
        "{} is too old ({}): the example needs Python {}.{} or newer",
        python.display(),
        said.trim(),
        OLDEST.0,
        OLDEST.1
    );
    Ok((python, said))
}

/// The first on the path, or the system's, where the package manager puts it.
fn able() -> Option<(PathBuf, String)> {
    let candidates = [["python3"], ["/usr/bin/python3"]];
    candidates.iter().find_map(|names| {
        let python = programs::find(names)?;
        let output = Command::new(&python)
            .args(["-c", PROBE])
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some((python, said))
    })
}

/// The first two numbers of a text like `3.11.7 (main, …)`.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.split(['.', ' ', '+']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("3.11.7 (main, May  9 2026) [GCC 12.2.0]"), Some((3, 11)));
        assert!(version("3.9.2 (default)") < Some(OLDEST));
        assert!(version("3.10.0+ (heads/3.10)") >= Some(OLDEST));
        assert_eq!(version(""), None);
    }

    #[test]
    fn every_version_is_pinned_and_no_registry_is_named() {
        for name in ENVIRONMENTS {
            let file = format!("examples/python/requirements-{name}.txt");
            let text = fs::read_to_string(crate::run::root().join(&file)).unwrap();
            let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
            assert!(lines.len() > 10, "{file}");
            for line in lines {
                let (package, version) = line.split_once("==").unwrap_or_else(|| panic!("{file}: {line}"));
                assert!(
                    !package.is_empty() && version.starts_with(|first: char| first.is_ascii_digit()),
                    "{line}"
                );
            }
        }
    }
}
