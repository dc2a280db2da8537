//! The instances of this host: their connections, leases, sequence numbers and open spans.
//!
//! Knows nothing of upstreams.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use standoff_protocol::stream::{Heartbeat, Hello, Loss, LossCause, Process, Role, Started};

use super::endings::Endings;
use super::mirror::{Kept, Limits, Mirror, Taken, Upstreams};
use super::{ConnectionId, LEASE_MAX};

/// The most causes of losses that are passed on: more than the protocol knows.
const LOSSES_MAX: usize = 16;

/// An instance, as the relay numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceNo(pub(super) u64);

/// What tells an instance from all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) instance_id: String,
    pub(super) incarnation: u64,
}

impl Key {
    pub(super) fn of(hello: &Hello) -> Self {
        let instance = hello.instance.as_ref();
        Self {
            instance_id: instance.map(|it| it.instance_id.clone()).unwrap_or_default(),
            incarnation: instance.map_or(0, |it| it.incarnation),
        }
    }
}

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) hello: Hello,
    pub(super) connection: Option<ConnectionId>,
    /// Whether it makes sense to look for its process on this host.
    pub(super) is_here: bool,
    pub(super) last_heard: Duration,
    pub(super) lease: Duration,
    pub(super) mirror: Mirror,
    /// Empty unless it cannot be asked.
    pub(super) endings: Endings,
    /// Members of the mirror that have expired, and may have ended.
    pub(super) expired: BTreeSet<u64>,
    sync: Sync,
    said: Heartbeat,
    /// Starts that there was no room for.
    pub(super) dropped: u64,
    /// What the mirror lacks for want of room.
    pub(super) lack: Lack,
    /// What it will lack once the open set that is coming in is complete.
    lack_of_set: Lack,
    /// When the instance was last asked for its open set because there was room again.
    pub(super) asked_at: Option<Duration>,
}

/// Where an instance's mirror stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    /// An open set is coming in.
    Set,
    /// The mirror is whole, and this batch comes next.
    Batches { next: u64 },
    /// A batch is missing; an open set has been asked for.
    Gap,
}

/// What a mirror lacks for want of room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) anything: bool,
    /// A span that only keeps the parent chain. A handler may have it as its parent, and nobody could tell.
    pub(super) links: bool,
}

/// What to do about a batch's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    InOrder,
    /// Something before it is missing.
    Gap,
}

impl Instance {
    fn new(now: Duration, connection: ConnectionId, hello: Hello, default_lease: Duration) -> Self {
        let lease = match hello.lease_ms {
            0 => default_lease,
            lease_ms => Duration::from_millis(lease_ms.into()).min(LEASE_MAX),
        };
        Self {
            is_here: !process(&hello).host.is_empty(),
            hello,
            connection: Some(connection),
            last_heard: now,
            lease,
            mirror: Mirror::default(),
            endings: Endings::default(),
            expired: BTreeSet::new(),
            sync: Sync::Set,
            said: Heartbeat::default(),
            dropped: 0,
            lack: Lack::default(),
            lack_of_set: Lack::default(),
            asked_at: None,
        }
    }

    /// Whether its lease has not run out.
    pub(super) fn is_present(&self, now: Duration) -> bool {
        now < self.last_heard + self.lease
    }

    /// Whether its open set has been heard in full on its present connection, and every batch since.
    pub(super) fn is_whole(&self) -> bool {
        self.connection.is_some() && matches!(self.sync, Sync::Batches { .. })
    }

    pub(super) fn process(&self) -> Process {
        process(&self.hello).clone()
    }

    /// A part of its open set comes in.
    pub(super) fn begin_part(&mut self) {
        if self.sync != Sync::Set {
            self.sync = Sync::Set;
            self.lack_of_set = Lack::default();
            self.mirror.begin_set();
        }
    }

    /// Its open set is complete. Returns the spans that are no longer open.
    pub(super) fn complete_set(&mut self) -> Vec<u64> {
        self.sync = Sync::Batches { next: 1 };
        self.lack = self.lack_of_set;
        self.mirror.unnamed()
    }

    /// Judges the number of a batch. The batch is applied in any case: what it says is true.
    pub(super) fn batch(&mut self, sequence: u64) -> Order {
        match &mut self.sync {
            Sync::Batches { next } if *next == sequence => {
                *next += 1;
                Order::InOrder
            }
            Sync::Batches { next } if self.hello.cannot_be_asked => {
                // What has come is all there is: there is nobody to ask for the rest.
                *next = sequence.wrapping_add(1);
                Order::Gap
            }
            Sync::Batches { .. } => {
                self.sync = Sync::Gap;
                Order::Gap
            }
            Sync::Set | Sync::Gap => Order::InOrder,
        }
    }

    /// It names a span that is open.
    pub(super) fn take_in(
        &mut self,
        kept: &mut Kept,
        limits: &Limits,
        now: Duration,
        in_set: bool,
        started: Started,
    ) -> Taken {
        let links = started.role() == Role::Structural;
        let taken = self.mirror.take_in(kept, limits, now, in_set, started);
        if taken == Taken::NoRoom {
            self.dropped += 1;
            for lack in [&mut self.lack, &mut self.lack_of_set] {
                lack.anything = true;
                lack.links |= links;
            }
        }
        taken
    }

