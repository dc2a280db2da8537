//! What can be seen of a relay from outside.

use std::time::Duration;

use super::upstreams::Counts;
use super::{Core, UpstreamId};

/// All that a relay tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Oldest first.
    pub instances: Vec<InstanceStatus>,
    /// In the order in which they were named.
    pub upstreams: Vec<UpstreamStatus>,
    /// Open spans that are kept.
    pub open_spans: usize,
    /// About how much memory they take.
    pub open_bytes: usize,
    /// Ended spans of instances that cannot be asked that are kept.
    pub ended_kept: usize,
    /// Starts taken in since the relay started, those in open sets included.
    pub started_total: u64,
    /// Ends taken in.
    pub finished_total: u64,
    /// Ends taken in of spans of which nothing else was said, of instances that cannot be asked.
    pub ended_total: u64,
    /// Starts that there was no room for.
    pub dropped_total: u64,
    /// Batches that were missing when the next one came.
    pub gaps_total: u64,
    /// Instances that there was no room for.
    pub refused_total: u64,
}

/// What a relay knows of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceStatus {
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`.
    pub instance: String,
    /// Whether it answers no probes: what is known of it came over OTLP.
    pub cannot_be_asked: bool,
    /// Whether it is there.
    pub presence: Presence,
    /// How long ago it was heard of.
    pub heard_ago: Duration,
    /// Its open spans.
    pub open_spans: usize,
    /// Its starts that there was no room for.
    pub dropped: u64,
}

/// Whether an instance is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is connected, and its open set is known.
    Present,
    /// It is connected, and its open set is coming in.
    Syncing,
    /// It is connected, and was not heard of for its lease.
    Silent,
    /// It has lost its connection.
    Lost,
}

/// What a relay knows of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Whether there is a connection, and the upstream has said welcome.
    pub is_connected: bool,
    /// Instances that it is told of.
    pub channels: usize,
    /// Probes that have not been answered.
    pub probes_in_flight: usize,
    /// What it was told and asked.
    pub counts: Counts,
}

impl Core {
    /// What is known at `now`.
    #[must_use]
    pub fn status(&self, now: Duration) -> Status {
        let instances = self.instances.iter().map(|(_, it)| {
            let named = it.hello.instance.clone().unwrap_or_default();
            InstanceStatus {
                service: named.service_name,
                instance: named.instance_id,
                cannot_be_asked: it.hello.cannot_be_asked,
                presence: match it.connection {
                    None => Presence::Lost,
                    Some(_) if !it.is_present(now) => Presence::Silent,
                    Some(_) if it.is_whole() => Presence::Present,
                    Some(_) => Presence::Syncing,
                },
                heard_ago: now.saturating_sub(it.last_heard),
                open_spans: it.mirror.len(),
                dropped: it.dropped,
            }
        });
        let instances: Vec<InstanceStatus> = instances.collect();
        let upstreams = self.upstreams.iter().map(|it| UpstreamStatus {
            is_connected: it.link.as_ref().is_some_and(|link| link.is_welcome),
            channels: it.link.as_ref().map_or(0, super::upstreams::Link::channels),
            probes_in_flight: it.link.as_ref().map_or(0, super::upstreams::Link::probes_in_flight),
            counts: it.counts,
        });
        Status {
            upstreams: upstreams.collect(),
            open_spans: self.kept.spans,
            open_bytes: self.kept.bytes,
            ended_kept: self.kept.ended,
            started_total: self.started_total,
            finished_total: self.finished_total,
            ended_total: self.ended_total,
            dropped_total: self.dropped_before + instances.iter().map(|it| it.dropped).sum::<u64>(),
            gaps_total: self.gaps_total,
            refused_total: self.refused_total,
            instances,
        }
    }

    /// Whether this upstream is connected and has said welcome.
    #[must_use]
    pub fn is_welcome(&self, upstream: UpstreamId) -> bool {
        let link = self.upstreams.get(upstream.0).and_then(|it| it.link.as_ref());
        link.is_some_and(|link| link.is_welcome)
    }
}
