//! The options of what measures standoff.

mod ingest;

use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::Config;
use super::values::duration;

pub(crate) use self::ingest::{Compression, Ingest, IngestSink, Protocol, Sink, Subject};

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
    /// How many spans a collector takes in a second of the processor's time, beside a bare sink and other servers.
    Ingest(Ingest),
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
