//! The relay's own status page and metrics. It reads only; nothing can be changed here.

mod html;
mod metrics;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use standoff_otlp::{Counts as Received, SourceCounts};

use super::core::{Presence, Status};
use super::otlp::View;
use super::owner::{Owner, ShuttingDown};

/// The media type of the text that Prometheus reads.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Page {
    owner: Owner,
    /// What the upstreams are called, in their order.
    upstreams: Arc<[String]>,
    /// What there is of OTLP. `None` if it is not received.
    otlp: Option<View>,
}

/// What the receiver of OTLP has taken and refused, and what is open of it.
type OfOtlp = Option<(Received, SourceCounts)>;

impl Page {
    async fn status(&self) -> Result<(Status, OfOtlp), ShuttingDown> {
        let status = self.owner.status().await?;
        Ok((status, self.otlp.as_ref().map(View::counts)))
    }
}

/// The page, with what machines read of it.
pub(super) fn router(owner: Owner, upstreams: Vec<String>, otlp: Option<View>) -> Router {
    Router::new()
        .route("/", get(html))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Page {
            owner,
            upstreams: upstreams.into(),
            otlp,
        })
}

impl IntoResponse for ShuttingDown {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{self}\n")).into_response()
    }
}

async fn html(State(page): State<Page>) -> Result<Html<String>, ShuttingDown> {
    let (status, otlp) = page.status().await?;
    Ok(Html(html::page(&page.upstreams, &status, otlp)))
}

async fn metrics(State(page): State<Page>) -> Result<Response, ShuttingDown> {
    let (status, otlp) = page.status().await?;
    Ok(match metrics::text(&page.upstreams, status, otlp) {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    })
}

/// Whether anybody hears what is said here. What instances say is taken in and kept in any case.
async fn ready(State(page): State<Page>) -> Result<Response, ShuttingDown> {
    let (status, _) = page.status().await?;
    Ok(if status.upstreams.iter().any(|it| it.is_connected) {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no upstream is connected\n").into_response()
    })
}

async fn status(State(page): State<Page>) -> Result<axum::Json<Value>, ShuttingDown> {
    let (status, otlp) = page.status().await?;
    Ok(axum::Json(as_json(&page.upstreams, &status, otlp)))
}

fn as_json(names: &[String], status: &Status, otlp: OfOtlp) -> Value {
    let upstreams = names.iter().zip(&status.upstreams).map(|(name, it)| {
        json!({
            "url": name,
            "connected": it.is_connected,
            "instances": it.channels,
            "probes_in_flight": it.probes_in_flight,
            "sessions_total": it.counts.sessions,
            "started_total": it.counts.started,
            "finished_total": it.counts.finished,
            "ended_total": it.counts.ended,
            "ended_dropped_total": it.counts.ended_dropped,
            "resyncs_total": it.counts.resyncs,
            "overflows_total": it.counts.overflows,
            "stuck_total": it.counts.stuck,
            "channels_refused_total": it.counts.refused,
            "probes_total": it.counts.probes,
            "probes_dropped_total": it.counts.probes_dropped,
        })
    });
    let instances = status.instances.iter().map(|it| {
        json!({
            "service": it.service,
            "instance": it.instance,
            "can_be_asked": !it.cannot_be_asked,
            "state": presence(it.presence),
            "heard_ms_ago": u64::try_from(it.heard_ago.as_millis()).unwrap_or(u64::MAX),
            "open_spans": it.open_spans,
            "events_dropped": it.dropped,
        })
    });
    let otlp = otlp.map(|(receiver, sources)| {
        json!({
            "sources": sources.sources,
            "open_spans": sources.open,
            "memory_bytes": receiver.memory_bytes,
            "requests_accepted_total": receiver.accepted,
            "requests_refused_total": receiver.refused,
            "requests_invalid_total": receiver.invalid,
            "spans_started_total": receiver.spans_started,
            "spans_finished_total": receiver.spans_finished,
            "spans_rejected_total": receiver.spans_rejected,
            "spans_refused_total": sources.refused_spans,
            "sources_refused_total": sources.refused_sources,
            "expired_total": sources.ended_by_max_open + sources.ended_by_missed_heartbeats,
        })
    });
    json!({
        "otlp": otlp,
        "upstreams": upstreams.collect::<Vec<Value>>(),
        "instances": instances.collect::<Vec<Value>>(),
        "open_spans": status.open_spans,
        "open_bytes": status.open_bytes,
        "ended_kept": status.ended_kept,
        "started_total": status.started_total,
        "finished_total": status.finished_total,
        "ended_total": status.ended_total,
        "events_dropped_total": status.dropped_total,
        "gaps_total": status.gaps_total,
        "instances_refused_total": status.refused_total,
    })
}

fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::Present => "present",
        Presence::Syncing => "syncing",
        Presence::Silent => "silent",
        Presence::Lost => "lost",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::core::{Counts, InstanceStatus, UpstreamStatus};
    use super::*;

    fn status() -> Status {
        Status {
            instances: vec![InstanceStatus {
                service: "a<b>&\u{1b}[31m".into(),
                instance: "a-1".into(),
                cannot_be_asked: true,
                presence: Presence::Silent,
                heard_ago: Duration::from_millis(4500),
                open_spans: 12,
                dropped: 3,
            }],
            upstreams: vec![UpstreamStatus {
                is_connected: true,
                channels: 1,
                probes_in_flight: 2,
                counts: Counts {
                    sessions: 4,
                    started: 100,
                    ended: 6,
                    ended_dropped: 2,
                    ..Counts::default()
                },
            }],
            open_spans: 12,
            open_bytes: 2400,
            ended_kept: 5,
            started_total: 110,
            finished_total: 90,
            ended_total: 7,
            dropped_total: 3,
            gaps_total: 1,
            refused_total: 0,
        }
    }

    fn otlp() -> OfOtlp {
        let receiver = Received {
            accepted: 40,
            refused: 2,
            spans_rejected: 3,
            ..Received::default()
        };
        let sources = SourceCounts {
            open: 11,
            sources: 4,
            ended_by_max_open: 1,
            ended_by_missed_heartbeats: 8,
            ..SourceCounts::default()
        };
        Some((receiver, sources))
    }

    #[test]
    fn metrics_are_named_as_documented() {
        let text = metrics::text(&["http://one:1".into()], status(), otlp()).unwrap();
        for line in [
            "standoff_relay_instances{state=\"silent\"} 1",
            "standoff_relay_instances{state=\"present\"} 0",
            "standoff_relay_open_spans 12",
            "standoff_relay_open_bytes 2400",
            "standoff_relay_events_in_total{kind=\"started\"} 110",
            "standoff_relay_events_dropped_total{cause=\"relay_spans\"} 3",
            "standoff_relay_upstream_connected{upstream=\"http://one:1\"} 1",
            "standoff_relay_upstream_sessions_total{upstream=\"http://one:1\"} 4",
            "standoff_relay_probes_in_flight{upstream=\"http://one:1\"} 2",
            "standoff_relay_events_in_total{kind=\"ended\"} 7",
            "standoff_relay_ended_kept 5",
            "standoff_relay_ended_out_total{upstream=\"http://one:1\"} 6",
            "standoff_relay_ended_dropped_total{upstream=\"http://one:1\"} 2",
            "standoff_relay_otlp_sources 4",
            "standoff_relay_otlp_open_spans 11",
            "standoff_relay_otlp_requests_total{result=\"accepted\"} 40",
            "standoff_relay_otlp_requests_total{result=\"refused\"} 2",
            "standoff_relay_otlp_spans_total{kind=\"rejected\"} 3",
            "standoff_relay_otlp_expired_total{cause=\"missed_heartbeats\"} 8",
            "# TYPE standoff_relay_gaps counter",
            "# EOF",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        let without = metrics::text(&["http://one:1".into()], status(), None).unwrap();
        assert!(!without.contains("otlp"), "{without}");
    }

    #[test]
    fn names_cannot_become_markup_or_escapes() {
        let page = html::page(&["http://one:1".into()], &status(), otlp());
        assert!(page.contains("a&lt;b&gt;&amp;"), "{page}");
        assert!(!page.contains('\u{1b}'), "{page}");
        assert!(page.contains("4.5 s"), "{page}");
        assert!(page.contains("OTLP: 4 sources with 11 open spans"), "{page}");
    }

    #[test]
    fn the_same_is_there_for_machines() {
        let json = as_json(&["http://one:1".into()], &status(), otlp());
        assert_eq!(json["instances"][0]["state"], "silent");
        assert_eq!(json["instances"][0]["heard_ms_ago"], 4500);
        assert_eq!(json["upstreams"][0]["started_total"], 100);
        assert_eq!(json["open_spans"], 12);
        assert_eq!(json["instances"][0]["can_be_asked"], false);
        assert_eq!(json["otlp"]["requests_refused_total"], 2);
        assert_eq!(json["otlp"]["expired_total"], 9);
        let without = as_json(&["http://one:1".into()], &status(), None);
        assert!(without["otlp"].is_null());
    }
}
