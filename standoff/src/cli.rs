//! The command line. Names and defaults are those of `docs/operations.md`.

mod bench;
mod demo;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser};
use standoff_protocol::ports;

pub(crate) use self::bench::{
    Bench, BenchWhat, Compression, Delay, Ingest, IngestSink, Protocol, Rebuild, RelayBench, Sink, Subject,
};
pub(crate) use self::demo::{Cluster, Demo, Placement, Request, ScriptServer, Service};
pub(crate) use self::values::MaybeAddress;
use self::values::{address, address_or_off, duration, positive};

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
    /// Take requests and drop what they say: what `bench ingest` compares a collector with.
    #[command(hide = true)]
    IngestSink(IngestSink),
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
    /// How long a deadlock must have lasted where somebody of it takes part with OTLP only, and cannot be asked.
    #[arg(long, value_name = "TIME", env = "STANDOFF_SETTLE", default_value = "1s", value_parser = positive)]
    pub(crate) settle: Duration,
    #[command(flatten)]
    pub(crate) otlp: Otlp,
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
    pub(crate) otlp: Otlp,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// Where services report that take part with OpenTelemetry's protocol.
#[derive(Debug, Args)]
pub(crate) struct Otlp {
    /// Where OTLP over gRPC listens, or `off`.
    #[arg(long, value_name = "ADDRESS", env = "STANDOFF_OTLP_GRPC", default_value = ports::OTLP_GRPC, value_parser = address_or_off)]
    pub(crate) otlp_grpc: MaybeAddress,
    /// Where OTLP over HTTP listens, or `off`.
    #[arg(long, value_name = "ADDRESS", env = "STANDOFF_OTLP_HTTP", default_value = ports::OTLP_HTTP, value_parser = address_or_off)]
    pub(crate) otlp_http: MaybeAddress,
    /// How long a span is believed open of which OTLP told the start, if nothing is said of it any more.
    #[arg(long, value_name = "TIME", env = "STANDOFF_MAX_OPEN", default_value = "10m", value_parser = positive)]
    pub(crate) max_open: Duration,
}

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
}
