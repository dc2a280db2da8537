//! `standoff service-a`, `service-b` and `request`: the demo's parts as processes of their own.

use std::io::Write;

use standoff_demo_services::cluster::Placement;
use standoff_demo_services::demo::{self, Config, ConfigError, RunError, Settings, StartError};

use super::{asked_to_end, log};
use crate::cli;
use crate::exit::{Exit, Failure};

pub(super) async fn service_a(options: cli::Service) -> anyhow::Result<Exit> {
    log(&options.log)?;
    demo::run_service_a(config(options), asked_to_end()?)
        .await
        .map_err(failure)?;
    Ok(Exit::Well)
}

pub(super) async fn service_b(options: cli::Service) -> anyhow::Result<Exit> {
    log(&options.log)?;
    demo::run_service_b(config(options), asked_to_end()?)
        .await
        .map_err(failure)?;
    Ok(Exit::Well)
}

/// Prints a line for each id: the result, or why there is none.
pub(super) async fn request(options: cli::Request) -> anyhow::Result<Exit> {
    log(&options.log)?;
    let results = demo::run_request(cluster(options.cluster), options.ids)
        .await
        .map_err(failure)?;
    let mut exit = Exit::Well;
    let mut out = std::io::stdout();
    for (id, result) in results {
        match result {
            Ok(result) => writeln!(out, "{id}: {result}")?,
            Err(error) => {
                writeln!(out, "{id}: {error}")?;
                exit = Exit::Found;
            }
        }
    }
    if exit == Exit::Found {
        let hint = "what has no reply may be deadlocked, which `standoff tui` shows, or no replica of service-a runs";
        writeln!(std::io::stderr(), "{hint}")?;
    }
    Ok(exit)
}

fn config(options: cli::Service) -> Config {
    let mut config = cluster(options.cluster);
    config.instance = options.instance_id;
    config.listen = options.listen;
    config.advertise = options.advertise;
    config.settings.placement = match options.placement {
        cli::Placement::Deterministic => Placement::Deterministic,
        cli::Placement::Random => Placement::Random,
    };
    config
}

fn cluster(options: cli::Cluster) -> Config {
    Config {
        amqp_url: options.amqp,
        redis_url: options.redis,
        prefix: options.prefix,
        settings: Settings {
            upstream: options.upstream,
            report_after: options.report_after,
            request_timeout: options.timeout,
            ..Settings::default()
        },
        ..Config::default()
    }
}

/// A setting that makes no sense is a mistake of the command line.
pub(super) fn failure(error: RunError) -> anyhow::Error {
    match error {
        RunError::Start(error) => start_failure(error),
        RunError::Unreachable(error) => {
            let flag = if error.server == "Redis" { "--redis" } else { "--amqp" };
            Failure::Unreachable(format!("{error}; start it there, or say with {flag} where it is")).into()
        }
    }
}

pub(super) fn start_failure(error: StartError) -> anyhow::Error {
    match error {
        StartError::Config(ConfigError { setting, value, reason }) => {
            let option = match setting {
                "amqp_url" => "--amqp",
                "redis_url" => "--redis",
                "request_timeout" => "--timeout",
                "listen" => "--listen",
                other => other,
            };
            Failure::Usage(format!("{option} is `{value}`: {reason}")).into()
        }
        StartError::Agent {
            source: standoff_agent::StartError::Upstream(url),
            ..
        } => Failure::Usage(format!(
            "--upstream is `{url}`, which is not of the form http://HOST:PORT"
        ))
        .into(),
        error @ (StartError::Agent { .. } | StartError::Replica { .. }) => error.into(),
    }
}
