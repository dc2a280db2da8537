//! What each subcommand does: starts the parts it needs, and waits.

mod agent;
mod bench;
mod collector;
mod demo;
mod services;
mod tui;

use std::io::IsTerminal;

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::cli::{BenchWhat, Cli, Log, Subcommand};
use crate::exit::{Exit, Failure};
use crate::lines::{self, Lines};

/// Runs the subcommand to its end.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Exit> {
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let exit = runtime.block_on(async {
        match cli.subcommand {
            Subcommand::Demo(options) => demo::run(options).await,
            Subcommand::Collector(options) => collector::run(options).await,
            Subcommand::Agent(options) => agent::run(options).await,
            Subcommand::Tui(options) => tui::run(options).await,
            Subcommand::ServiceA(options) => services::service_a(options).await,
            Subcommand::ServiceB(options) => services::service_b(options).await,
            Subcommand::ScriptServer(options) => demo::serve(options).await,
            Subcommand::Request(options) => services::request(options).await,
            Subcommand::IngestSink(options) => bench::ingest::sink(options).await,
            Subcommand::Bench(options) => match options.what {
                BenchWhat::Delay(options) => bench::delay(options).await,
                BenchWhat::Relay(options) => bench::relay::run(options).await,
                BenchWhat::Rebuild(options) => bench::rebuild(options).await,
                BenchWhat::Ingest(options) => bench::ingest::run(options).await,
            },
        }
    });
    // A thread that is stuck in a terminal read must not keep the process.
    runtime.shutdown_background();
    lines::finish();
    exit
}

/// Silent unless asked for by name: lapin logs each attempt to connect, of which the broker reports the first.
const UNLESS_NAMED: &str = "lapin=off,io_loop=off";

/// Logs to standard error.
fn log(options: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{UNLESS_NAMED},{}", options.filter))
        .map_err(|error| Failure::Usage(format!("--log {:?} is not a filter: {error}", options.filter)))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines::to_standard_error(options.json)?)
        // To say that a line could not be formatted would be to write to the same place.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let installed = if options.json {
        subscriber.json().try_init()
    } else {
        subscriber.try_init()
    };
    installed.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// Cancelled when the process is asked to end, by Ctrl-C or SIGTERM.
fn asked_to_end() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let asked = token.clone();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("cannot listen for signals")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        asked.cancel();
    });
    Ok(token)
}
