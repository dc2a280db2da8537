//! Where the servers' programs come from.
//!
//! An installed program is taken first. Without one, the system's package is installed if that needs nobody's password;
//! else a container engine runs the pinned image. Nothing else is tried: the error says what would help.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{AMQP_URL, REDIS_URL};

/// A server program and every way to come by it.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    /// Absolute paths, and names to be looked up on `PATH`, best first.
    candidates: &'static [&'static str],
    /// The Debian package.
    package: &'static str,
    /// The container image.
    pub(super) image: &'static str,
    /// Names a server that runs already.
    variable: &'static str,
}

/// Debian's program of that name on `PATH` is a wrapper that changes to another user, and so needs root and cannot
/// write into our folder; the real one is below `/usr/lib`. Other packagings have only the real one.
pub(super) const RABBIT_MQ: Program = Program {
    name: "RabbitMQ",
    candidates: &["/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"],
    package: "rabbitmq-server",
    image: "rabbitmq:4.3.5-alpine",
    variable: AMQP_URL,
};

pub(super) const REDIS: Program = Program {
    name: "Redis",
    candidates: &["redis-server"],
    package: "redis-server",
    image: "redis:8.2.1-alpine",
    variable: REDIS_URL,
};

/// Installs packages without starting their services: the tests run servers of their own, and those of the system are
/// not theirs to start.
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

/// How a program is to be run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Installed(PathBuf),
    Container,
}

impl Program {
    /// Finds the program, installing it if need be.
    pub(super) fn find(&self) -> Result<Found> {
        if let Some(path) = self.installed() {
            return Ok(Found::Installed(path));
        }
        if let Some(mut install) = installer() {
            run_installer(install.arg(self.package)).with_context(|| format!("cannot install {}", self.package))?;
            return self
                .installed()
                .map(Found::Installed)
                .with_context(|| format!("{} is installed, but its program is not there", self.package));
        }
        if container_engine_answers() {
            return Ok(Found::Container);
        }
        bail!(
            "{} is not installed: install it (Debian: the package {}), start a Docker engine, \
             or name a running server with {}",
            self.name,
            self.package,
            self.variable
        )
    }

    fn installed(&self) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = env::split_paths(&path).collect();
        first_of(self.candidates, &folders)
    }
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

fn container_engine_answers() -> bool {
    succeeds(Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]))
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
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
