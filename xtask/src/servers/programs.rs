//! Where the servers' programs come from.
//!
//! An installed program is taken first. Without one, the system's package is installed if that needs nobody's password;
//! else a container engine runs the pinned image. Nothing else is tried: the error says what would help.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{AMQP_URL, REDIS_URL};
use crate::programs::{self, Installed};

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

/// How a program is to be run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Installed(PathBuf),
    Container,
}

impl Program {
    /// Finds the program, installing it if need be.
    pub(super) fn find(&self) -> Result<Found> {
        if let Some(path) = programs::find(self.candidates) {
            return Ok(Found::Installed(path));
        }
        if programs::install(&[self.package])? == Installed::Yes {
            return programs::find(self.candidates)
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
}

fn container_engine_answers() -> bool {
    programs::succeeds(Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]))
}
