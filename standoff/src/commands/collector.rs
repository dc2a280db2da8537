//! `standoff collector`.

use standoff_collector::{Collector, Settings, StartError, Times};

use super::{asked_to_end, log};
use crate::cli;
use crate::exit::{Exit, Failure};

pub(super) async fn run(options: cli::Collector) -> anyhow::Result<Exit> {
    log(&options.log)?;
    if options.lease <= options.heartbeat {
        return Err(Failure::Usage(
            "--lease must be longer than --heartbeat, or every instance is silent between two".into(),
        )
        .into());
    }
    let end = asked_to_end()?;
    let times = Times {
        heartbeat: options.heartbeat,
        lease: options.lease,
        pool_settle: options.pool_settle,
        probe_timeout: options.probe_timeout,
        forget_after: options.forget_after,
        settle: options.settle,
        max_open: options.otlp.max_open,
    };
    let settings = Settings {
        http: options.http,
        stream: options.stream,
        otlp_grpc: options.otlp.otlp_grpc.0,
        otlp_http: options.otlp.otlp_http.0,
        data_dir: options.data_dir,
        times,
    };
    let collector = start(settings).await?;
    end.cancelled().await;
    collector.stop().await;
    Ok(Exit::Well)
}

/// Starts a collector; an address that cannot be used is a mistake of the command line.
pub(super) async fn start(settings: Settings) -> anyhow::Result<Collector> {
    Collector::start(settings).await.map_err(|error| match error {
        StartError::Listen { .. } | StartError::NotLoopback { .. } => {
            let cause = std::error::Error::source(&error)
                .map(|it| format!(": {it}"))
                .unwrap_or_default();
            Failure::Usage(format!("{error}{cause}")).into()
        }
        StartError::Thread(_) => anyhow::Error::new(error),
    })
}
