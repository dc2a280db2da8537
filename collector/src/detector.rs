//! The heart of the collector: what instances say goes in, probes and alerts come out.
//!
//! [`Detector::step`] does no I/O and reads no clock, so that the same code runs under a simulated one. It joins the
//! parts that each know one thing: who takes part ([`Instances`]), what waits for what ([`WaitGraph`]), which deadlock
//! is which over time ([`Episodes`]), whether it is true ([`Confirmations`]), and what people have been told
//! ([`Alerts`]).
//!
//! How instances come, speak and go is in `attendance`; how deadlocks are suspected, confirmed and told in `judgement`,
//! what is not judged yet while the graph is not exact in `putting_off`, what is made of spans of which only the end is told in
//! `endings`, and what is to be held against it all in `evidence`.

mod attendance;
#[cfg(test)]
mod chance;
mod endings;
mod evidence;
mod judgement;
mod putting_off;
mod settling;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod twins;
#[cfg(test)]
mod whole;

use std::collections::BTreeMap;
use std::time::Duration;

use standoff_protocol::api::{Alert, LossCause, Resolution, Snapshot, Stats};
use standoff_protocol::stream::{self, Batch, FromCollector, Heartbeat, ProbeAnswer, Process, Sight, Started};
use standoff_wait_graph::{Episodes, InstanceId, Limits, WaitGraph};

use crate::alerts::{Alerts, EpisodeId};
use crate::confirm::Confirmations;
use crate::departures::Departures;
use crate::detector::evidence::Told;
use crate::detector::judgement::{Confirmed, Suspect};
use crate::detector::putting_off::PuttingOff;
use crate::ended::EndedSpans;
use crate::instances::{ConnectionId, INSTANCES_MAX, Identity, Instances, OPEN_SET_SPANS_MAX, Presence};
use crate::known::{self, InstanceKey, Known};
use crate::losses::Losses;
use crate::settings::Times;

/// While fewer tasks than this are dead, they are explained after every message that changes who is. With more, once in
/// [`EXPLAINED_SPACING`] for each [`EXPLAINED_TASKS`] of them, so that messages get their turn: in a storm it takes
/// three to five microseconds to explain one, so explaining takes half of the time at most.
const EXPLAINED_TASKS: usize = 100;
/// See [`EXPLAINED_TASKS`].
const EXPLAINED_SPACING: Duration = Duration::from_millis(1);

/// A collector that remembers nothing cannot know whom it has not heard of. For so long after its start it does not
/// believe that a pool is exhausted: half as long again as the longest time that a library waits before it connects.
const START_SETTLE: Duration = Duration::from_millis(750);

/// How often statistics are published, and memories of what has ended are cleared.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);

/// The owner steps at least each [`HOUSEKEEPING_EVERY`]. After so long a gap it was the collector that did not run (it was
/// stopped, or starved), and what instances have said meanwhile is still to be read.
const STALLED_AFTER: Duration = Duration::from_millis(1500);

/// What cannot be asked settles anew after a gap of this part of the time that it takes to settle: that much later than it
/// should be may be whatever comes.
const GAPS_PER_SETTLE: u32 = 4;

