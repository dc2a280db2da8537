//! `standoff bench`: figures about standoff, measured on the real thing.

pub(super) mod ingest;
mod process;
mod rebuild;
pub(super) mod relay;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use standoff_agent::{Agent, Spans};
use standoff_collector::{Settings, Times};
use standoff_protocol::api::{AlertState, Snapshot, Stats, events};

use super::collector;
use crate::cli::Delay;
use crate::exit::Exit;
use crate::watch::Watch;

pub(super) use rebuild::rebuild;

/// An alert that has not come by then will not come.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// Makes deadlocks of two instances, and measures from just before the call that closes the cycle to the moment when a
/// reader of the API's events has the firing alert in hand. Different settings take turns, so that both see the same
/// machine.
pub(super) async fn delay(options: Delay) -> anyhow::Result<Exit> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = Settings {
        http: any_port,
        stream: any_port,
        otlp_grpc: None,
        otlp_http: None,
        data_dir: None,
        times: Times::default(),
    };
    let collector = collector::start(settings).await?;
    let mut upstream = format!("http://{}", collector.stream());
    let relay = if options.relay {
        let relay = relay::within(&upstream).await?;
        upstream = format!("http://{}", relay.stream());
        Some(relay)
    } else {
        None
    };
    let mut watch = Watch::open(&format!("http://{}", collector.http())).await?;
    let mut series = Vec::new();
    for (number, report_after) in options.report_after.iter().enumerate() {
        let a = instance(&upstream, &format!("a{number}"), *report_after)?;
        let b = instance(&upstream, &format!("b{number}"), *report_after)?;
        series.push(Series {
            a,
            b,
            name: format!("{} ms", report_after.as_secs_f64() * 1000.0),
            delays: Vec::new(),
        });
    }
    for _ in 0..options.runs {
        for one in &mut series {
            let delay = one.deadlock(&mut watch).await?;
            one.delays.push(delay);
        }
    }
    let mut out = std::io::stdout();
    writeln!(
        out,
        "closing call to firing alert, {} deadlocks each, in ms",
        options.runs
    )?;
    writeln!(
        out,
        "{:>13} {:>8} {:>8} {:>8} {:>8}",
        "report-after", "least", "median", "p99", "worst"
    )?;
    for one in &mut series {
        one.delays.sort();
        let [least, median, p99, worst] = [0, 50, 99, 100].map(|percent| one.percentile(percent));
        writeln!(
            out,
            "{:>13} {least:>8.1} {median:>8.1} {p99:>8.1} {worst:>8.1}",
            one.name
        )?;
    }
    for one in series {
        one.a.agent.shutdown();
        one.b.agent.shutdown();
    }
    if let Some(relay) = relay {
        relay.stop().await;
    }
    collector.stop().await;
    Ok(Exit::Well)
}

/// Two instances that call each other, and what was measured of them.
struct Series {
    a: Instance,
    b: Instance,
    name: String,
    delays: Vec<Duration>,
}

struct Instance {
    agent: Agent,
    spans: Spans,
    resource: String,
    _provider: SdkTracerProvider,
}

fn instance(upstream: &str, name: &str, report_after: Duration) -> anyhow::Result<Instance> {
    let agent = Agent::builder().upstream(upstream).report_after(report_after).start()?;
    let resource = Resource::builder_empty()
        .with_attributes([
            opentelemetry::KeyValue::new("service.name", name.to_owned()),
            opentelemetry::KeyValue::new("service.instance.id", name.to_owned()),
        ])
        .build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(agent.processor())
        .build();
    let spans = Spans::new(&provider);
    Ok(Instance {
        agent,
        spans,
        resource: format!("bench {name}"),
        _provider: provider,
    })
}

impl Series {
    /// A's turn calls B, whose turn calls A.
    async fn deadlock(&self, watch: &mut Watch) -> anyhow::Result<Duration> {
        let (a, b) = (&self.a, &self.b);
        let turn_of_a = a.spans.handle("turn").resource(&a.resource).start();
        let call_of_a = a.spans.call(&b.resource).parent(turn_of_a.context()).start();
        let turn_of_b = b
            .spans
            .handle("turn")
            .resource(&b.resource)
            .parent(&remote(call_of_a.context()))
            .start();
        let closing = Instant::now();
        let call_of_b = b.spans.call(&a.resource).parent(turn_of_b.context()).start();
        tokio::time::timeout(GIVE_UP_AFTER, watch.next(AlertState::Firing))
            .await
            .context("the alert did not fire")??;
        let delay = closing.elapsed();
        for span in [call_of_b, turn_of_b, call_of_a, turn_of_a] {
            span.end();
        }
        tokio::time::timeout(GIVE_UP_AFTER, watch.next(AlertState::Resolved))
            .await
            .context("it was not resolved")??;
        Ok(delay)
    }

    /// In milliseconds. The delays must be sorted.
    fn percentile(&self, percent: usize) -> f64 {
        let index = (self.delays.len() * percent).div_ceil(100).saturating_sub(1);
        self.delays
            .get(index)
            .map_or(f64::NAN, |delay| delay.as_secs_f64() * 1e3)
    }
}

/// What a collector sees just now: its events begin with that.
async fn stats(url: &str) -> anyhow::Result<Stats> {
    let answer = reqwest::get(format!("{url}/api/v1/events")).await?.error_for_status()?;
    let mut told = answer.bytes_stream().eventsource();
    while let Some(event) = told.next().await {
        let event = event.context("the collector's events broke off")?;
        if event.event == events::SNAPSHOT {
            return Ok(serde_json::from_str::<Snapshot>(&event.data)?.stats);
        }
    }
    bail!("the collector has ended its events")
}

/// The context as another process sees it.
fn remote(context: &opentelemetry::Context) -> opentelemetry::Context {
    let mut headers = std::collections::HashMap::new();
    standoff_agent::propagation::inject(context, &mut headers);
    standoff_agent::propagation::extract(&headers)
}
