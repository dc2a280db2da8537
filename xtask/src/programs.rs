//! Programs that the system has, or can get.
//!
//! An installed program is taken as it is. The system's packages are installed only if that needs nobody's password.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Installs packages without starting their services: what a test needs of a server it starts itself, and those of the
/// system are not its to start.
const INSTALL: &str = r#"
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get update
apt-get install --yes --no-install-recommends "$@"
"#;

/// Whether packages could be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    Yes,
    /// That cannot be done here without asking somebody.
    NotWithoutAsking,
}

/// The first of these that there is: absolute paths, and names to be looked up on `PATH`, best first.
pub(crate) fn find(candidates: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    first_of(candidates, &folders)
}

/// Installs these Debian packages, if there is a package manager that asks no questions.
pub(crate) fn install(packages: &[&str]) -> Result<Installed> {
    let Some(mut installer) = installer() else {
        return Ok(Installed::NotWithoutAsking);
    };
    run_installer(installer.args(packages)).with_context(|| format!("cannot install {}", packages.join(", ")))?;
    Ok(Installed::Yes)
}

/// Whether a command ends well. Nothing of what it says is shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn first_of(candidates: &[&str], folders: &[PathBuf]) -> Option<PathBuf> {
    candidates.iter().find_map(|candidate| {
        if Path::new(candidate).is_absolute() {
            Some(PathBuf::from(candidate)).filter(|path| path.is_file())
        } else {
            folders
                .iter()
                .map(|folder| folder.join(candidate))
                .find(|path| path.is_file())
        }
    })
}

/// A command that installs the packages in its further arguments, or none if that cannot be done without asking.
fn installer() -> Option<Command> {
    if !succeeds(Command::new("apt-get").arg("--version")) {
        return None;
    }
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("env")
    } else if succeeds(Command::new("sudo").args(["--non-interactive", "true"])) {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "env"]);
        sudo
    } else {
        return None;
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "sh", "-c", INSTALL, "install"]);
    Some(command)
}

fn run_installer(command: &mut Command) -> Result<()> {
    // Whoever runs the tests should see what happens to their machine; standard output is for results.
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status()?;
    if !status.success() {
        bail!("the installation failed: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_absolute_candidate_comes_before_the_path_and_missing_ones_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().join("empty"), folder.path().to_owned()];
        let absolute = folder.path().join("absolute");
        let candidates = [absolute.to_str().unwrap(), "named"];

        assert_eq!(first_of(&candidates, &folders), None);
        fs::write(folder.path().join("named"), "").unwrap();
        assert_eq!(first_of(&candidates, &folders), Some(folder.path().join("named")));
        fs::write(&absolute, "").unwrap();
        assert_eq!(first_of(&candidates, &folders), Some(absolute.clone()));
    }
}