/// How often the processes of instances that have lost their connection are looked for on this host.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What happens around the detector.
#[derive(Debug)]
pub(crate) enum Input {
    /// An instance has introduced itself.
    Connected {
        connection: ConnectionId,
        identity: Identity,
    },
    /// It sends a part of its open set.
    OpenSet {
        connection: ConnectionId,
        spans: Vec<Started>,
        complete: bool,
    },
    /// It says what has started and finished since.
    Batch { connection: ConnectionId, batch: Batch },
    /// It lives.
    Heartbeat {
        connection: ConnectionId,
        heartbeat: Heartbeat,
    },
    /// Instances live of which somebody else tells.
    Heartbeats { connections: Vec<ConnectionId> },
    /// It answers a probe.
    ProbeAnswer {
        connection: ConnectionId,
        answer: ProbeAnswer,
    },
    /// It ends in good order.
    Goodbye { connection: ConnectionId },
    /// Its connection has ended.
    Disconnected { connection: ConnectionId },
    /// Its relay, which is on its host, has seen that its process is no more.
    Died { connection: ConnectionId },
    /// A message on it could not be read, which has ended it.
    Unreadable { connection: ConnectionId },
    /// Somebody was refused who wanted to introduce himself.
    Refused,
    /// Something was lost before anybody knew whose it was.
    Lost { cause: LossCause, count: u64 },
    /// A relay has introduced itself.
    RelayConnected { relay: ConnectionId, name: String },
    /// A relay lives, and says what it had no room for since it started.
    RelayHeartbeat {
        relay: ConnectionId,
        heartbeat: stream::RelayHeartbeat,
    },
    /// A relay's stream has ended, and all these connections with it.
    RelayEnded {
        relay: ConnectionId,
        connections: Vec<ConnectionId>,
        /// It could not be understood.
        is_unreadable: bool,
    },
    /// Its process was looked for.
    Seen { instance: InstanceId, sight: Sight },
    /// The same of an instance that has not been heard of since the collector's start.
    SeenAwaited { key: InstanceKey, sight: Sight },
    /// The time that [`Detector::wake_at`] named has come.
    Tick,
}

/// What is to be done about it.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Send this to an instance.
    Send(ConnectionId, FromCollector),
    /// End a connection: the instance does not keep to the protocol, or there are too many.
    Refuse(ConnectionId, Refusal),
    /// See whether this process still lives.
    Look(InstanceId, Process),
    /// The same of an instance that has not been heard of since the collector's start.
    LookFor(InstanceKey, Process),
    /// Keep this over a restart.
    Remember(known::Change),
    /// Tell everyone who listens.
    Publish(Published),
}

/// Why a connection is ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the message does not keep to the protocol: {0}")]
    Malformed(#[from] stream::Malformed),
    #[error("{INSTANCES_MAX} instances are connected already")]
    TooManyInstances,
    #[error("the open set has more than {OPEN_SET_SPANS_MAX} spans")]
    OpenSetTooLarge,
    #[error("the instance has connected anew; if this is the newer connection, connect again")]
    Superseded,
    #[error("nothing was heard of the instance for so long that it was taken to be gone; connect again")]
    Forgotten,
}

/// What listeners hear of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Published {
    /// An alert has begun to fire, has changed or has been resolved.
    Alert(Box<Alert>),
    /// What the collector sees just now.
    Stats(Stats),
}

/// All that the collector knows.
#[derive(Debug)]
pub(crate) struct Detector {
    times: Times,
    started_at: Duration,
    graph: WaitGraph,
    instances: Instances,
    departures: Departures,
    /// Spans of which only the end was told.
    ended: EndedSpans,
    episodes: Episodes,
    /// Episodes that have not been confirmed, or have grown since.
    suspects: BTreeMap<EpisodeId, Suspect>,
    /// What has been confirmed of those that fire.
    confirmed: BTreeMap<EpisodeId, Confirmed>,
    confirmations: Confirmations,
    alerts: Alerts,
    /// Instances of before the collector's last start that have not been heard of yet, and their processes.
    awaited: Known,
    /// Whether the collector remembers anything from before its start.
    remembers: bool,
    events_total: u64,
    refuted_total: u64,
    losses: Losses,
    told: Told,
    /// Whether the graph has changed since the last evaluation.
    dirty: bool,
    last_evaluation: Duration,
    /// The revision of the deadlocks that were last looked at.
    revision: Option<u64>,
    /// When the graph may draw the conclusions that it has put off.
    settles_at: Option<Duration>,
    putting_off: PuttingOff,
    last_step: Duration,
    /// Since when the collector has run without a gap.
    awake_since: Duration,
    next_housekeeping: Duration,
    next_look: Option<Duration>,
    effects: Vec<Effect>,
}

