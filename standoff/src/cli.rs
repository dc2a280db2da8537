//! The command line. Names and defaults are those of `docs/operations.md`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser};
use standoff_protocol::ports;

/// Finds distributed deadlocks while they are happening, and says who waits for whom.
#[derive(Debug, Parser)]
#[command(name = "standoff", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) subcommand: Subcommand,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subcommand {
    /// Show a real deadlock being caught: two services, a collector and the monitor in one process.
    Demo(Demo),
    /// Run a collector.
    Collector(Collector),
    /// Run a relay: it takes the streams of this host's services and passes them on to collectors.
    Agent(Agent),
    /// Watch a collector in the terminal.
    Tui(Tui),
    /// Run a replica of the demo's ServiceA, over RabbitMQ and Redis.
    ServiceA(Service),
    /// Run a replica of the demo's ServiceB, over RabbitMQ and Redis.
    ServiceB(Service),
    /// Run one server of a script, over standard input and output: what `demo --script` starts for servers that are
    /// processes of their own.
    #[command(hide = true)]
    ScriptServer(ScriptServer),
    /// Send requests to the demo's ServiceA, and print the replies.
    Request(Request),
    /// Measure standoff itself.
    Bench(Bench),
}

/// A file with defaults for the options. Read before everything else, see [`crate::config`].
#[derive(Debug, Args)]
pub(crate) struct Config {
    /// A TOML file with a table for each subcommand, whose keys are its long options.
    #[arg(long = "config", value_name = "FILE", env = "STANDOFF_CONFIG")]
    pub(crate) _file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Collector {
    #[command(flatten)]
    pub(crate) _config: Config,
    /// Where the HTTP API listens.
    #[arg(long, value_name = "ADDRESS", env = "STANDOFF_HTTP", default_value = ports::HTTP, value_parser = address)]
    pub(crate) http: SocketAddr,
    /// Where the native stream listens.
    #[arg(long, value_name = "ADDRESS", env = "STANDOFF_STREAM", default_value = ports::STREAM, value_parser = address)]
    pub(crate) stream: SocketAddr,
    /// Where to keep what must survive a restart: the instances that are to be heard of before a pool is believed exhausted.
    #[arg(long, value_name = "FOLDER", env = "STANDOFF_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How often instances must give a sign of life.
    #[arg(long, value_name = "TIME", env = "STANDOFF_HEARTBEAT", default_value = "1s", value_parser = positive)]
    pub(crate) heartbeat: Duration,
    /// How long an instance is believed alive without one.
    #[arg(long, value_name = "TIME", env = "STANDOFF_LEASE", default_value = "3s", value_parser = positive)]
    pub(crate) lease: Duration,
    /// How old the queued calls of a deadlock must be where another server may just be joining.
    #[arg(long, value_name = "TIME", env = "STANDOFF_POOL_SETTLE", default_value = "250ms", value_parser = duration)]
    pub(crate) pool_settle: Duration,
    /// After how long an unanswered probe is repeated.
    #[arg(long, value_name = "TIME", env = "STANDOFF_PROBE_TIMEOUT", default_value = "500ms", value_parser = positive)]
    pub(crate) probe_timeout: Duration,
    /// After how long a silent instance is taken to be gone.
    #[arg(long, value_name = "TIME", env = "STANDOFF_FORGET_AFTER", default_value = "10m", value_parser = positive)]
    pub(crate) forget_after: Duration,
    #[command(flatten)]
    pub(crate) log: Log,
}

#[derive(Debug, Args)]
pub(crate) struct Agent {
    #[command(flatten)]
    pub(crate) _config: Config,
    /// Where services find the relay.
    #[arg(long, value_name = "ADDRESS", env = "STANDOFF_STREAM", default_value = ports::STREAM, value_parser = address)]
    pub(crate) stream: SocketAddr,
    /// The native streams of the collectors, with commas between them or one by one. Each gets everything.
    #[arg(long, value_name = "URL", env = "STANDOFF_UPSTREAM", value_delimiter = ',', default_values_t = [format!("http://{}", ports::STREAM)])]
    pub(crate) upstream: Vec<String>,
    /// Where the status page and the metrics are, or `off`.
    #[arg(long, value_name = "ADDRESS", env = "STANDOFF_HTTP", default_value = ports::RELAY_HTTP, value_parser = address_or_off)]
    pub(crate) http: MaybeAddress,
    /// What collectors call the relay. Without it, the name of the host.
    #[arg(
        long,
        value_name = "TEXT",
        env = "STANDOFF_NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) name: String,
    /// How often to give a sign of life, and to want one of services, unless a collector wants it more often.
    #[arg(long, value_name = "TIME", env = "STANDOFF_HEARTBEAT", default_value = "1s", value_parser = positive)]
    pub(crate) heartbeat: Duration,
    /// How long an instance that does not say so itself is believed alive without one.
    #[arg(long, value_name = "TIME", env = "STANDOFF_LEASE", default_value = "3s", value_parser = positive)]
    pub(crate) lease: Duration,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// An address, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaybeAddress(pub(crate) Option<SocketAddr>);

/// How to log.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// What to log, in the notation of tracing's `EnvFilter`.
    #[arg(long = "log", value_name = "FILTER", env = "STANDOFF_LOG", default_value = "info")]
    pub(crate) filter: String,
    /// Log as JSON lines.
    #[arg(long = "log-json", env = "STANDOFF_LOG_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tui {
    #[command(flatten)]
    pub(crate) _config: Config,
    /// The collector's HTTP API.
    #[arg(long, value_name = "URL", env = "STANDOFF_URL", default_value_t = format!("http://{}", ports::HTTP))]
    pub(crate) url: String,
    /// Print the firing alerts and end: with exit code 1 if there are any.
    #[arg(long, env = "STANDOFF_ONCE", value_parser = BoolishValueParser::new())]
    pub(crate) once: bool,
    /// Print the API's own JSON and end, as --once does.
    #[arg(long, env = "STANDOFF_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) look: Look,
}

/// How the monitor looks.
#[derive(Debug, Args)]
pub(crate) struct Look {
    /// Whether to use colours. `auto`: if it is a terminal and NO_COLOR is not set.
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        env = "STANDOFF_COLOR",
        default_value = "auto"
    )]
    pub(crate) color: Color,
    /// Draw with ASCII characters only.
    #[arg(long, env = "STANDOFF_ASCII_ONLY", value_parser = BoolishValueParser::new())]
    pub(crate) ascii_only: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

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

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) what: BenchWhat,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum BenchWhat {
    /// The time from the call that closes a cycle to the firing alert, as a reader of the API's events sees it.
    Delay(Delay),
    /// The time from a collector's return until it knows again what is open everywhere, and until its alerts fire again.
    Rebuild(Rebuild),
    /// The memory of a relay with many open calls, and how soon a collector knows them all.
    Relay(RelayBench),
}

