//! A private RabbitMQ.
//!
//! The broker runs as whoever runs the tests, with its own cookie, its own Erlang port mapper and no plugins, and
//! listens on the loopback interface only, so that it neither finds nor disturbs any other Erlang node of the machine.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::container::Container;
use super::ports;
use super::process::Launch;
use super::programs::{Found, RABBIT_MQ};
use super::server::Server;

/// How long the broker's first byte may take before the next try.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A RabbitMQ of one's own, with the user `guest` and the virtual host `/`. Durable queues and persistent messages
/// survive [`stop`](Self::stop) and [`kill`](Self::kill).
///
/// It takes some seconds and most of a core to start, so tests that only need queues of their own share one
/// ([`amqp`](super::amqp)).
#[derive(Debug)]
pub struct RabbitMq {
    server: Server,
    /// Absent in a container, which brings its own. Outlives the broker, which needs it to stop in good order.
    _port_mapper: Option<Server>,
    /// Declared last: everything stops before the folder goes.
    _folder: TempDir,
}

impl RabbitMq {
    /// Starts RabbitMQ on a free port of the loopback interface and waits until it speaks AMQP.
    ///
    /// # Errors
    ///
    /// If RabbitMQ is not to be had, or does not become ready.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = ports::free()?;
        let (mut server, port_mapper) = match RABBIT_MQ.find()? {
            Found::Installed(program) => {
                let mut port_mapper = port_mapper(folder.path())?;
                port_mapper.start()?;
                let launch = broker(&program, folder.path(), port, port_mapper.port())?;
                (
                    Server::new("rabbitmq", port, launch, folder.path(), speaks_amqp),
                    Some(port_mapper),
                )
            }
            Found::Container => {
                let container = Container::new("rabbitmq");
                let launch = container.launch(RABBIT_MQ.image, port, 5672, "/var/lib/rabbitmq");
                let server = Server::new("rabbitmq", port, launch, folder.path(), speaks_amqp);
                (server.in_container(container), None)
            }
        };
        server.start()?;
        Ok(Self {
            server,
            _port_mapper: port_mapper,
            _folder: folder,
        })
    }

    /// Where it is reached; the same after [`start_again`](Self::start_again).
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.server.port())
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

/// Erlang nodes find one another through a port mapper. Left to itself the broker would use the machine's, or start one
/// that stays behind.
fn port_mapper(folder: &Path) -> Result<Server> {
    let port = ports::free()?;
    let launch = Launch::new("epmd").args(["-port", &port.to_string(), "-address", "127.0.0.1"]);
    Ok(Server::new("epmd", port, launch, folder, |port| {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    }))
}

fn broker(program: &Path, folder: &Path, port: u16, port_mapper_port: u16) -> Result<Launch> {
    for part in ["home", "mnesia", "log", "generated", "schema", "plugins"] {
        fs::create_dir(folder.join(part))?;
    }
    let cookie = folder.join("home/.erlang.cookie");
    fs::write(&cookie, format!("{:032x}", rand::random::<u128>()))?;
    // Erlang refuses a cookie that anyone else can read.
    fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400))?;
    fs::write(folder.join("enabled_plugins"), "[].\n")?;
    fs::write(folder.join("rabbitmq.conf"), configuration(port))?;

    let at = |name: &str| folder.join(name);
    Ok(Launch::new(program)
        .env("HOME", at("home"))
        .env("ERL_CRASH_DUMP", at("erl_crash.dump"))
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", port_mapper_port.to_string())
        .env("RABBITMQ_NODENAME", format!("standoff{port}@localhost"))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", ports::free()?.to_string())
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", at("advanced.config"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", at("generated"))
        .env("RABBITMQ_SCHEMA_DIR", at("schema"))
        .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
        .env("RABBITMQ_LOG_BASE", at("log"))
        .env("RABBITMQ_PID_FILE", at("rabbitmq.pid"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"))
        .env("RABBITMQ_PLUGINS_EXPAND_DIR", at("plugins"))
        // No busy waiting: the cores are for the tests.
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none",
        )
        // Makes the start script become the Erlang node instead of standing between it and us.
        .env("RUNNING_UNDER_SYSTEMD", "true"))
}

/// The limits are far below the defaults, which are shares of the whole machine.
fn configuration(port: u16) -> String {
    format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\n\
         num_acceptors.tcp = 2\n\
         log.file = false\n\
         log.console = true\n\
         log.console.level = info\n\
         disk_free_limit.absolute = 50MB\n\
         vm_memory_high_watermark.absolute = 512MB\n"
    )
}

/// A broker answers the protocol header with a method frame, whose first byte is 1; one that is not ready yet does not
/// listen, and one that speaks another version answers with a header of its own.
fn speaks_amqp(port: u16) -> bool {
    let greet = || -> std::io::Result<u8> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        connection.set_read_timeout(Some(ANSWER_WITHIN))?;
        connection.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0; 1];
        connection.read_exact(&mut first)?;
        Ok(first[0])
    };
    greet().is_ok_and(|first| first == 1)
}
