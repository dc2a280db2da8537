//! A server in a container, for machines that have an engine but not the program.
//!
//! The engine's client stays in the foreground, as a [`Process`](super::process::Process) like any other, passes the
//! request to stop on to the server, and ends when the container has been removed. Should the client be killed, the
//! container is removed from here. The data is in a volume, so it outlives the container and is there when the server
//! starts again.

use std::process::{Command, Stdio};

use super::process::Launch;

/// A container and its volume. Dropping this removes both.
#[derive(Debug)]
pub(super) struct Container {
    /// Also the name of the volume.
    name: String,
}

impl Container {
    pub(super) fn new(server: &str) -> Self {
        Self {
            name: format!("standoff-test-{server}-{:016x}", rand::random::<u64>()),
        }
    }

    /// The command line that runs `image` with `port` of the loopback interface leading to `inner_port`, and with the
    /// volume at `data`.
    pub(super) fn launch(&self, image: &str, port: u16, inner_port: u16, data: &str) -> Launch {
        Launch::new("docker")
            .args(["run", "--rm", "--name", &self.name])
            // RabbitMQ keeps its data below its host's name, which must therefore stay the same.
            .args(["--hostname", "standoff"])
            .args(["--publish", &format!("127.0.0.1:{port}:{inner_port}")])
            .args(["--volume", &format!("{}:{data}", self.name)])
            .arg(image)
    }

    /// Kills what runs in the container, and so ends the client too.
    pub(super) fn kill(&self) {
        docker(["kill", &self.name]);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(["rm", "--force", &self.name]);
        docker(["volume", "rm", "--force", &self.name]);
    }
}

/// Failure only means that there is nothing left to do, or that the engine is gone and everything with it.
fn docker<const N: usize>(args: [&str; N]) {
    let _status = Command::new("docker")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
