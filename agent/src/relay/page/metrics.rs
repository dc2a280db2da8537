//! The same in Prometheus' text form. Labels are what the configuration or this file names, so their number is bounded.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::super::core::{Presence, UpstreamStatus};
use super::{OfOtlp, Status, presence};

const PREFIX: &str = "standoff_relay";

/// All metrics as text.
pub(super) fn text(upstreams: &[String], status: Status, otlp: OfOtlp) -> Result<String, Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Metrics {
        upstreams: upstreams.to_vec(),
        status,
        otlp,
    }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Metrics {
    upstreams: Vec<String>,
    status: Status,
    otlp: OfOtlp,
}

/// A metric with one label, or none.
struct Metric<'a> {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: Vec<(&'a str, u64)>,
}

impl Metric<'_> {
    fn write(&self, encoder: &mut DescriptorEncoder<'_>, kind: MetricType) -> Result<(), Error> {
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        for (value, number) in &self.values {
            let label = [(self.label, *value)];
            let is_counter = matches!(kind, MetricType::Counter);
            match (self.label.is_empty(), is_counter) {
                (true, true) => return ConstCounter::new(*number).encode(metric),
                (true, false) => return ConstGauge::new(number.cast_signed()).encode(metric),
                (false, true) => ConstCounter::new(*number).encode(metric.encode_family(&label)?)?,
                (false, false) => ConstGauge::new(number.cast_signed()).encode(metric.encode_family(&label)?)?,
            }
        }
        Ok(())
    }
}

fn plain(name: &'static str, help: &'static str, number: u64) -> Metric<'static> {
    Metric {
        name,
        help,
        label: "",
        values: vec![("", number)],
    }
}

impl Metrics {
    fn of_upstreams(
        &self,
        name: &'static str,
        help: &'static str,
        value: impl Fn(&UpstreamStatus) -> u64,
    ) -> Metric<'_> {
        let upstreams = self.upstreams.iter().zip(&self.status.upstreams);
        Metric {
            name,
            help,
            label: "upstream",
            values: upstreams.map(|(name, it)| (name.as_str(), value(it))).collect(),
        }
    }

    fn gauges(&self) -> Vec<Metric<'_>> {
        let states = [Presence::Present, Presence::Syncing, Presence::Silent, Presence::Lost];
        let count = |state| self.status.instances.iter().filter(|it| it.presence == state).count() as u64;
        vec![
            Metric {
                name: "instances",
                help: "Instances that the relay knows",
                label: "state",
                values: states.map(|state| (presence(state), count(state))).to_vec(),
            },
            plain("open_spans", "Open spans that are kept", self.status.open_spans as u64),
            plain(
                "open_bytes",
                "About how many bytes they take",
                self.status.open_bytes as u64,
            ),
            plain(
                "ended_kept",
                "Ended spans of instances that cannot be asked that are kept",
                self.status.ended_kept as u64,
            ),
            self.of_upstreams("upstream_connected", "Whether the upstream is connected", |it| {
                u64::from(it.is_connected)
            }),
            self.of_upstreams("channels", "Instances that the upstream is told of", |it| {
                it.channels as u64
            }),
            self.of_upstreams("probes_in_flight", "Probes that have not been answered", |it| {
                it.probes_in_flight as u64
            }),
        ]
    }

    fn counters(&self) -> Vec<Metric<'_>> {
        let status = &self.status;
        vec![
            Metric {
                name: "events_in",
                help: "Starts and ends that instances have told",
                label: "kind",
                values: vec![
                    ("started", status.started_total),
                    ("finished", status.finished_total),
                    ("ended", status.ended_total),
                ],
            },
            Metric {
                name: "events_dropped",
                help: "Events that were dropped",
                label: "cause",
                values: vec![("relay_spans", status.dropped_total)],
            },
            plain(
                "gaps",
                "Batches that were missing when the next one came",
                status.gaps_total,
            ),
            plain(
                "instances_refused",
                "Instances that there was no room for",
                status.refused_total,
            ),
            self.of_upstreams("started_out", "Starts sent, those in open sets included", |it| {
                it.counts.started
            }),
            self.of_upstreams("finished_out", "Ends sent", |it| it.counts.finished),
            self.of_upstreams(
                "ended_out",
                "Ended spans of instances that cannot be asked, sent",
                |it| it.counts.ended,
            ),
            self.of_upstreams("ended_dropped", "Such that there was no room for", |it| {
                it.counts.ended_dropped
            }),
            self.of_upstreams("upstream_sessions", "Connections to the upstream", |it| {
                it.counts.sessions
            }),
            self.of_upstreams(
                "upstream_stuck",
                "Connections that were ended because the upstream took nothing",
                |it| it.counts.stuck,
            ),
            self.of_upstreams("resyncs", "Open sets sent because the upstream asked", |it| {
                it.counts.resyncs
            }),
            self.of_upstreams("overflows", "Open sets sent because too many ends were waiting", |it| {
                it.counts.overflows
            }),
            self.of_upstreams("channels_refused", "Channels that the upstream has refused", |it| {
                it.counts.refused
            }),
            self.of_upstreams("probes", "Probes passed on", |it| it.counts.probes),
            self.of_upstreams(
                "probes_dropped",
                "Probes that could not be passed on or not be answered",
                |it| it.counts.probes_dropped,
            ),
        ]
    }
}

impl Metrics {
    fn gauges_of_otlp(&self) -> Vec<Metric<'_>> {
        let Some((receiver, sources)) = &self.otlp else {
            return Vec::new();
        };
        vec![
            plain("otlp_sources", "Sources of OTLP that are known", sources.sources),
            plain("otlp_open_spans", "Open spans of which OTLP told", sources.open),
            plain(
                "otlp_memory_bytes",
                "Memory of requests that are being received or wait",
                receiver.memory_bytes,
            ),
        ]
    }

    fn counters_of_otlp(&self) -> Vec<Metric<'_>> {
        let Some((receiver, sources)) = &self.otlp else {
            return Vec::new();
        };
        vec![
            Metric {
                name: "otlp_requests",
                help: "Requests over OTLP: refused ones were told to come again, invalid ones were not",
                label: "result",
                values: vec![
                    ("accepted", receiver.accepted),
                    ("refused", receiver.refused),
                    ("invalid", receiver.invalid),
                ],
            },
            Metric {
                name: "otlp_spans",
                help: "Spans in accepted requests",
                label: "kind",
                values: vec![
                    ("started", receiver.spans_started),
                    ("finished", receiver.spans_finished),
                    ("rejected", receiver.spans_rejected),
                    ("refused", sources.refused_spans),
                ],
            },
            plain(
                "otlp_sources_refused",
                "How often there was no room for a source",
                sources.refused_sources,
            ),
            Metric {
                name: "otlp_expired",
                help: "Spans that are believed open no longer, though nobody said that they have ended",
                label: "cause",
                values: vec![
                    ("timeout", sources.ended_by_timeout),
                    ("max_open", sources.ended_by_max_open),
                    ("missed_heartbeats", sources.ended_by_missed_heartbeats),
                ],
            },
        ]
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        for metric in self.gauges().into_iter().chain(self.gauges_of_otlp()) {
            metric.write(&mut encoder, MetricType::Gauge)?;
        }
        for metric in self.counters().into_iter().chain(self.counters_of_otlp()) {
            metric.write(&mut encoder, MetricType::Counter)?;
        }
        Ok(())
    }
}
