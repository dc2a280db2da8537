//! The options of the demo, and of the processes that it consists of.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use standoff_protocol::ports;

use super::values::{address, duration, positive};
use super::{Config, Log, Look};

#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) _config: Config,
    /// Print the alert as a JSON line and end, instead of opening the monitor. With --script: all alerts, each once.
    #[arg(long, env = "STANDOFF_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
    /// Use this RabbitMQ instead of the broker inside the demo. Needs --redis too.
    #[arg(
        long,
        value_name = "URL",
        env = "STANDOFF_AMQP",
        hide_env_values = true,
        requires = "redis"
    )]
    pub(crate) amqp: Option<String>,
    /// Use this Redis instead of the registry inside the demo. Needs --amqp too.
    #[arg(
        long,
        value_name = "URL",
        env = "STANDOFF_REDIS",
        hide_env_values = true,
        requires = "amqp"
    )]
    pub(crate) redis: Option<String>,
    /// Where the collector's HTTP API listens.
    #[arg(long, value_name = "ADDRESS", env = "STANDOFF_HTTP", default_value = ports::HTTP, value_parser = address)]
    pub(crate) http: SocketAddr,
    /// Where the native stream listens.
    #[arg(long, value_name = "ADDRESS", env = "STANDOFF_STREAM", default_value = ports::STREAM, value_parser = address)]
    pub(crate) stream: SocketAddr,
    /// Replicas of each service. With one, the deadlock goes through the exhausted queue.
    #[arg(long, value_name = "N", env = "STANDOFF_REPLICAS", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) replicas: u8,
    /// After how long callers give up.
    #[arg(long, value_name = "TIME", env = "STANDOFF_TIMEOUT", default_value = "5s", value_parser = positive)]
    pub(crate) timeout: Duration,
    /// How long a call must have been open to be reported.
    #[arg(long, value_name = "TIME", env = "STANDOFF_REPORT_AFTER", default_value = "20ms", value_parser = duration)]
    pub(crate) report_after: Duration,
    /// Run the healthy twin: the same requests without the one that deadlocks. Expects no alert.
    #[arg(long, env = "STANDOFF_HEALTHY", conflicts_with = "script", value_parser = BoolishValueParser::new())]
    pub(crate) healthy: bool,
    #[command(flatten)]
    pub(crate) script: Script,
    #[command(flatten)]
    pub(crate) look: Look,
}

/// A wait pattern to run instead of the two services.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scripts")]
pub(crate) struct Script {
    /// Run this wait pattern, for instance `x: A{B{A}}`, with a real server for each name, print what deadlocks, and end:
    /// with exit code 1 if anything did. See docs/scripts.md.
    #[arg(long, value_name = "TEXT", env = "STANDOFF_SCRIPT")]
    pub(crate) script: Option<String>,
    /// So many times as long: all work, and all late starts. Timeouts stay.
    #[arg(long, value_name = "N", env = "STANDOFF_SCALE", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) scale: u32,
    /// End after this long, even if the clients have not ended.
    #[arg(long = "for", value_name = "TIME", env = "STANDOFF_FOR", value_parser = positive)]
    pub(crate) at_most: Option<Duration>,
    /// Make every server a process of its own, not only those that crash.
    #[arg(long, env = "STANDOFF_PROCESSES", value_parser = BoolishValueParser::new())]
    pub(crate) processes: bool,
    /// Put a relay between the servers and the collector.
    #[arg(long, env = "STANDOFF_RELAY", value_parser = BoolishValueParser::new())]
    pub(crate) relay: bool,
    /// Report to the native stream of a collector or relay elsewhere, instead of a collector in this process.
    #[arg(long, value_name = "URL", env = "STANDOFF_UPSTREAM")]
    pub(crate) upstream: Option<String>,
    /// With --upstream: the HTTP API of the collector that it leads to.
    #[arg(long, value_name = "URL", env = "STANDOFF_URL", default_value_t = format!("http://{}", ports::HTTP))]
    pub(crate) url: String,
}

/// One server of a script.
#[derive(Debug, Args)]
pub(crate) struct ScriptServer {
    #[command(flatten)]
    pub(crate) _config: Config,
    /// The script.
    #[arg(long, value_name = "TEXT", env = "STANDOFF_SCRIPT")]
    pub(crate) script: String,
    /// So many times as long: all work, and all late starts.
    #[arg(long, value_name = "N", env = "STANDOFF_SCALE", default_value_t = 1)]
    pub(crate) scale: u32,
    /// The name of the server.
    #[arg(long, value_name = "NAME", env = "STANDOFF_SERVER")]
    pub(crate) server: String,
    /// Where to report.
    #[arg(long, value_name = "URL", env = "STANDOFF_UPSTREAM")]
    pub(crate) upstream: String,
    /// How long a call must have been open to be reported.
    #[arg(long, value_name = "TIME", env = "STANDOFF_REPORT_AFTER", value_parser = duration)]
    pub(crate) report_after: Duration,
}

/// A replica of one of the demo's services.
#[derive(Debug, Args)]
pub(crate) struct Service {
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// The name of this replica, unique among all. Without it, the service's name and a random number.
    #[arg(
        long,
        value_name = "NAME",
        env = "STANDOFF_INSTANCE_ID",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) instance_id: String,
    /// Where this replica takes calls from the other replicas of its service.
    #[arg(long, value_name = "ADDRESS", env = "STANDOFF_LISTEN", default_value = "127.0.0.1:0", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Where the others find it, if not where it listens.
    #[arg(long, value_name = "HOST:PORT", env = "STANDOFF_ADVERTISE")]
    pub(crate) advertise: Option<String>,
    /// Where a server process that is not running yet is started.
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        env = "STANDOFF_PLACEMENT",
        default_value = "random"
    )]
    pub(crate) placement: Placement,
    #[command(flatten)]
    pub(crate) log: Log,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Placement {
    /// On the replica that its id chooses.
    Deterministic,
    /// On any replica.
    Random,
}

/// The servers that the demo's processes share.
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    #[command(flatten)]
    pub(crate) _config: Config,
    /// The message broker.
    #[arg(
        long,
        value_name = "URL",
        env = "STANDOFF_AMQP",
        hide_env_values = true,
        default_value = "amqp://127.0.0.1:5672"
    )]
    pub(crate) amqp: String,
    /// The registry of nodes and server processes.
    #[arg(
        long,
        value_name = "URL",
        env = "STANDOFF_REDIS",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:6379"
    )]
    pub(crate) redis: String,
    /// Put before the names of all queues and keys, so that several demos can share their servers.
    #[arg(long, value_name = "TEXT", env = "STANDOFF_PREFIX", default_value = "standoff-demo:")]
    pub(crate) prefix: String,
    /// Where to report: a collector's native stream.
    #[arg(long, value_name = "URL", env = "STANDOFF_UPSTREAM", default_value_t = format!("http://{}", ports::STREAM))]
    pub(crate) upstream: String,
    /// How long a call must have been open to be reported.
    #[arg(long, value_name = "TIME", env = "STANDOFF_REPORT_AFTER", default_value = "20ms", value_parser = duration)]
    pub(crate) report_after: Duration,
    /// After how long callers give up.
    #[arg(long, value_name = "TIME", env = "STANDOFF_TIMEOUT", default_value = "5s", value_parser = positive)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Request {
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// The ids to ask for, all at once. 42 deadlocks.
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<i64>,
    #[command(flatten)]
    pub(crate) log: Log,
}
