//! The heart of the relay: what the instances of a host say goes in, and goes on to every upstream.
//!
//! [`Core`] does no I/O and reads no clock, so that the same code runs under a simulated one. [`Core::step`] takes in what
//! has happened and says what to do; [`Core::next`] gives what an upstream is to be told next, whenever it has room for a
//! message. So nothing is made before it can be sent, and a slow upstream costs no memory. After each step, and whenever
//! room comes, ask each upstream's next until there is none or no room.
//!
//! What an instance has open is kept once (`mirror`), whatever the number of upstreams; what one upstream is told of one
//! instance is a `channel`.

mod attendance;
mod channel;
mod endings;
mod hello;
mod house;
mod instances;
mod mirror;
mod status;
#[cfg(test)]
mod tests;
mod upstreams;

use std::collections::VecDeque;
use std::time::Duration;

use standoff_protocol::stream::{
    FromCollector, FromInstance, FromRelay, Hello, Loss, Malformed, PROTOCOL_VERSION, Process, Sight, ToRelay,
};
use tonic::Code;

use self::channel::End;
use self::instances::Instances;
use self::mirror::Kept;
use self::upstreams::Upstream;
pub use instances::InstanceNo;
pub use mirror::{Limits, UPSTREAMS_MAX};
pub use status::{InstanceStatus, Presence, Status, UpstreamStatus};
pub use upstreams::Counts;

/// The longest lease that an instance may ask for, as in the collector. Silence beyond it helps nobody.
const LEASE_MAX: Duration = Duration::from_secs(300);

/// How often leases are looked at, and the processes of instances that have lost their connection are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// [`Core::wake_at`] is never later than this.
const IDLE: Duration = Duration::from_secs(1);

/// A core is stepped at least each [`IDLE`]. After so long a gap it was the relay that did not run (it was stopped, or
/// starved), and what instances have said meanwhile is still to be read.
const STALLED_AFTER: Duration = Duration::from_millis(1500);

/// Heartbeats are no more frequent than this, whoever asks for it: they are to take no room from what matters.
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);

/// An upstream that takes nothing for so long has given all instances up, so a new connection costs nothing: the lease
/// that instances ask for unless told otherwise.
const STUCK_AFTER: Duration = Duration::from_secs(3);

/// How long an upstream may take to say welcome: it may have thousands to welcome at once.
const WELCOME_WITHIN: Duration = Duration::from_secs(5);

/// How often an instance is asked for its open set at most, because there is room again for what was dropped.
const ASK_AGAIN_EVERY: Duration = Duration::from_secs(5);

/// Instances that have ended, of which upstreams that were away at the time are told when they are back.
const DEPARTED_MAX: usize = 1024;

/// For how long they are: a collector takes an instance for gone after so long by itself.
const DEPARTED_FOR: Duration = Duration::from_secs(600);

/// One connection of one instance. Numbered by who serves it, never twice alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// One of the configured upstreams, by its place among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpstreamId(pub usize);

/// The times and limits that a relay works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names the relay to the collectors.
    pub name: String,
    /// How many upstreams there are: at most [`UPSTREAMS_MAX`]; what is beyond is not served.
    pub upstreams: usize,
    /// How often upstreams hear of the relay, and it wants to hear of instances, unless an upstream wants it more often.
    pub heartbeat: Duration,
    /// How long an instance that does not say so itself is believed alive without news.
    pub lease: Duration,
    /// How much is kept.
    pub limits: Limits,
}

/// What happens around the relay.
#[derive(Debug)]
pub enum Input {
    /// An instance has connected, and introduces itself.
    Connected {
        /// Its connection.
        connection: ConnectionId,
        /// How it does so.
        hello: Hello,
    },
    /// It says something.
    Message {
        /// Its connection.
        connection: ConnectionId,
        /// What it says.
        message: FromInstance,
    },
    /// Its connection has ended.
    Disconnected {
        /// The connection.
        connection: ConnectionId,
    },
    /// Its process was looked for.
    Seen {
        /// The instance.
        instance: InstanceNo,
        /// What was seen.
        sight: Sight,
    },
    /// There is a new connection to an upstream. An older one has ended.
    UpstreamConnected {
        /// The upstream.
        upstream: UpstreamId,
    },
    /// An upstream says something on its newest connection.
    UpstreamMessage {
        /// The upstream.
        upstream: UpstreamId,
        /// What it says.
        message: ToRelay,
    },
    /// The connection to an upstream has ended.
    UpstreamDisconnected {
        /// The upstream.
        upstream: UpstreamId,
    },
    /// So much was lost since the relay started of what belongs to no instance.
    Lost {
        /// By cause.
        losses: Vec<Loss>,
    },
    /// The relay is to end: upstreams are told what is known, and that nobody listens to the instances any more.
    Leave,
    /// The time that [`Core::wake_at`] named has come.
    Tick,
}

/// What is to be done about it.
#[derive(Debug)]
pub enum Effect {
    /// Send this to an instance. If it takes no messages, its connection is to be ended.
    Send(ConnectionId, FromCollector),
    /// End a connection. Nothing that still comes on it counts, and its end need not be told.
    Refuse(ConnectionId, Refusal),
    /// See whether this process still lives.
    Look(InstanceNo, Process),
    /// End the connection to an upstream, and make a new one. Its end need not be told.
    HangUp(UpstreamId),
}

