//! The types of the collector's HTTP API, as `docs/http-api.md` describes them.
//!
//! Times are RFC 3339 in UTC with milliseconds. Ids are lower-case hexadecimal digits.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The answer to `GET /api/v1/alerts`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertList {
    /// Newest first.
    pub alerts: Vec<Alert>,
    /// Empty on the last page.
    pub next_page_token: String,
}

/// One episode of a deadlock, from its suspicion to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Names this episode: a hash of the span ids of the waits that first formed it. 16 digits.
    pub id: String,
    /// The same each time this deadlock recurs, and on every collector. 16 digits.
    pub fingerprint: String,
    /// How many episodes of this fingerprint the collector has seen, this one included.
    pub occurrences: u64,
    /// What kind of trouble this is.
    pub kind: Kind,
    /// The fingerprint with digits masked: groups storms of like deadlocks. 16 digits.
    pub pattern: String,
    /// Where the episode stands.
    pub state: AlertState,
    /// How much the alert is to be trusted.
    pub severity: Severity,
    /// How it was confirmed; `null` while suspected.
    pub confirmation: Option<Confirmation>,
    /// When the core was first seen.
    #[serde(with = "millis")]
    pub detected_at: Timestamp,
    /// When it was confirmed; `null` before.
    #[serde(with = "millis::option")]
    pub fired_at: Option<Timestamp>,
    /// When it ended; `null` before.
    #[serde(with = "millis::option")]
    pub resolved_at: Option<Timestamp>,
    /// How it ended; `null` before.
    pub resolution: Option<Resolution>,
    /// When the first wait of the core times out; `null` if none has a timeout.
    #[serde(with = "millis::option")]
    pub first_timeout_at: Option<Timestamp>,
    /// The core in one line, for instance `{:server_a, 42} → {:server_b, 42} → {:server_a, 42}`.
    pub summary: String,
    /// The tasks that cause the deadlock, along their waits, from the smallest resource name; at most the first 1000 of
    /// them.
    pub core: Vec<Task>,
    /// How many tasks the core has in all. 0 from a collector that does not say so, and lists them all.
    #[serde(default)]
    pub core_total: u64,
    /// The resources that the core occupies or waits for, by name; at most the first 1000 of them.
    pub resources: Vec<Resource>,
    /// How many resources these are in all. 0 from a collector that does not say so, and lists them all.
    #[serde(default)]
    pub resources_total: u64,
    /// Tasks that can never proceed because of the core; at most 100 of them.
    pub victims: Vec<Task>,
    /// How many victims there are in all.
    pub victims_total: u64,
    /// What to hold against the alert.
    pub evidence: Evidence,
    /// Who has taken charge of this fingerprint; `null` if nobody has.
    pub acknowledged: Option<Acknowledgement>,
}

/// What kind of trouble an alert reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A set of tasks none of which can ever proceed.
    Deadlock,
}

/// Where an episode stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Seen, and not yet confirmed.
    Suspected,
    /// Confirmed, and still so.
    Firing,
    /// Over.
    Resolved,
}

/// How much an alert is to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Every process was asked.
    Critical,
    /// Some source could not be asked, and was given time instead.
    Warning,
}

/// How a deadlock was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// Every process was asked.
    Probed,
    /// The settle time has passed.
    Settled,
}

/// How an episode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// A call of the core timed out.
    Timeout,
    /// A call of the core failed.
    Error,
    /// A call of the core was given up.
    Cancelled,
    /// An instance of the core died, or has not been heard of for its lease.
    InstanceLost,
    /// A call of the core finished after all, or the deadlock dissolved otherwise.
    Finished,
    /// The core grew together with an older one.
    Merged,
}

/// One execution that can wait, and does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The span id of the task. 16 digits.
    pub task: String,
    /// The trace it belongs to. 32 digits.
    pub trace_id: String,
    /// The name of its span.
    pub name: String,
    /// What it occupies, by name; at most the first 100.
    pub resources: Vec<String>,
    /// The service it runs in.
    pub service: String,
    /// The instance of that service.
    pub instance: String,
    /// The calls it waits for, the oldest first; at most 100, of which those that are a part of the core come before
    /// others. In an alert of very many waits only one of each task may be listed.
    pub waits: Vec<Wait>,
}