#[derive(Debug, Args)]
pub(crate) struct RelayBench {
    #[command(flatten)]
    pub(crate) _config: Config,
    /// How many calls to open.
    #[arg(long, value_name = "N", env = "STANDOFF_CALLS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) calls: u32,
    /// Of how many instances. Each keeps 262,144 at most.
    #[arg(long, value_name = "N", env = "STANDOFF_INSTANCES", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) instances: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Delay {
    #[command(flatten)]
    pub(crate) _config: Config,
    /// How many deadlocks to make.
    #[arg(long, value_name = "N", env = "STANDOFF_RUNS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) runs: u32,
    /// How long a call must have been open to be reported. Several, with commas between them, are measured side by side.
    #[arg(long, value_name = "TIME", env = "STANDOFF_REPORT_AFTER", value_delimiter = ',', default_values = ["20ms", "0"], value_parser = duration)]
    pub(crate) report_after: Vec<Duration>,
    /// Put a relay between the services and the collector.
    #[arg(long, env = "STANDOFF_RELAY", value_parser = BoolishValueParser::new())]
    pub(crate) relay: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    #[command(flatten)]
    pub(crate) _config: Config,
    /// How many calls are open, in all instances together.
    #[arg(long, value_name = "N", env = "STANDOFF_WAITS", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) waits: u32,
    /// How many instances there are, each with a connection of its own.
    #[arg(long, value_name = "N", env = "STANDOFF_INSTANCES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(3..=1000))]
    pub(crate) instances: u32,
    /// How many deadlocks there are among the calls, of two each.
    #[arg(long, value_name = "N", env = "STANDOFF_DEADLOCKS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) deadlocks: u32,
    /// How often the collector goes away and returns.
    #[arg(long, value_name = "N", env = "STANDOFF_RUNS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,
    /// How long it stays away. After two seconds the library's waits between attempts are as long as they get.
    #[arg(long, value_name = "TIME", env = "STANDOFF_AWAY", default_value = "2s", value_parser = duration)]
    pub(crate) away: Duration,
    /// How long a call must have been open to be reported.
    #[arg(long, value_name = "TIME", env = "STANDOFF_REPORT_AFTER", default_value = "20ms", value_parser = duration)]
    pub(crate) report_after: Duration,
}

/// Times as people write them: `20ms`, `1.5s`, `10m`; `0` needs no unit.
fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|it| Duration::try_from(it).ok())
        .ok_or_else(|| "a time is a number with a unit: 20ms, 5s, 10m".to_owned())
}

/// A time that makes no sense as nothing.
fn positive(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        other => other,
    }
}

/// Names of hosts are not looked up: what listens must be where it says.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "an address is an IP address with a port: 127.0.0.1:4380, [::1]:4380".to_owned())
}

fn address_or_off(text: &str) -> Result<MaybeAddress, String> {
    match text {
        "off" => Ok(MaybeAddress(None)),
        text => address(text)
            .map(|it| MaybeAddress(Some(it)))
            .map_err(|error| format!("{error}, or `off`")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_has_its_variable() {
        fn check(command: &clap::Command) {
            let options = command.get_arguments().filter_map(|arg| Some((arg, arg.get_long()?)));
            for (arg, long) in options {
                let variable = format!("STANDOFF_{}", long.replace('-', "_").to_uppercase());
                assert_eq!(
                    arg.get_env(),
                    Some(variable.as_ref()),
                    "{} --{long}",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn addresses_have_a_port() {
        assert_eq!(address("[::1]:7").map(|it| it.port()), Ok(7));
        for wrong in ["127.0.0.1", "localhost:4380", ":4380", ""] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn some_addresses_may_be_off() {
        assert_eq!(address_or_off("off"), Ok(MaybeAddress(None)));
        assert_eq!(address_or_off("127.0.0.1:7").map(|it| it.0.is_some()), Ok(true));
        assert!(address_or_off("of").is_err());
    }

    #[test]
    fn upstreams_are_a_list() {
        let cli = Cli::parse_from([
            "standoff",
            "agent",
            "--upstream",
            "http://a:1,http://b:2",
            "--upstream=http://c:3",
        ]);
        let Subcommand::Agent(options) = cli.subcommand else {
            panic!("not the relay")
        };
        assert_eq!(options.upstream, ["http://a:1", "http://b:2", "http://c:3"]);
    }

    #[test]
    fn times_are_written_with_a_unit() {
        assert_eq!(positive("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(positive("0").is_err());
        assert_eq!(duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["20", "-1s", "soon", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