/// Why an instance's connection is ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It speaks another version.
    #[error(
        "this relay speaks protocol version {PROTOCOL_VERSION}, the instance speaks {0}: use the same release of both"
    )]
    Version(u32),
    /// It does not say who it is.
    #[error("the hello names no instance: set service.instance.id")]
    Nameless,
    /// It calls itself something too long.
    #[error("the instance's names are longer than is accepted")]
    NameTooLong,
    /// It does not keep to the protocol.
    #[error("the message does not keep to the protocol: {0}")]
    Malformed(#[from] Malformed),
    /// There is no room for it.
    #[error("{0} instances are connected to this relay already")]
    TooManyInstances(usize),
    /// It has another connection.
    #[error("the instance has connected anew; if this is the newer connection, connect again")]
    Superseded,
    /// The relay ends.
    #[error("the relay is shutting down")]
    ShuttingDown,
}

impl Refusal {
    /// The gRPC status code that the stream ends with.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Refusal::Version(_) => Code::FailedPrecondition,
            Refusal::Nameless | Refusal::NameTooLong | Refusal::Malformed(_) => Code::InvalidArgument,
            Refusal::TooManyInstances(_) => Code::ResourceExhausted,
            Refusal::Superseded => Code::Aborted,
            Refusal::ShuttingDown => Code::Unavailable,
        }
    }
}

/// An instance that has ended for good.
#[derive(Debug)]
struct Departed {
    no: InstanceNo,
    hello: Hello,
    end: End,
    at: Duration,
}

/// All that a relay knows.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    instances: Instances,
    upstreams: Vec<Upstream>,
    /// Oldest first.
    departed: VecDeque<Departed>,
    kept: Kept,
    /// How often instances are asked to give a sign of life.
    heartbeat: Duration,
    last_probe: u64,
    /// Starts that there was no room for, of instances that are gone.
    dropped_before: u64,
    started_total: u64,
    finished_total: u64,
    ended_total: u64,
    gaps_total: u64,
    refused_total: u64,
    /// What was lost of what belongs to no instance.
    losses: Vec<Loss>,
    is_leaving: bool,
    last_step: Duration,
    next_house: Duration,
    effects: Vec<Effect>,
}

impl Core {
    /// Begins at `now`, which may count from anywhere.
    #[must_use]
    pub fn new(now: Duration, settings: Settings) -> Self {
        let upstreams = (0..settings.upstreams.min(UPSTREAMS_MAX)).map(Upstream::new);
        Self {
            upstreams: upstreams.collect(),
            instances: Instances::default(),
            departed: VecDeque::new(),
            kept: Kept::default(),
            heartbeat: settings.heartbeat.max(HEARTBEAT_MIN),
            last_probe: 0,
            dropped_before: 0,
            started_total: 0,
            finished_total: 0,
            ended_total: 0,
            gaps_total: 0,
            refused_total: 0,
            losses: Vec::new(),
            is_leaving: false,
            last_step: now,
            next_house: now,
            effects: Vec::new(),
            settings,
        }
    }

    /// Takes in what has happened at `now`, and says what to do.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        let gap = now.saturating_sub(self.last_step);
        self.last_step = now;
        if gap >= STALLED_AFTER {
            self.excuse(gap);
        }
        if now >= self.next_house {
            self.keep_house(now);
        }
        match input {
            Input::Connected { connection, hello } => self.connected(now, connection, hello),
            Input::Message { connection, message } => self.said(now, connection, message),
            Input::Disconnected { connection } => self.disconnected(connection),
            Input::Seen { instance, sight } => self.seen(now, instance, sight),
            Input::UpstreamConnected { upstream } => self.upstream_connected(now, upstream),
            Input::UpstreamMessage { upstream, message } => self.upstream_said(now, upstream, message),
            Input::UpstreamDisconnected { upstream } => self.upstream_disconnected(upstream),
            Input::Lost { losses } => self.losses = losses,
            Input::Leave => self.leave(),
            Input::Tick => {}
        }
        std::mem::take(&mut self.effects)
    }

    /// What to tell an upstream next, if it is connected and there is anything.
    pub fn next(&mut self, now: Duration, upstream: UpstreamId) -> Option<FromRelay> {
        let upstream = self.upstreams.get_mut(upstream.0)?;
        let own = upstreams::Own {
            name: &self.settings.name,
            instances_refused: self.refused_total,
            losses: &self.losses,
        };
        upstream.next(now, own, &mut self.instances)
    }

    /// When to step next even if nothing happens.
    #[must_use]
    pub fn wake_at(&self) -> Duration {
        self.next_house
    }

    /// After [`Input::Leave`]: whether this upstream has been told everything, or is not there.
    #[must_use]
    pub fn has_left(&self, upstream: UpstreamId) -> bool {
        let link = self.upstreams.get(upstream.0).and_then(|it| it.link.as_ref());
        self.is_leaving && link.is_none_or(upstreams::Link::has_left)
    }
}
