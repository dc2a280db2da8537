//! Who takes part: instances, their connections, leases and sequence numbers.
//!
//! Knows nothing of spans beyond the ids that an unfinished open set has named so far.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use standoff_protocol::stream::Process;
use standoff_wait_graph::{InstanceId, SpanId};

use crate::known::InstanceKey;
use crate::losses::OfInstance;

/// The most instances at once. Ten thousand replicas that all make long calls are far beyond one collector anyway.
pub(crate) const INSTANCES_MAX: usize = 10_000;

/// The most spans of one open set: as many as the graph keeps of all instances together. Each costs about 10 bytes here.
pub(crate) const OPEN_SET_SPANS_MAX: usize = 1 << 21;

/// One connection of one instance. Numbered by the stream server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// Who an instance says it is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) key: InstanceKey,
    pub(crate) service: String,
    /// Empty if it has none.
    pub(crate) namespace: String,
    /// Empty if it cannot tell.
    pub(crate) process: Process,
    pub(crate) lease: Option<Duration>,
    /// It takes part with telemetry of its own, which answers nothing.
    pub(crate) cannot_be_asked: bool,
}

/// One running copy of a service, as the collector knows it.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) identity: Identity,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) presence: Presence,
    pub(crate) last_heard: Duration,
    pub(crate) lease: Duration,
    pub(crate) losses: OfInstance,
    /// When it last gave a sign of life after all that there was to say.
    pub(crate) heartbeat_at: Duration,
    /// Since when what it says has come without a gap.
    pub(crate) steady_since: Duration,
    /// Starts that were not taken in, since the library of the same process tells of them.
    pub(crate) told_twice: u64,
    sync: Sync,
}

/// Whether an instance is believed alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Present,
    /// Its lease has run out.
    Silent,
}

/// Where an instance's mirror stands.
#[derive(Debug)]
enum Sync {
    /// Parts of an open set are coming in; these spans were named so far.
    OpenSet(BTreeSet<SpanId>),
    /// The mirror is whole, and this batch comes next.
    Batches { next: u64 },
    /// A batch is missing; an open set has been asked for.
    Gap,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Apply it.
    Next,
    /// Apply it (what it says is true), and ask for the full open set: something before it is missing.
    Gap {
        /// So many batches, or one that came twice.
        batches: u64,
    },
    /// Apply it; the full open set has been asked for already.
    AwaitingOpenSet,
}

impl Instance {
    /// Whether its full open set has been heard on its present connection.
    pub(crate) fn is_synced(&self) -> bool {
        self.connection.is_some() && matches!(self.sync, Sync::Batches { .. })
    }

    /// Notes the spans of a part of an open set. Returns the whole set with its last part.
    pub(crate) fn open_set(
        &mut self,
        spans: impl Iterator<Item = SpanId>,
        complete: bool,
    ) -> Result<Option<BTreeSet<SpanId>>, TooLarge> {
        let mut named = match std::mem::replace(&mut self.sync, Sync::Gap) {
            Sync::OpenSet(named) => named,
            Sync::Batches { .. } | Sync::Gap => BTreeSet::new(),
        };
        named.extend(spans);
        if named.len() > OPEN_SET_SPANS_MAX {
            return Err(TooLarge {
                spans: named.len() as u64,
            });
        }
        if complete {
            self.sync = Sync::Batches { next: 1 };
            return Ok(Some(named));
        }
        self.sync = Sync::OpenSet(named);
        Ok(None)
    }

    /// Judges the number of a batch.
    pub(crate) fn batch(&mut self, sequence: u64) -> Order {
        match &mut self.sync {
            Sync::Batches { next } if *next == sequence => {
                *next += 1;
                Order::Next
            }
            Sync::Batches { next } => {
                let batches = sequence.saturating_sub(*next).max(1);
                self.sync = Sync::Gap;
                Order::Gap { batches }
            }
            Sync::OpenSet(_) | Sync::Gap => Order::AwaitingOpenSet,
        }
    }
}