/// An open call that keeps its task from proceeding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    /// The span id of the call. 16 digits.
    pub span_id: String,
    /// The trace it belongs to. 32 digits.
    pub trace_id: String,
    /// The name of its span.
    pub name: String,
    /// The resource it needs; `null` if unknown.
    pub target: Option<String>,
    /// How far it has come.
    pub state: CallState,
    /// The tasks that must proceed first: its handlers if accepted, the holders of its target if queued. At most 100,
    /// 16 digits each.
    pub blocked_by: Vec<String>,
    /// The wait group it belongs to; `null` for a call that its task needs for itself alone.
    pub group: Option<Group>,
    /// When it started, by the collector's clock.
    #[serde(with = "millis")]
    pub started_at: Timestamp,
    /// When the caller gives up; `null` if it has not said.
    #[serde(with = "millis::option")]
    pub timeout_at: Option<Timestamp>,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Needs a unit of its target.
    Queued,
    /// A handler that answers it is open.
    Accepted,
    /// Its handler has ended; the reply is on its way.
    Answered,
    /// Its handler was lost with its instance.
    Orphaned,
}

/// Calls of one task of which some must finish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name, unique within the task.
    pub name: String,
    /// How many of its calls must finish.
    pub needed: u32,
    /// How many calls it has in all.
    pub size: u32,
}

/// Something that tasks occupy and wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its name, unique everywhere.
    pub name: String,
    /// Its capacity in units; `null` if unknown.
    pub capacity: Option<u64>,
    /// Units that are occupied.
    pub held: u64,
    /// Calls that wait for it.
    pub queued: u64,
}

/// What to hold against an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Starts and finishes that were lost on their way into the graph, whatever the cause. A missing cycle then proves
    /// nothing.
    pub events_lost: u64,
    /// Open calls whose target nobody has described.
    pub undecided_waits: u64,
    /// What was lost, by cause; a cause that is not listed has lost nothing. Empty from a collector that does not say so.
    #[serde(default)]
    pub losses: Vec<Loss>,
}

/// What was lost for one cause since the collector started, also of instances that are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Why, and where.
    pub cause: LossCause,
    /// How much; of what depends on the cause.
    pub count: u64,
    /// The instances, of those that are known now, that have lost most, the worst first; at most 3. Empty for what is not
    /// lost by one instance.
    pub instances: Vec<String>,
}

/// Why something was lost, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// Events: starts of calls, handles, holds and members, while a library had too many open.
    LibrarySpans,
    /// Events: spans that only keep the parent chain, while a library had too many.
    LibraryParents,
    /// Events: finishes that a library had no room for. A full open set has made up for them.
    LibraryFinishes,
    /// Events: starts that a relay had no room for.
    RelaySpans,
    /// Events: ends of spans of OTLP that a relay had no room for until it could pass them on.
    RelayEnded,
    /// Events: of which nobody has said why they were lost.
    Unknown,
    /// Events: in messages that do not keep to the protocol. The connection was ended.
    Malformed,
    /// Events: in open sets that are too large. The connection was ended.
    OpenSets,
    /// Events: starts that the collector's graph had no room for.
    GraphSpans,
    /// Memories of ended spans, and of who has served what, that the collector's graph gave up early for want of room.
    GraphMemory,
    /// Batches that are missing in the sequence of an instance. The full open set, which was asked for, makes up for them.
    Batches,
    /// Full open sets that were asked for because batches were missing.
    Resyncs,
    /// Probes that were not answered in time, or whose connection has ended meanwhile. They are asked again.
    Probes,
    /// Connections of instances that the collector has refused.
    Instances,
    /// Instances that a relay had no room for.
    RelayInstances,
    /// Events: spans that OTLP does not allow, and requests that cannot be read at all, each of which counts as one.
    OtlpRejected,
    /// Events: starts told by OTLP that there was no room for.
    OtlpSpans,
    /// How often there was no room for a source of OTLP.
    OtlpSources,
    /// Requests over OTLP that came while there was no room. Their senders were told to come again.
    OtlpRequests,
    /// Spans told by OTLP that are believed open no longer, since nothing was said of them for too long.
    OtlpExpired,
    /// One that a later version knows.
    #[serde(other)]
    Other,
}

impl LossCause {
    /// All that this version tells of.
    pub const ALL: [Self; 20] = [
        Self::LibrarySpans,
        Self::LibraryParents,
        Self::LibraryFinishes,
        Self::RelaySpans,
        Self::RelayEnded,
        Self::Unknown,
        Self::Malformed,
        Self::OpenSets,
        Self::GraphSpans,
        Self::GraphMemory,
        Self::Batches,
        Self::Resyncs,
        Self::Probes,
        Self::Instances,
        Self::RelayInstances,
        Self::OtlpRejected,
        Self::OtlpSpans,
        Self::OtlpSources,
        Self::OtlpRequests,
        Self::OtlpExpired,
    ];

