//! A private Redis.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::container::Container;
use super::ports;
use super::process::Launch;
use super::programs::{Found, REDIS};
use super::server::Server;

/// How long the answer to a ping may take before the next try.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A Redis of one's own. What it has acknowledged survives [`stop`](Self::stop) and [`kill`](Self::kill).
#[derive(Debug)]
pub struct Redis {
    server: Server,
    /// Declared last: the server stops before its folder goes.
    _folder: TempDir,
}

impl Redis {
    /// Starts Redis on a free port of the loopback interface and waits until it answers.
    ///
    /// # Errors
    ///
    /// If Redis is not to be had, or does not become ready.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = ports::free()?;
        // The log of commands is written before the answer goes out, so a killed server has lost nothing that it
        // acknowledged; only a crash of the whole machine would need it to be synced as well.
        let options = ["--appendonly", "yes", "--appendfsync", "no", "--save", ""];
        let mut server = match REDIS.find()? {
            Found::Installed(program) => {
                let launch = Launch::new(program)
                    .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--daemonize", "no"])
                    .arg("--dir")
                    .arg(folder.path())
                    .args(options);
                Server::new("redis", port, launch, folder.path(), answers)
            }
            Found::Container => {
                let container = Container::new("redis");
                let launch = container
                    .launch(REDIS.image, port, 6379, "/data")
                    .arg("redis-server")
                    .args(options);
                Server::new("redis", port, launch, folder.path(), answers).in_container(container)
            }
        };
        server.start()?;
        Ok(Self {
            server,
            _folder: folder,
        })
    }

    /// Where it is reached; the same after [`start_again`](Self::start_again).
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.server.port())
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    ///
    /// If it had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        self.server.stop()
    }

    /// Kills it, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// If that does not work.
    pub fn kill(&mut self) -> Result<()> {
        self.server.kill()
    }

    /// Starts it anew after it was stopped or killed, on the same port, with what it had stored.
    ///
    /// # Errors
    ///
    /// If it still runs, or does not become ready.
    pub fn start_again(&mut self) -> Result<()> {
        self.server.start()
    }
}

fn answers(port: u16) -> bool {
    let ping = || -> std::io::Result<[u8; 5]> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        connection.set_read_timeout(Some(ANSWER_WITHIN))?;
        connection.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        connection.read_exact(&mut answer)?;
        Ok(answer)
    };
    // While it still loads its data, the answer is an error.
    ping().is_ok_and(|answer| &answer == b"+PONG")
}
