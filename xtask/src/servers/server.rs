//! What all servers have in common: they are started, become ready, stop, and start again on the same port.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::container::Container;
use super::process::{Launch, Process};

/// How long a server may take to become ready. A broker alone on two cores needs 5 seconds; with a build and other tests
/// beside it, several times that; an image that must be fetched first, a minute or two.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// How to run a server, and the process while it runs.
#[derive(Debug)]
pub(super) struct Server {
    name: &'static str,
    port: u16,
    launch: Launch,
    log: PathBuf,
    /// Whether the server on this port answers as it should.
    is_ready: fn(port: u16) -> bool,
    /// Declared before `container`, so that the client has gone when the container is removed.
    process: Option<Process>,
    container: Option<Container>,
}

impl Server {
    pub(super) fn new(
        name: &'static str,
        port: u16,
        launch: Launch,
        folder: &Path,
        is_ready: fn(port: u16) -> bool,
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        Self {
            name,
            port,
            launch,
            log,
            is_ready,
            process: None,
            container: None,
        }
    }

    /// `container` is where the launch command runs the server.
    pub(super) fn in_container(mut self, container: Container) -> Self {
        self.container = Some(container);
        self
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Starts the server and waits until it is ready. Precondition: it does not run.
    pub(super) fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        let mut process = Process::start(&self.launch, &self.log)?;
        let (is_ready, port) = (self.is_ready, self.port);
        process
            .wait_until(READY_WITHIN, || is_ready(port))
            .with_context(|| format!("{} did not start", self.name))?;
        self.process = Some(process);
        Ok(())
    }

    /// Asks the server to stop, and waits until it has. Does nothing if it does not run.
    pub(super) fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.stop().with_context(|| format!("{} did not stop", self.name)),
            None => Ok(()),
        }
    }

    /// Kills the server, and waits until it is gone. Does nothing if it does not run.
    pub(super) fn kill(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else {
            return Ok(());
        };
        if let Some(container) = &self.container {
            container.kill();
        }
        process
            .kill()
            .with_context(|| format!("{} could not be killed", self.name))
    }
}