    /// As the API writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LibrarySpans => "library_spans",
            Self::LibraryParents => "library_parents",
            Self::LibraryFinishes => "library_finishes",
            Self::RelaySpans => "relay_spans",
            Self::RelayEnded => "relay_ended",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
            Self::OpenSets => "open_sets",
            Self::GraphSpans => "graph_spans",
            Self::GraphMemory => "graph_memory",
            Self::Batches => "batches",
            Self::Resyncs => "resyncs",
            Self::Probes => "probes",
            Self::Instances => "instances",
            Self::RelayInstances => "relay_instances",
            Self::OtlpRejected => "otlp_rejected",
            Self::OtlpSpans => "otlp_spans",
            Self::OtlpSources => "otlp_sources",
            Self::OtlpRequests => "otlp_requests",
            Self::OtlpExpired => "otlp_expired",
            Self::Other => "other",
        }
    }

    /// Whether what it counts are events, which are a part of `events_lost`.
    #[must_use]
    pub const fn counts_events(self) -> bool {
        match self {
            Self::LibrarySpans
            | Self::LibraryParents
            | Self::LibraryFinishes
            | Self::RelaySpans
            | Self::RelayEnded
            | Self::Unknown
            | Self::Malformed
            | Self::OpenSets
            | Self::GraphSpans
            | Self::OtlpRejected
            | Self::OtlpSpans => true,
            Self::GraphMemory
            | Self::Batches
            | Self::Resyncs
            | Self::Probes
            | Self::Instances
            | Self::RelayInstances
            | Self::OtlpSources
            | Self::OtlpRequests
            | Self::OtlpExpired
            | Self::Other => false,
        }
    }
}

impl std::fmt::Display for LossCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Who has taken charge of a recurring deadlock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// What they said.
    pub note: String,
    /// When.
    #[serde(with = "millis")]
    pub at: Timestamp,
}

/// What the collector sees just now: the data of the event `stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Calls that are open.
    pub open_calls: u64,
    /// Instances that are believed alive.
    pub instances: u64,
    /// Instances whose lease has run out.
    pub instances_silent: u64,
    /// Starts and finishes taken in since the collector started.
    pub events_total: u64,
    /// As in [`Evidence`].
    pub events_lost: u64,
    /// As in [`Evidence`].
    #[serde(default)]
    pub losses: Vec<Loss>,
    /// Suspicions that the instances refuted.
    pub refuted_total: u64,
}

/// The data of the event `snapshot`: everything a monitor needs to begin with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The firing alerts, newest first.
    pub alerts: Vec<Alert>,
    /// What the collector sees just now.
    pub stats: Stats,
}

/// Names of the server-sent events of `GET /api/v1/events`.
pub mod events {
    /// Data: [`Snapshot`](super::Snapshot). Comes first, and again whenever the reader was too slow.
    pub const SNAPSHOT: &str = "snapshot";
    /// Data: an [`Alert`](super::Alert) that has begun to fire, has changed or has been resolved.
    pub const ALERT: &str = "alert";
    /// Data: [`Stats`](super::Stats), once a second.
    pub const STATS: &str = "stats";
}

/// An error, as `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and what would mend it.
    pub detail: String,
    /// The path that was asked for.
    pub instance: String,
}

/// Times on the wire: RFC 3339 in UTC with exactly three digits of the second's fraction.
mod millis {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{at:.3}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(deserializer)
    }

    pub(super) mod option {
        use super::{Deserialize, Deserializer, Serializer, Timestamp};

        pub(crate) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => super::serialize(at, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
            Option::deserialize(deserializer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_reads_and_writes_as_documented() {
        let documentation = include_str!("../../docs/http-api.md");
        let example = documentation
            .split("```json\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .unwrap();
        let alert: Alert = serde_json::from_str(example).unwrap();
        let documented: serde_json::Value = serde_json::from_str(example).unwrap();
        assert_eq!(serde_json::to_value(&alert).unwrap(), documented);
    }

    #[test]
    fn losses_of_an_older_and_of_a_newer_collector_are_understood() {
        let older: Evidence = serde_json::from_str(r#"{"events_lost": 1, "undecided_waits": 0}"#).unwrap();
        assert_eq!(older.losses, []);
        let newer = r#"{"cause": "comets", "count": 1, "instances": []}"#;
        assert_eq!(serde_json::from_str::<Loss>(newer).unwrap().cause, LossCause::Other);
    }

    #[test]
    fn causes_are_named_as_they_are_written() {
        for cause in LossCause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.name());
        }
    }

    #[test]
    fn times_have_milliseconds_and_no_more() {
        let at: Timestamp = "2026-11-21T08:17:48.123999Z".parse().unwrap();
        let acknowledgement = Acknowledgement {
            by: "me".into(),
            note: String::new(),
            at,
        };
        let json = serde_json::to_string(&acknowledgement).unwrap();
        assert!(json.ends_with(r#""at":"2026-11-21T08:17:48.123Z"}"#), "{json}");
    }
}
