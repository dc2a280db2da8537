//! Random batches, in random order, beside a model that keeps everything for ever.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// So few spans that most are spoken of several times.
const SPANS: u64 = 12;
const INSTANCES: u32 = 3;

/// What a request says of a span, and of which instance.
#[derive(Clone, Debug)]
enum Says {
    Ends { id: u64, instance: u32 },
    Starts(Start),
}

#[derive(Clone, Copy, Debug)]
struct Start {
    id: u64,
    instance: u32,
    /// Seconds since it began by its host's clock, which may be wrong; `None` if it does not say.
    age: Option<i32>,
    /// Seconds; 0 if it has none.
    timeout: u64,
    /// Seconds between heartbeats.
    heartbeat: Option<u64>,
    is_member: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Take(Vec<Says>),
    Wait(u64),
}

fn start() -> impl Strategy<Value = Start> {
    let age = prop_oneof![
        1 => Just(None),
        4 => (-10..30).prop_map(Some),
        1 => (590..620).prop_map(Some),
    ];
    let heartbeat = prop_oneof![2 => Just(None), 1 => (1..8_u64).prop_map(Some)];
    let timeout = prop_oneof![2 => Just(0), 1 => 1..40_u64];
    (
        1..=SPANS,
        0..INSTANCES,
        age,
        timeout,
        heartbeat,
        prop::bool::weighted(0.2),
    )
        .prop_map(|(id, instance, age, timeout, heartbeat, is_member)| Start {
            id,
            instance,
            age,
            timeout,
            heartbeat,
            is_member,
        })
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![
        1 => (1..=SPANS, 0..INSTANCES).prop_map(|(id, instance)| Says::Ends { id, instance }),
        2 => start().prop_map(Says::Starts),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![4 => 0..12_u64, 1 => 100..700_u64];
    prop_oneof![
        3 => vec(says(), 0..6).prop_map(Step::Take),
        2 => wait.prop_map(Step::Wait),
    ]
}

/// A span that the model knows.
#[derive(Clone, Copy, Debug)]
struct Span {
    instance: u32,
    opened: u64,
    timeout: Option<u64>,
    /// The last heartbeat and three times how often they come.
    lease: Option<(u64, u64)>,
    is_member: bool,
}

/// Everything that was said, for ever, in seconds. It says nothing of what is passed on, only of what is open.
#[derive(Debug, Default)]
struct Model {
    now: u64,
    open: BTreeMap<u64, Span>,
    /// When they ended last.
    ended: BTreeMap<u64, u64>,
    heard: BTreeMap<u32, u64>,
}

impl Model {
    /// Whether it is a start of a span that ended so long ago that this need not be remembered.
    fn may_be_forgotten(&self, says: &Says) -> bool {
        let Says::Starts(start) = says else {
            return false;
        };
        self.ended.get(&start.id).is_some_and(|ended| self.now - ended >= 60)
    }

    fn take(&mut self, batch: &[Says]) {
        let ends = |says: &Says| matches!(says, Says::Ends { .. });
        for says in batch
            .iter()
            .filter(|it| ends(it))
            .chain(batch.iter().filter(|it| !ends(it)))
        {
            match says {
                Says::Ends { id, .. } => {
                    self.ended.insert(*id, self.now);
                    self.open.remove(id);
                }
                Says::Starts(start) => self.start(start),
            }
        }
        // As it is in a request: all instances that are named in it are heard of.
        for instance in 0..INSTANCES {
            self.heard.insert(instance, self.now);
        }
    }

    fn start(&mut self, start: &Start) {
        let lease = start.heartbeat.map(|often| (self.now, 3 * often));
        if let Some(open) = self.open.get_mut(&start.id) {
            open.lease = lease.or(open.lease);
            return;
        }
        if self.ended.contains_key(&start.id) {
            return;
        }
        let age = start
            .age
            .and_then(|age| u64::try_from(age).ok())
            .filter(|age| *age <= 600);
        let opened = self.now - age.unwrap_or(0);
        let span = Span {
            instance: start.instance,
            opened,
            timeout: (start.timeout > 0).then(|| opened + start.timeout),
            lease,
            is_member: start.is_member,
        };
        self.open.insert(start.id, span);
        if span.timeout.is_some_and(|timeout| timeout <= self.now) {
            self.open.remove(&start.id);
            self.ended.insert(start.id, self.now);
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds;
        for (id, span) in std::mem::take(&mut self.open) {
            let until = match span.lease {
                Some((last, lease)) => last + lease,
                // Its age alone is no reason.
                None if span.is_member => (span.opened + 600).max(self.heard[&span.instance] + 600),
                None => span.opened + 600,
            };
            let has_timed_out = span.timeout.is_some_and(|timeout| timeout <= until);
            if span.timeout.unwrap_or(until).min(until) > self.now {
                self.open.insert(id, span);
            } else if has_timed_out || span.lease.is_none() {
                self.ended.insert(id, self.now);
            }
        }
    }
}

/// What whoever listens believes to be open, and of whom.
#[derive(Debug, Default)]
struct Listener {
    open: BTreeMap<u64, SourceNo>,
    sources: BTreeMap<SourceNo, String>,
}

impl Listener {
    fn hear(&mut self, said: &[Said]) -> Result<(), TestCaseError> {
        for said in said {
            match said {
                Said::Came { source, hello } => {
                    let name = hello.instance.clone().unwrap_or_default().instance_id;
                    prop_assert!(
                        !self.sources.values().any(|known| *known == name),
                        "{name} is there already"
                    );
                    prop_assert!(self.sources.insert(*source, name).is_none());
                }
                Said::Left { source } => {
                    prop_assert!(self.sources.remove(source).is_some());
                    prop_assert!(!self.open.values().any(|it| it == source), "something of it is open");
                }
                Said::Batch { source, batch } => self.hear_batch(*source, batch)?,
            }
        }
        for said in said {
            if let Said::Batch { batch, .. } = said {
                let mut ended = batch.ended.iter().map(|it| it.span_id);
                prop_assert!(!ended.any(|id| self.open.contains_key(&id)), "it has ended");
            }
        }
        Ok(())
    }

    fn hear_batch(&mut self, source: SourceNo, batch: &stream::Batch) -> Result<(), TestCaseError> {
        prop_assert!(self.sources.contains_key(&source));
        prop_assert!(*batch != stream::Batch::default(), "a message that says nothing");
        prop_assert_eq!(check_spans(&batch.started), Ok(()));
        for finished in &batch.finished {
            prop_assert_eq!(self.open.remove(&finished.span_id), Some(source));
        }
        for started in &batch.started {
            let before = self.open.insert(started.span_id, source);
            prop_assert!(before.is_none_or(|before| before == source), "of two sources");
        }
        Ok(())
    }
}

fn request(world: &World, batch: &[Says]) -> signal::Batch {
    let mut request = signal::Batch::default();
    for instance in 0..INSTANCES {
        request.instances.push(super::instance("a", &instance.to_string()));
    }
    for says in batch {
        match says {
            Says::Ends { id, instance } => request.finished.push(signal::Finished {
                instance: InstanceIx(*instance),
                ..finished(*id, 99, Role::Call)
            }),
            Says::Starts(start) => {
                let mut started = world.started(start.id, seconds(0));
                started.instance = InstanceIx(start.instance);
                let age = start.age.map(|age| i64::from(age) * 1_000_000_000);
                started.start_time_unix_nano =
                    age.map_or(0, |age| started.start_time_unix_nano.saturating_add_signed(-age));
                started.span.timeout_ms = 1000 * start.timeout;
                if start.is_member {
                    started.span.role = Role::Member.into();
                }
                if let Some(often) = start.heartbeat {
                    started.source = signal::Source::PartialLog {
                        heartbeat: seconds(often),
                    };
                }
                request.started.push(Box::new(started));
            }
        }
    }
    request
}

proptest! {
    #[test]
    fn what_is_said_to_be_open_is_open(steps in vec(step(), 1..40)) {
        let mut world = World::new();
        let mut model = Model { now: 1000, ..Model::default() };
        let mut listener = Listener::default();
        for step in steps {
            match step {
                Step::Take(mut batch) => {
                    batch.retain(|says| !model.may_be_forgotten(says));
                    let request = request(&world, &batch);
                    let unix_now = world.unix_now();
                    world.sources.take(world.now, unix_now, request, &mut world.said);
                    model.take(&batch);
                }
                Step::Wait(time) => {
                    world.now += seconds(time);
                    world.sources.expire(world.now, &mut world.said);
                    model.wait(time);
                    prop_assert!(world.sources.next_expiry().is_none_or(|next| next > world.now));
                }
            }
            listener.hear(&std::mem::take(&mut world.said))?;
            let instance = |id: u64| listener.sources[&listener.open[&id]].clone();
            let said: BTreeMap<u64, String> = listener.open.keys().map(|id| (*id, instance(*id))).collect();
            let open = model.open.iter().map(|(id, span)| (*id, span.instance.to_string()));
            prop_assert_eq!(said, open.collect::<BTreeMap<_, _>>());
            prop_assert_eq!(world.sources.counts().open, model.open.len() as u64);
            let known: Vec<SourceNo> = world.sources.sources().collect();
            prop_assert_eq!(known, listener.sources.keys().copied().collect::<Vec<_>>());
        }
    }
}
