//! `standoff agent`: the relay of a host.

use standoff_agent::relay::{Grpc, Relay, Settings, StartError, Upstream};

use super::{asked_to_end, log};
use crate::cli;
use crate::exit::{Exit, Failure};

/// Where Linux says what the host is called.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

pub(super) async fn run(options: cli::Agent) -> anyhow::Result<Exit> {
    log(&options.log)?;
    if options.lease <= options.heartbeat {
        return Err(Failure::Usage(
            "--lease must be longer than --heartbeat, or every instance is silent between two".into(),
        )
        .into());
    }
    let end = asked_to_end()?;
    let mut upstreams: Vec<Box<dyn Upstream>> = Vec::new();
    for url in &options.upstream {
        let upstream = Grpc::new(url).map_err(|error| Failure::Usage(format!("--upstream: {error}")))?;
        upstreams.push(Box::new(upstream));
    }
    let settings = Settings {
        stream: options.stream,
        http: options.http.0,
        otlp_grpc: options.otlp.otlp_grpc.0,
        otlp_http: options.otlp.otlp_http.0,
        name: name(options.name),
        heartbeat: options.heartbeat,
        lease: options.lease,
        max_open: options.otlp.max_open,
    };
    let relay = Relay::start(settings, upstreams).await.map_err(failure)?;
    end.cancelled().await;
    relay.stop().await;
    Ok(Exit::Well)
}

/// Every mistake that can be made here is one of the command line.
fn failure(error: StartError) -> Failure {
    let cause = std::error::Error::source(&error)
        .map(|it| format!(": {it}"))
        .unwrap_or_default();
    Failure::Usage(format!("{error}{cause}"))
}

fn name(given: String) -> String {
    if !given.is_empty() {
        return given;
    }
    let host = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    match host.trim() {
        "" => "relay".to_owned(),
        host => host.to_owned(),
    }
}