impl Detector {
    /// Begins at `now`, knowing that these instances were there before.
    pub(crate) fn new(now: Duration, times: Times, awaited: Known) -> Self {
        Self {
            times,
            started_at: now,
            graph: WaitGraph::new(Limits::default()),
            instances: Instances::default(),
            departures: Departures::default(),
            ended: EndedSpans::default(),
            episodes: Episodes::default(),
            suspects: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            confirmations: Confirmations::default(),
            alerts: Alerts::default(),
            remembers: !awaited.is_empty(),
            next_look: (!awaited.is_empty()).then_some(now + LOOK_EVERY),
            awaited,
            events_total: 0,
            refuted_total: 0,
            losses: Losses::default(),
            told: Told::default(),
            dirty: false,
            last_evaluation: now,
            revision: None,
            settles_at: None,
            putting_off: PuttingOff::default(),
            last_step: now,
            awake_since: now,
            next_housekeeping: now + HOUSEKEEPING_EVERY,
            effects: Vec::new(),
        }
    }

    /// Takes in what has happened at `now`, and says what to do.
    pub(crate) fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        let gap = now.saturating_sub(self.last_step);
        self.last_step = now;
        if gap >= STALLED_AFTER {
            tracing::warn!(
                ?gap,
                "the collector itself did not run; no lease runs out because of that"
            );
            self.instances.excuse(gap);
        }
        if self.has_not_run(now, gap) {
            self.awake_since = now;
            self.dirty = true;
        }
        match input {
            Input::Connected { connection, identity } => self.connected(now, connection, identity),
            Input::OpenSet {
                connection,
                spans,
                complete,
            } => self.open_set(now, connection, spans, complete),
            Input::Batch { connection, batch } => self.batch(now, connection, batch),
            Input::Heartbeat { connection, heartbeat } => self.heartbeat(now, connection, &heartbeat),
            Input::Heartbeats { connections } => {
                for connection in connections {
                    self.lives(now, connection);
                }
            }
            Input::ProbeAnswer { connection, answer } => self.probe_answer(now, connection, &answer),
            Input::Goodbye { connection } | Input::Died { connection } => {
                if let Some(instance) = self.instances.of(connection) {
                    self.gone(now, instance);
                }
            }
            Input::Disconnected { connection } => self.disconnected(now, connection),
            Input::Unreadable { connection } => self.unreadable(now, connection),
            Input::Refused => self.losses.add(LossCause::Instances, 1),
            Input::Lost { cause, count } => self.losses.add(cause, count),
            Input::RelayConnected { relay, name } => self.losses.relay_comes(relay, name),
            Input::RelayHeartbeat { relay, heartbeat } => self.losses.relay_says(relay, &heartbeat),
            Input::RelayEnded {
                relay,
                connections,
                is_unreadable,
            } => {
                self.losses.add(LossCause::Malformed, is_unreadable.into());
                self.relay_ended(now, relay, connections);
            }
            Input::Seen { instance, sight } => self.seen(now, instance, sight),
            Input::SeenAwaited { key, sight } => self.seen_awaited(key, sight),
            Input::Tick => {}
        }
        self.keep_house(now);
        if self.dirty && now >= self.next_evaluation() && self.settle(now) {
            self.evaluate(now, Resolution::Finished);
        }
        self.probe(now);
        std::mem::take(&mut self.effects)
    }

    /// When to step next even if nothing happens.
    pub(crate) fn wake_at(&self, now: Duration) -> Duration {
        let evaluation = self.dirty.then(|| self.next_evaluation());
        let confirmation = self.confirmations.wake_at(now, self.times.probe_timeout);
        [self.instances.next_expiry(), self.next_look, evaluation, confirmation]
            .into_iter()
            .flatten()
            .fold(self.next_housekeeping, Duration::min)
    }

    /// Whether everything that can be known after a start is known.
    pub(crate) fn is_ready(&self, now: Duration) -> bool {
        self.awaited.is_empty() || now >= self.started_at + self.times.lease
    }

    pub(crate) fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    /// What a listener needs to begin with.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            alerts: self.alerts.firing(),
            stats: self.stats(),
        }
    }

    fn stats(&self) -> Stats {
        let silent = self
            .instances
            .iter()
            .filter(|(_, it)| it.presence == Presence::Silent)
            .count() as u64;
        let evidence = self.evidence();
        Stats {
            open_calls: self.graph.open_calls() as u64,
            instances: self.instances.iter().count() as u64 - silent,
            instances_silent: silent,
            events_total: self.events_total,
            events_lost: evidence.events_lost,
            losses: evidence.losses,
            refuted_total: self.refuted_total,
        }
    }
}