    /// What it says of itself and its losses.
    pub(super) fn beat(&mut self, mut heartbeat: Heartbeat) {
        heartbeat.losses.truncate(LOSSES_MAX);
        self.said = heartbeat;
    }

    /// What an upstream is told of that, with what was lost here.
    pub(super) fn heartbeat(&self, upstream: Upstreams) -> Heartbeat {
        let mut heartbeat = self.said.clone();
        let lost_here = [
            (LossCause::RelaySpans, self.dropped),
            (LossCause::RelayEnded, self.endings.lost(upstream)),
        ];
        for (cause, events) in lost_here.into_iter().filter(|(_, events)| *events > 0) {
            heartbeat.events_lost = heartbeat.events_lost.saturating_add(events);
            heartbeat.losses.push(Loss {
                cause: cause.into(),
                events,
            });
        }
        heartbeat
    }
}

fn process(hello: &Hello) -> &Process {
    static NONE: Process = Process {
        host: String::new(),
        pid: 0,
        start_ticks: 0,
    };
    let instance = hello.instance.as_ref();
    instance.and_then(|it| it.process.as_ref()).unwrap_or(&NONE)
}

/// All instances.
#[derive(Debug, Default)]
pub(super) struct Instances {
    by_no: BTreeMap<InstanceNo, Instance>,
    by_key: BTreeMap<Key, InstanceNo>,
    by_connection: BTreeMap<ConnectionId, InstanceNo>,
    last_no: u64,
}

/// The table of instances is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Instances {
    /// An instance has connected, for the first time or again. Its newest connection is the one that counts. Returns its
    /// older one too.
    pub(super) fn connect(
        &mut self,
        now: Duration,
        connection: ConnectionId,
        hello: Hello,
        default_lease: Duration,
        limit: usize,
    ) -> Result<(InstanceNo, Option<ConnectionId>), Full> {
        let key = Key::of(&hello);
        if let Some(no) = self.by_key.get(&key).copied()
            && let Some(instance) = self.by_no.get_mut(&no)
        {
            let older = instance.connection.replace(connection);
            if let Some(older) = older {
                self.by_connection.remove(&older);
            }
            self.by_connection.insert(connection, no);
            let fresh = Instance::new(now, connection, hello, default_lease);
            // What is open, and what was lost, is the same instance's.
            *instance = Instance {
                mirror: std::mem::take(&mut instance.mirror),
                endings: std::mem::take(&mut instance.endings),
                expired: std::mem::take(&mut instance.expired),
                said: std::mem::take(&mut instance.said),
                dropped: instance.dropped,
                lack: instance.lack,
                ..fresh
            };
            instance.mirror.begin_set();
            return Ok((no, older));
        }
        if self.by_no.len() >= limit {
            return Err(Full);
        }
        self.last_no += 1;
        let no = InstanceNo(self.last_no);
        self.by_key.insert(key, no);
        self.by_connection.insert(connection, no);
        let mut instance = Instance::new(now, connection, hello, default_lease);
        instance.mirror.begin_set();
        self.by_no.insert(no, instance);
        Ok((no, None))
    }

    /// A connection has ended, or does not count any more. Returns its instance if it had no newer one.
    pub(super) fn disconnect(&mut self, connection: ConnectionId) -> Option<InstanceNo> {
        let no = self.by_connection.remove(&connection)?;
        self.by_no.get_mut(&no)?.connection = None;
        Some(no)
    }

    /// The instance is no more.
    pub(super) fn remove(&mut self, no: InstanceNo) -> Option<Instance> {
        let instance = self.by_no.remove(&no)?;
        self.by_key.remove(&Key::of(&instance.hello));
        if let Some(connection) = instance.connection {
            self.by_connection.remove(&connection);
        }
        Some(instance)
    }

    pub(super) fn find(&self, key: &Key) -> Option<InstanceNo> {
        self.by_key.get(key).copied()
    }

    pub(super) fn of(&self, connection: ConnectionId) -> Option<InstanceNo> {
        self.by_connection.get(&connection).copied()
    }

    pub(super) fn get(&self, no: InstanceNo) -> Option<&Instance> {
        self.by_no.get(&no)
    }

    pub(super) fn get_mut(&mut self, no: InstanceNo) -> Option<&mut Instance> {
        self.by_no.get_mut(&no)
    }

    pub(super) fn len(&self) -> usize {
        self.by_no.len()
    }

    /// Time passes: what has ended long ago is forgotten.
    pub(super) fn forget(&mut self, kept: &mut Kept, now: Duration) {
        for instance in self.by_no.values_mut() {
            instance.endings.forget(kept, now);
        }
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (InstanceNo, &Instance)> {
        self.by_no.iter().map(|(no, instance)| (*no, instance))
    }

    /// Nobody has been listened to for so long: that is not their silence.
    pub(super) fn excuse(&mut self, gap: Duration) {
        for instance in self.by_no.values_mut() {
            instance.last_heard += gap;
        }
    }
}