/// An open set names more spans than are accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    /// How many were named until then.
    pub(crate) spans: u64,
}

/// What a process is called however it takes part: with a library, by telemetry of its own, or both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    namespace: String,
    service: String,
    instance_id: String,
}

impl Name {
    fn of(identity: &Identity) -> Self {
        Self {
            namespace: identity.namespace.clone(),
            service: identity.service.clone(),
            instance_id: identity.key.instance_id.clone(),
        }
    }
}

/// All instances.
#[derive(Debug, Default)]
pub(crate) struct Instances {
    by_id: BTreeMap<InstanceId, Instance>,
    by_name: HashMap<Name, BTreeSet<InstanceId>>,
    by_key: HashMap<InstanceKey, InstanceId>,
    by_connection: HashMap<ConnectionId, InstanceId>,
    last_id: u64,
    /// How many of them cannot be asked.
    unasked: usize,
    /// No lease runs out before this; none at all if it is absent. It is looked at for every message, so it is only brought
    /// up to date when its time has come: leases are mostly renewed by then.
    no_expiry_before: Option<Duration>,
}

/// The table of instances is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Instances {
    /// An instance has connected, for the first time or again. Its newest connection is the one that counts.
    pub(crate) fn connect(
        &mut self,
        now: Duration,
        connection: ConnectionId,
        identity: Identity,
        default_lease: Duration,
    ) -> Result<InstanceId, Full> {
        let lease = identity.lease.unwrap_or(default_lease);
        let id = match self.by_key.get(&identity.key) {
            Some(id) => *id,
            None if self.by_id.len() >= INSTANCES_MAX => return Err(Full),
            None => {
                self.last_id += 1;
                InstanceId(self.last_id)
            }
        };
        self.by_key.insert(identity.key.clone(), id);
        self.by_connection.insert(connection, id);
        let before = self.by_id.remove(&id);
        if let Some(before) = &before {
            self.forget_name(id, &before.identity);
        }
        self.by_name.entry(Name::of(&identity)).or_default().insert(id);
        let is_unasked = |identity: &Identity| usize::from(identity.cannot_be_asked);
        self.unasked -= before.as_ref().map_or(0, |it| is_unasked(&it.identity));
        self.unasked += is_unasked(&identity);
        if let Some(old) = before.as_ref().and_then(|it| it.connection) {
            self.by_connection.remove(&old);
        }
        let instance = Instance {
            identity,
            connection: Some(connection),
            presence: before.as_ref().map_or(Presence::Present, |it| it.presence),
            last_heard: now,
            lease,
            losses: before.map(|it| it.losses).unwrap_or_default(),
            heartbeat_at: now,
            steady_since: now,
            told_twice: 0,
            sync: Sync::OpenSet(BTreeSet::new()),
        };
        self.by_id.insert(id, instance);
        self.may_expire_at(now + lease);
        Ok(id)
    }

    fn forget_name(&mut self, id: InstanceId, identity: &Identity) {
        let name = Name::of(identity);
        if let Some(ids) = self.by_name.get_mut(&name) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_name.remove(&name);
            }
        }
    }

    /// The others that are the same process by their names, and whether each can be asked.
    pub(crate) fn namesakes(&self, id: InstanceId) -> impl Iterator<Item = (InstanceId, bool)> {
        let name = self.get(id).map(|it| Name::of(&it.identity));
        let ids = name.and_then(|name| self.by_name.get(&name)).into_iter().flatten();
        let others = ids.copied().filter(move |other| *other != id);
        others.map(|other| (other, self.answers(other)))
    }

    /// Who speaks for the process of somebody who cannot be asked: its library, if it has one.
    pub(crate) fn voice_of(&self, id: InstanceId) -> Option<InstanceId> {
        if self.answers(id) {
            return None;
        }
        self.namesakes(id).filter(|(_, answers)| *answers).map(|it| it.0).max()
    }

    /// Whatever is known of an instance by its number is to be forgotten: it has another one from now on.
    pub(crate) fn renumber(&mut self, id: InstanceId) -> Option<InstanceId> {
        let instance = self.by_id.remove(&id)?;
        self.forget_name(id, &instance.identity);
        self.last_id += 1;
        let id = InstanceId(self.last_id);
        self.by_name.entry(Name::of(&instance.identity)).or_default().insert(id);
        self.by_key.insert(instance.identity.key.clone(), id);
        if let Some(connection) = instance.connection {
            self.by_connection.insert(connection, id);
        }
        self.by_id.insert(id, instance);
        Some(id)
    }

    /// The instance, which was silent, is heard of at `now`.
    pub(crate) fn is_back(&mut self, now: Duration, id: InstanceId) {
        if let Some(instance) = self.by_id.get_mut(&id) {
            instance.presence = Presence::Present;
            let lease = instance.lease;
            self.may_expire_at(now + lease);
        }
    }

    fn may_expire_at(&mut self, at: Duration) {
        self.no_expiry_before = Some(self.no_expiry_before.map_or(at, |it| it.min(at)));
    }

    /// A connection has ended. Returns its instance if it had no newer one.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) -> Option<InstanceId> {
        let id = self.by_connection.remove(&connection)?;
        let instance = self.by_id.get_mut(&id)?;
        instance.connection = None;
        Some(id)
    }

    /// The instance is no more.
    pub(crate) fn remove(&mut self, id: InstanceId) -> Option<Instance> {
        let instance = self.by_id.remove(&id)?;
        self.by_key.remove(&instance.identity.key);
        self.forget_name(id, &instance.identity);
        self.unasked -= usize::from(instance.identity.cannot_be_asked);
        if let Some(connection) = instance.connection {
            self.by_connection.remove(&connection);
        }
        Some(instance)
    }

    /// The connection that an instance has, if it is known and has one.
    pub(crate) fn connection_of(&self, key: &InstanceKey) -> Option<ConnectionId> {
        self.by_id.get(self.by_key.get(key)?)?.connection
    }

    pub(crate) fn of(&self, connection: ConnectionId) -> Option<InstanceId> {
        self.by_connection.get(&connection).copied()
    }

    pub(crate) fn get(&self, id: InstanceId) -> Option<&Instance> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: InstanceId) -> Option<&mut Instance> {
        self.by_id.get_mut(&id)
    }

    /// Whether an instance can be asked anything. One that is gone could be before.
    pub(crate) fn answers(&self, id: InstanceId) -> bool {
        self.get(id).is_none_or(|it| !it.identity.cannot_be_asked)
    }

    /// When an instance last gave a sign of life after all that there was to say.
    pub(crate) fn heartbeat_at(&self, id: InstanceId) -> Duration {
        self.get(id).map_or(Duration::ZERO, |it| it.heartbeat_at)
    }

    /// Whether there is anybody who cannot be asked.
    pub(crate) fn has_unasked(&self) -> bool {
        self.unasked > 0
    }

    /// All of them, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (InstanceId, &Instance)> {
        self.by_id.iter().map(|(id, instance)| (*id, instance))
    }

    /// Nobody has been listened to for so long: that is not their silence.
    pub(crate) fn excuse(&mut self, gap: Duration) {
        for instance in self.by_id.values_mut() {
            instance.last_heard += gap;
        }
    }

    /// Those that should have been heard of by `now`, and were not. They are silent from now on.
    pub(crate) fn overdue(&mut self, now: Duration) -> Vec<InstanceId> {
        if self.no_expiry_before.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let mut overdue = Vec::new();
        let mut next = None;
        for (id, instance) in &mut self.by_id {
            if instance.presence == Presence::Silent {
                continue;
            }
            let expiry = instance.last_heard + instance.lease;
            if now >= expiry {
                instance.presence = Presence::Silent;
                overdue.push(*id);
            } else {
                next = Some(next.map_or(expiry, |it: Duration| it.min(expiry)));
            }
        }
        self.no_expiry_before = next;
        overdue
    }

    /// When to look again for those that are overdue.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        self.no_expiry_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(3);

    fn identity(name: &str) -> Identity {
        Identity {
            key: InstanceKey {
                instance_id: name.into(),
                incarnation: 1,
            },
            service: "service-a".into(),
            namespace: String::new(),
            process: Process::default(),
            lease: None,
            cannot_be_asked: false,
        }
    }

    fn connected(instances: &mut Instances, connection: u64, name: &str) -> InstanceId {
        instances
            .connect(Duration::ZERO, ConnectionId(connection), identity(name), LEASE)
            .unwrap()
    }

    #[test]
    fn an_instance_keeps_its_number_over_reconnects() {
        let mut instances = Instances::default();
        let id = connected(&mut instances, 1, "a-1");
        assert_eq!(connected(&mut instances, 2, "a-1"), id);
        assert_eq!(
            instances.disconnect(ConnectionId(1)),
            None,
            "its older connection no longer counts"
        );
        assert_eq!(instances.disconnect(ConnectionId(2)), Some(id));
    }

    #[test]
    fn a_later_incarnation_is_another_instance() {
        let mut instances = Instances::default();
        let first = connected(&mut instances, 1, "a-1");
        let mut later = identity("a-1");
        later.key.incarnation = 2;
        let second = instances
            .connect(Duration::ZERO, ConnectionId(2), later, LEASE)
            .unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn a_gap_is_noticed_once() {
        let mut instances = Instances::default();
        let id = connected(&mut instances, 1, "a-1");
        let instance = instances.get_mut(id).unwrap();
        assert!(!instance.is_synced());
        assert_eq!(instance.open_set([SpanId(1)].into_iter(), false), Ok(None));
        assert_eq!(
            instance.open_set([SpanId(2)].into_iter(), true),
            Ok(Some([SpanId(1), SpanId(2)].into()))
        );
        assert!(instance.is_synced());
        assert_eq!(instance.batch(1), Order::Next);
        assert_eq!(instance.batch(3), Order::Gap { batches: 1 });
        assert_eq!(instance.batch(4), Order::AwaitingOpenSet);
        assert_eq!(instance.open_set([].into_iter(), true), Ok(Some(BTreeSet::new())));
        assert_eq!(instance.batch(1), Order::Next);
    }

    #[test]
    fn a_lease_that_was_renewed_runs_out_later() {
        let mut instances = Instances::default();
        let [one, other] =
            [(1, "a-1"), (2, "a-2")].map(|(connection, name)| connected(&mut instances, connection, name));
        instances.get_mut(one).unwrap().last_heard = LEASE / 2;
        assert_eq!(instances.overdue(LEASE), [other]);
        assert_eq!(instances.next_expiry(), Some(LEASE + LEASE / 2));
        instances.excuse(LEASE);
        assert_eq!(instances.overdue(LEASE + LEASE / 2), []);
        assert_eq!(instances.overdue(2 * LEASE + LEASE / 2), [one]);
    }

    #[test]
    fn a_lease_runs_out_once() {
        let mut instances = Instances::default();
        let id = connected(&mut instances, 1, "a-1");
        assert_eq!(instances.next_expiry(), Some(LEASE));
        assert_eq!(instances.overdue(LEASE - Duration::from_nanos(1)), []);
        assert_eq!(instances.overdue(LEASE), [id]);
        assert_eq!(instances.get(id).unwrap().presence, Presence::Silent);
        assert_eq!(instances.overdue(LEASE), []);
        assert_eq!(instances.next_expiry(), None);
        instances.is_back(LEASE, id);
        assert_eq!(instances.next_expiry(), Some(2 * LEASE));
    }
}
