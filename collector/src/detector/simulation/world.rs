//! What truly happens: instances, actors, pools and locks, and tasks that call, hold and wait.
//!
//! It tells of spans as an application would, and knows nothing of how they are reported. Who is dead is decided in
//! [`truth`] from what is really going on, not from spans.

mod truth;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use standoff_protocol::stream::{Outcome, Role, Started, WaitGroup};

pub(super) use self::truth::{Doubt, Truth};
use crate::detector::chance::{Agenda, Random};

/// Deeper than this nobody calls anybody.
const DEPTH_MAX: usize = 4;
/// With so many tasks, new ones only compute.
const TASKS_MAX: usize = 40;

/// What kinds of things happen in a world.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nature {
    pub(super) crashes: bool,
    pub(super) stalls: bool,
    /// Pools gain and lose members.
    pub(super) scaling: bool,
    /// Idle actors move to other instances.
    pub(super) moves: bool,
    /// Calls are given up.
    pub(super) timeouts: bool,
    /// What a lost consumer was working on is given to another one.
    pub(super) redelivery: bool,
}

/// What the application does that its library, or the collector's host, can see.
#[derive(Debug)]
pub(super) enum Change {
    Joined(usize),
    Started(usize, Started),
    Ended(usize, u64, Outcome),
    /// The application's threads stop, and with them, if `whole`, everything else in the process.
    Stalled(usize, Stall),
    Resumed(usize),
    Died(usize, Goodbye),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stall {
    Application,
    Process,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goodbye {
    Said,
    Unsaid,
}

#[derive(Clone, Debug)]
enum Event {
    Arrive(Request, Target),
    Deliver(usize, u64),
    Proceed(u64),
    Reply(u64, Outcome),
    Timeout(u64),
    Granted(u64),
    Client,
    Mishap,
    Resume(usize),
    Restart(usize),
    Register(usize, u64),
    Join,
}

#[derive(Debug)]
struct Instance {
    is_alive: bool,
    /// Its process can be looked up by the collector.
    is_visible: bool,
    is_stalled: bool,
    /// What happens once it goes on.
    deferred: Vec<Event>,
}

/// Exclusive: one turn at a time.
#[derive(Debug)]
struct Actor {
    host: Option<usize>,
    turn: Option<u64>,
    mailbox: VecDeque<Request>,
}

#[derive(Debug, Default)]
struct Pool {
    queue: VecDeque<Request>,
    /// By the span of the member.
    consumers: BTreeMap<u64, Consumer>,
}

#[derive(Debug)]
struct Consumer {
    instance: usize,
    registered: bool,
    /// What it works on, and the task once that has begun.
    busy: Option<(Request, Option<u64>)>,
}

#[derive(Debug)]
struct Lock {
    capacity: usize,
    holders: Vec<u64>,
    queue: VecDeque<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Actor(usize),
    Pool(usize),
    Lock(usize),
    /// Serves everybody at once.
    Service(usize),
}

#[derive(Clone, Debug)]
struct Request {
    call: u64,
    parent: u64,
    conversation: String,
    depth: usize,
}

#[derive(Debug)]
struct Call {
    task: u64,
    instance: usize,
    target: Target,
    place: Place,
    started_at: Duration,
    attempt: Option<u64>,
    /// A handler of it was lost, and another one may have it.
    was_orphaned: bool,
}

/// Where a call has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Queued,
    /// A consumer has been chosen, or a lock granted; the word is on its way.
    Granted,
    Handled(u64),
    Replied,
    /// Whoever had it is no more, and nobody will say so.
    Lost,
}

#[derive(Debug)]
struct Task {
    instance: usize,
    /// Whether its own span is reported.
    is_handle: bool,
    answers: Option<u64>,
    seat: Seat,
    depth: usize,
    script: VecDeque<Step>,
    waiting: Option<Waiting>,
    holds: Vec<(usize, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum Seat {
    None,
    Actor(usize),
    Consumer(usize, u64),
}

#[derive(Debug)]
struct Waiting {
    needed: usize,
    calls: BTreeSet<u64>,
    succeeded: usize,
    failed: usize,
}

#[derive(Debug)]
enum Step {
    Compute(Duration),
    Call { targets: Vec<Target>, needed: usize },
    Lock(usize),
    Unlock(usize),
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Duration,
    nature: Nature,
    random: Random,
    agenda: Agenda<Event>,
    changes: Vec<Change>,
    instances: Vec<Instance>,
    actors: Vec<Actor>,
    pools: Vec<Pool>,
    locks: Vec<Lock>,
    tasks: BTreeMap<u64, Task>,
    calls: BTreeMap<u64, Call>,
    last_id: u64,
    season: Season,
    /// Until then no process stalls.
    spared_until: Duration,
    /// Something has happened that may make the dead live again.
    excused: bool,
    pub(super) truth: Truth,
    pub(super) doubt: Doubt,
}

/// What happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Season {
    Chaos,
    /// Nothing is lost, nothing begins and nobody gives up.
    Calm,
    /// Everybody gives up.
    Drain,
}

impl World {
    pub(super) fn new(now: Duration, mut random: Random, nature: Nature) -> Self {
        let mut world = Self {
            now,
            nature,
            agenda: Agenda::default(),
            changes: Vec::new(),
            instances: Vec::new(),
            actors: Vec::new(),
            pools: Vec::new(),
            locks: Vec::new(),
            tasks: BTreeMap::new(),
            calls: BTreeMap::new(),
            last_id: 0,
            season: Season::Chaos,
            spared_until: now,
            excused: false,
            truth: Truth::default(),
            doubt: Doubt::default(),
            random: random.fork(),
        };
        for _ in 0..random.within(2, 4) {
            world.join();
        }
        for _ in 0..random.within(1, 4) {
            let host = random.below(world.instances.len());
            world.actors.push(Actor {
                host: Some(host),
                turn: None,
                mailbox: VecDeque::new(),
            });
        }
        for pool in 0..random.within(0, 2) {
            world.pools.push(Pool::default());
            for _ in 0..random.within(1, 3) {
                let instance = random.below(world.instances.len());
                world.add_consumer(pool, instance);
            }
        }
        for _ in 0..random.within(0, 2) {
            world.locks.push(Lock {
                capacity: random.within(1, 2),
                holders: Vec::new(),
                queue: VecDeque::new(),
            });
        }
        // The first second is for the libraries to connect.
        world.agenda.add(now + Duration::from_millis(1500), Event::Client);
        world.agenda.add(now + Duration::from_millis(1600), Event::Mishap);
        world
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.agenda.next_at()
    }

    /// Lets the next thing happen, and says what can be seen of it.
    pub(super) fn step(&mut self) -> Vec<Change> {
        if let Some((at, event)) = self.agenda.pop() {
            self.now = at;
            self.happen(event);
        }
        self.look()
    }

    /// Nothing is lost, nothing begins and nobody gives up from now on.
    pub(super) fn calm(&mut self, now: Duration) -> Vec<Change> {
        self.now = now;
        self.season = Season::Calm;
        for instance in 0..self.instances.len() {
            self.resume(instance);
        }
        self.look()
    }

    /// Every process runs until then.
    pub(super) fn spare(&mut self, until: Duration) {
        self.spared_until = until;
    }

    /// Everybody gives up.
    pub(super) fn drain(&mut self, now: Duration) -> Vec<Change> {
        self.now = now;
        self.season = Season::Drain;
        self.excused = true;
        for call in self.calls.keys().copied().collect::<Vec<_>>() {
            let at = self.now + self.random.ms(2000);
            self.agenda.add(at, Event::Timeout(call));
        }
        self.look()
    }

    pub(super) fn is_dead(&self, instance: usize) -> bool {
        !self.instances[instance].is_alive
    }

    pub(super) fn is_visible(&self, instance: usize) -> bool {
        self.instances[instance].is_visible
    }

    /// The names of everything that tasks may wait for.
    pub(super) fn names(&self) -> Vec<String> {
        let actors = (0..self.actors.len()).map(actor_name);
        let pools = (0..self.pools.len()).map(pool_name);
        actors
            .chain(pools)
            .chain((0..self.locks.len()).map(lock_name))
            .collect()
    }

    pub(super) fn has_tasks(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Brings the truth up to date, and sees that it is one: who was dead cannot proceed by itself.
    fn look(&mut self) -> Vec<Change> {
        let dead = self.dead(None);
        let excused = std::mem::take(&mut self.excused);
        if let Some(risen) = self.truth.now().tasks.difference(&dead.tasks).next() {
            assert!(
                excused,
                "task {risen:x} was dead and went on by itself: the world is wrong"
            );
        }
        self.truth.note(self.now, dead);
        std::mem::take(&mut self.changes)
    }

    fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn living(&self) -> Vec<usize> {
        (0..self.instances.len())
            .filter(|it| self.instances[*it].is_alive)
            .collect()
    }
}

/// Things happen.
impl World {
    fn happen(&mut self, event: Event) {
        if let Some(instance) = self.place_of(&event)
            && self.instances[instance].is_stalled
        {
            self.instances[instance].deferred.push(event);
            return;
        }
        match event {
            Event::Arrive(request, target) => self.arrive(request, target),
            Event::Deliver(pool, consumer) => {
                let Some(it) = self.pools[pool].consumers.get(&consumer) else {
                    return;
                };
                if let Some((request, None)) = it.busy.clone() {
                    let task = self.begin(
                        it.instance,
                        &request,
                        vec![pool_name(pool)],
                        Seat::Consumer(pool, consumer),
                    );
                    if let Some(it) = self.pools[pool].consumers.get_mut(&consumer) {
                        it.busy = Some((request, Some(task)));
                    }
                    self.proceed(task);
                }
            }
            Event::Proceed(task) => self.proceed(task),
            Event::Reply(call, outcome) => {
                // Whoever needs all of several answers waits for none of the others once one has failed.
                self.excused |= outcome != Outcome::Finished;
                self.end_call(call, outcome);
            }
            Event::Timeout(call) => {
                if self.season != Season::Calm {
                    self.excused = true;
                    self.end_call(call, Outcome::Timeout);
                }
            }
            Event::Granted(call) => self.granted(call),
            Event::Client => self.client(),
            Event::Mishap => self.mishap(),
            Event::Resume(instance) => self.resume(instance),
            Event::Restart(actor) => {
                let host = self.random.pick(&self.living());
                self.excused = true;
                self.actors[actor].host = host;
            }
            Event::Register(pool, consumer) => {
                if let Some(consumer) = self.pools[pool].consumers.get_mut(&consumer) {
                    consumer.registered = true;
                    self.excused = true;
                }
                self.dispatch(pool);
            }
            Event::Join => {
                if self.season == Season::Chaos {
                    self.join();
                }
            }
        }
    }

    /// The instance that must run for it to happen.
    fn place_of(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Arrive(_, Target::Actor(actor)) => self.actors[*actor].host,
            Event::Arrive(_, Target::Service(instance)) => self.instances[*instance].is_alive.then_some(*instance),
            Event::Deliver(pool, consumer) | Event::Register(pool, consumer) => {
                self.pools[*pool].consumers.get(consumer).map(|it| it.instance)
            }
            Event::Proceed(task) => self.tasks.get(task).map(|it| it.instance),
            Event::Reply(call, _) | Event::Timeout(call) | Event::Granted(call) => {
                self.calls.get(call).map(|it| it.instance)
            }
            Event::Arrive(_, Target::Pool(_) | Target::Lock(_))
            | Event::Client
            | Event::Mishap
            | Event::Resume(_)
            | Event::Restart(_)
            | Event::Join => None,
        }
    }

    fn client(&mut self) {
        if self.season != Season::Chaos {
            return;
        }
        let again = self.now + self.random.ms(300);
        self.agenda.add(again, Event::Client);
        let running: Vec<usize> = self
            .living()
            .into_iter()
            .filter(|it| !self.instances[*it].is_stalled)
            .collect();
        if let Some(instance) = self.random.pick(&running) {
            let id = self.id();
            let script = self.script(0);
            let task = Task {
                instance,
                is_handle: false,
                answers: None,
                seat: Seat::None,
                depth: 0,
                script,
                waiting: None,
                holds: Vec::new(),
            };
            self.tasks.insert(id, task);
            self.proceed(id);
        }
    }

    fn mishap(&mut self) {
        if self.season != Season::Chaos {
            return;
        }
        let again = self.now + self.random.ms_within(50, 500);
        self.agenda.add(again, Event::Mishap);
        let living = self.living();
        let Some(instance) = self.random.pick(&living) else {
            return;
        };
        match self.random.below(5) {
            0 if self.nature.crashes && living.len() > 1 => self.crash(instance),
            1 | 2 if self.nature.stalls && !self.instances[instance].is_stalled => {
                let stall = if self.random.percent(60) || self.now < self.spared_until {
                    Stall::Application
                } else {
                    Stall::Process
                };
                self.instances[instance].is_stalled = true;
                self.changes.push(Change::Stalled(instance, stall));
                let for_ms = if self.random.percent(30) { 5000 } else { 800 };
                let until = self.now + self.random.ms_within(20, for_ms);
                self.agenda.add(until, Event::Resume(instance));
            }
            3 if self.nature.scaling && !self.pools.is_empty() => {
                let pool = self.random.below(self.pools.len());
                if self.random.percent(70) && !self.instances[instance].is_stalled {
                    self.add_consumer(pool, instance);
                } else {
                    self.remove_consumer(pool);
                }
            }
            4 if self.nature.moves => {
                let actor = self.random.below(self.actors.len());
                let it = &mut self.actors[actor];
                let is_idle = it.turn.is_none() && it.mailbox.is_empty();
                if is_idle && it.host.is_some_and(|host| !self.instances[host].is_stalled) {
                    it.host = Some(instance);
                }
            }
            _ => {}
        }
    }

    fn resume(&mut self, instance: usize) {
        let it = &mut self.instances[instance];
        if !it.is_alive || !std::mem::take(&mut it.is_stalled) {
            return;
        }
        for event in std::mem::take(&mut it.deferred) {
            self.agenda.add(self.now, event);
        }
        self.changes.push(Change::Resumed(instance));
    }
}

/// Instances and members come and go.
impl World {
    fn join(&mut self) {
        let is_visible = self.random.percent(70);
        self.instances.push(Instance {
            is_alive: true,
            is_visible,
            is_stalled: false,
            deferred: Vec::new(),
        });
        let instance = self.instances.len() - 1;
        self.changes.push(Change::Joined(instance));
        if instance >= 4 {
            for pool in 0..self.pools.len() {
                if self.random.percent(70) {
                    self.add_consumer(pool, instance);
                }
            }
        }
    }

    /// Its span begins before anything is sent to it.
    fn add_consumer(&mut self, pool: usize, instance: usize) {
        let id = self.id();
        let member = Started {
            span_id: id,
            role: Role::Member.into(),
            resources: vec![pool_name(pool)],
            ..Started::default()
        };
        self.changes.push(Change::Started(instance, member));
        self.pools[pool].consumers.insert(
            id,
            Consumer {
                instance,
                registered: false,
                busy: None,
            },
        );
        let at = self.now + self.random.ms(5);
        self.agenda.add(at, Event::Register(pool, id));
    }

    fn remove_consumer(&mut self, pool: usize) {
        let consumers = &mut self.pools[pool].consumers;
        let idle: Vec<u64> = consumers
            .iter()
            .filter(|(_, it)| it.busy.is_none() && !self.instances[it.instance].is_stalled)
            .map(|(id, _)| *id)
            .collect();
        if consumers.len() > 1
            && let Some(id) = self.random.pick(&idle)
            && let Some(consumer) = consumers.remove(&id)
        {
            self.changes
                .push(Change::Ended(consumer.instance, id, Outcome::Finished));
        }
    }

    fn crash(&mut self, instance: usize) {
        self.excused = true;
        self.instances[instance].is_alive = false;
        self.instances[instance].is_stalled = false;
        let goodbye = if self.random.percent(40) {
            Goodbye::Said
        } else {
            Goodbye::Unsaid
        };
        self.changes.push(Change::Died(instance, goodbye));
        let lost: Vec<u64> = self
            .tasks
            .iter()
            .filter(|(_, it)| it.instance == instance)
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            let Some(task) = self.tasks.remove(&id) else { continue };
            for call in task.waiting.into_iter().flat_map(|it| it.calls) {
                self.calls.remove(&call);
                for lock in &mut self.locks {
                    lock.queue.retain(|queued| *queued != call);
                }
            }
            for lock in 0..self.locks.len() {
                self.release(lock, id);
            }
            if let (Some(call), Seat::None | Seat::Actor(_)) = (task.answers, task.seat) {
                self.lose(call);
            }
        }
        for actor in 0..self.actors.len() {
            if self.actors[actor].host == Some(instance) {
                self.actors[actor].host = None;
                self.actors[actor].turn = None;
                for request in std::mem::take(&mut self.actors[actor].mailbox) {
                    self.lose(request.call);
                }
                let at = self.now + self.random.ms_within(20, 1000);
                self.agenda.add(at, Event::Restart(actor));
            }
        }
        for pool in 0..self.pools.len() {
            let gone: Vec<Consumer> = self.pools[pool]
                .consumers
                .extract_if(.., |_, it| it.instance == instance)
                .map(|it| it.1)
                .collect();
            for consumer in gone {
                let Some((request, _)) = consumer.busy else { continue };
                if self.nature.redelivery {
                    if let Some(call) = self.calls.get_mut(&request.call) {
                        call.place = Place::Queued;
                        call.was_orphaned = true;
                    }
                    self.pools[pool].queue.push_front(request);
                } else {
                    self.lose(request.call);
                }
            }
            self.dispatch(pool);
        }
        for event in std::mem::take(&mut self.instances[instance].deferred) {
            if let Event::Arrive(request, _) = event {
                self.lose(request.call);
            }
        }
        let at = self.now + self.random.ms_within(50, 1500);
        self.agenda.add(at, Event::Join);
    }

    /// Whoever had the call is no more. The caller may hear of that.
    fn lose(&mut self, call: u64) {
        let Some(it) = self.calls.get_mut(&call) else { return };
        it.was_orphaned = true;
        if it.place == Place::Replied {
            return;
        }
        it.place = Place::Lost;
        if self.random.percent(50) {
            self.reply(call, Outcome::Error, 500);
        }
    }
}

/// Tasks.
impl World {
    fn script(&mut self, depth: usize) -> VecDeque<Step> {
        let mut script = VecDeque::new();
        let is_quiet = depth >= DEPTH_MAX || self.tasks.len() >= TASKS_MAX || self.season != Season::Chaos;
        for _ in 0..self.random.within(1, 3) {
            let choice = self.random.below(10);
            if is_quiet || choice < 4 {
                let max = if self.random.percent(20) { 400 } else { 40 };
                script.push_back(Step::Compute(self.random.ms(max)));
            } else if choice < 8 || self.locks.is_empty() {
                let size = if self.random.percent(25) {
                    self.random.within(2, 3)
                } else {
                    1
                };
                let targets = (0..size).map(|_| self.target()).collect();
                let needed = self.random.within(1, size);
                script.push_back(Step::Call { targets, needed });
            } else {
                let lock = self.random.below(self.locks.len());
                script.push_back(Step::Lock(lock));
                if self.random.percent(30) {
                    script.push_back(Step::Compute(self.random.ms(30)));
                    script.push_back(Step::Unlock(lock));
                }
            }
        }
        script
    }

    fn target(&mut self) -> Target {
        let choice = self.random.below(10);
        if choice < 3 && !self.pools.is_empty() {
            Target::Pool(self.random.below(self.pools.len()))
        } else if choice == 9 {
            Target::Service(self.random.below(self.instances.len()))
        } else {
            Target::Actor(self.random.below(self.actors.len()))
        }
    }

    fn proceed(&mut self, id: u64) {
        while let Some(task) = self.tasks.get_mut(&id) {
            if self.season == Season::Drain {
                task.script.clear();
            }
            match task.script.pop_front() {
                None => self.finish(id, Outcome::Finished),
                Some(Step::Compute(time)) => {
                    self.agenda.add(self.now + time, Event::Proceed(id));
                    return;
                }
                Some(Step::Call { targets, needed }) => return self.call(id, &targets, needed),
                Some(Step::Lock(lock)) => {
                    if task.holds.iter().all(|(held, _)| *held != lock) {
                        return self.call(id, &[Target::Lock(lock)], 1);
                    }
                }
                Some(Step::Unlock(lock)) => self.end_holds(id, |held| held == lock),
            }
        }
    }

    fn begin(&mut self, instance: usize, request: &Request, resources: Vec<String>, seat: Seat) -> u64 {
        let id = self.id();
        let handle = Started {
            span_id: id,
            parent_span_id: request.parent,
            parent_is_remote: request.parent != 0,
            role: Role::Handle.into(),
            name: "handle".into(),
            resources,
            conversation_id: request.conversation.clone(),
            ..Started::default()
        };
        self.changes.push(Change::Started(instance, handle));
        if let Some(call) = self.calls.get_mut(&request.call) {
            call.place = Place::Handled(id);
        }
        let script = self.script(request.depth);
        let task = Task {
            instance,
            is_handle: true,
            answers: Some(request.call),
            seat,
            depth: request.depth,
            script,
            waiting: None,
            holds: Vec::new(),
        };
        self.tasks.insert(id, task);
        id
    }

    fn finish(&mut self, id: u64, outcome: Outcome) {
        self.end_holds(id, |_| true);
        let Some(task) = self.tasks.remove(&id) else { return };
        if task.is_handle {
            self.changes.push(Change::Ended(task.instance, id, outcome));
        }
        if let Some(call) = task.answers {
            self.reply(call, outcome, 60);
        }
        match task.seat {
            Seat::None => {}
            Seat::Actor(actor) => {
                self.actors[actor].turn = None;
                self.turn(actor);
            }
            Seat::Consumer(pool, consumer) => {
                if let Some(consumer) = self.pools[pool].consumers.get_mut(&consumer) {
                    consumer.busy = None;
                }
                self.dispatch(pool);
            }
        }
    }

    /// The actor takes the next request.
    fn turn(&mut self, actor: usize) {
        while let (Some(host), None) = (self.actors[actor].host, self.actors[actor].turn) {
            let Some(request) = self.actors[actor].mailbox.pop_front() else {
                return;
            };
            // Some look whether anybody still waits.
            if !self.calls.contains_key(&request.call) && self.random.percent(50) {
                continue;
            }
            let task = self.begin(host, &request, vec![actor_name(actor)], Seat::Actor(actor));
            self.actors[actor].turn = Some(task);
            self.proceed(task);
        }
    }

    /// Idle consumers take what is in the queue.
    fn dispatch(&mut self, pool: usize) {
        loop {
            let it = &mut self.pools[pool];
            let idle = it.consumers.iter().filter(|(_, it)| it.registered && it.busy.is_none());
            let idle: Vec<u64> = idle.map(|(id, _)| *id).collect();
            let Some(consumer) = self.random.pick(&idle) else {
                return;
            };
            let Some(request) = it.queue.pop_front() else { return };
            if let Some(call) = self.calls.get_mut(&request.call) {
                call.place = Place::Granted;
            }
            if let Some(consumer) = it.consumers.get_mut(&consumer) {
                consumer.busy = Some((request, None));
            }
            let at = self.now + self.random.ms(20);
            self.agenda.add(at, Event::Deliver(pool, consumer));
        }
    }
}

/// Calls and locks.
impl World {
    fn call(&mut self, id: u64, targets: &[Target], needed: usize) {
        let Some(task) = self.tasks.get(&id) else { return };
        let (instance, depth) = (task.instance, task.depth);
        let mut calls = BTreeSet::new();
        let group = (targets.len() > 1).then(|| WaitGroup {
            name: format!("group {}", self.last_id),
            needed: needed as u32,
            size: targets.len() as u32,
        });
        for target in targets {
            let call = self.id();
            calls.insert(call);
            let is_lock = matches!(target, Target::Lock(_));
            let attempt = (!is_lock && self.random.percent(20)).then(|| self.id());
            let conversation = if !is_lock && attempt.is_none() && self.random.percent(20) {
                format!("conversation {call}")
            } else {
                String::new()
            };
            let timeout = self.nature.timeouts.then(|| self.random.ms_within(200, 4000));
            let started = Started {
                span_id: call,
                parent_span_id: id,
                role: Role::Call.into(),
                name: "call".into(),
                target: match target {
                    Target::Actor(actor) => actor_name(*actor),
                    Target::Pool(pool) => pool_name(*pool),
                    Target::Lock(lock) => lock_name(*lock),
                    Target::Service(instance) => format!("service-{instance}"),
                },
                timeout_ms: timeout.map_or(0, |it| it.as_millis() as u64),
                wait_group: group.clone(),
                conversation_id: conversation.clone(),
                ..Started::default()
            };
            self.changes.push(Change::Started(instance, started));
            if let Some(attempt) = attempt {
                let started = Started {
                    span_id: attempt,
                    parent_span_id: call,
                    role: Role::Structural.into(),
                    ..Started::default()
                };
                self.changes.push(Change::Started(instance, started));
            }
            let request = Request {
                call,
                parent: if conversation.is_empty() {
                    attempt.unwrap_or(call)
                } else {
                    0
                },
                conversation,
                depth: depth + 1,
            };
            self.calls.insert(
                call,
                Call {
                    task: id,
                    instance,
                    target: *target,
                    place: Place::Queued,
                    started_at: self.now,
                    attempt,
                    was_orphaned: false,
                },
            );
            let at = self.now + self.random.ms(20);
            self.agenda.add(at, Event::Arrive(request, *target));
            if let Some(timeout) = timeout {
                self.agenda.add(self.now + timeout, Event::Timeout(call));
            }
        }
        if let Some(task) = self.tasks.get_mut(&id) {
            task.waiting = Some(Waiting {
                needed,
                calls,
                succeeded: 0,
                failed: 0,
            });
        }
    }

    fn arrive(&mut self, request: Request, target: Target) {
        match target {
            Target::Actor(actor) if self.actors[actor].host.is_some() => {
                self.actors[actor].mailbox.push_back(request);
                self.turn(actor);
            }
            Target::Service(instance) if self.instances[instance].is_alive => {
                let task = self.begin(instance, &request, vec![], Seat::None);
                self.proceed(task);
            }
            // There is nobody of that name.
            Target::Actor(_) | Target::Service(_) => self.reply(request.call, Outcome::Error, 20),
            Target::Pool(pool) => {
                self.pools[pool].queue.push_back(request);
                self.dispatch(pool);
            }
            Target::Lock(lock) => {
                if self.calls.contains_key(&request.call) {
                    self.locks[lock].queue.push_back(request.call);
                    self.grant(lock);
                }
            }
        }
    }

    fn reply(&mut self, call: u64, outcome: Outcome, max_ms: usize) {
        if let Some(it) = self.calls.get_mut(&call) {
            it.place = Place::Replied;
            let at = self.now + self.random.ms(max_ms);
            self.agenda.add(at, Event::Reply(call, outcome));
        }
    }

    /// The caller has its answer, or has given up.
    fn end_call(&mut self, id: u64, outcome: Outcome) {
        let Some(call) = self.forget_call(id, outcome) else {
            return;
        };
        let Some(task) = self.tasks.get_mut(&call.task) else {
            return;
        };
        let Some(waiting) = &mut task.waiting else { return };
        waiting.calls.remove(&id);
        if outcome == Outcome::Finished {
            waiting.succeeded += 1;
        } else {
            waiting.failed += 1;
        }
        let is_done = waiting.succeeded >= waiting.needed;
        if !is_done && waiting.succeeded + waiting.calls.len() >= waiting.needed {
            return;
        }
        let rest = std::mem::take(&mut waiting.calls);
        task.waiting = None;
        for other in rest {
            self.forget_call(other, Outcome::Cancelled);
        }
        if is_done || self.random.percent(50) {
            self.proceed(call.task);
        } else {
            self.finish(call.task, Outcome::Error);
        }
    }

    fn forget_call(&mut self, id: u64, outcome: Outcome) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        if let Some(attempt) = call.attempt {
            self.changes.push(Change::Ended(call.instance, attempt, outcome));
        }
        self.changes.push(Change::Ended(call.instance, id, outcome));
        if let Target::Lock(lock) = call.target {
            self.locks[lock].queue.retain(|queued| *queued != id);
            if call.place == Place::Granted {
                self.release(lock, call.task);
            }
        }
        Some(call)
    }

    fn grant(&mut self, lock: usize) {
        while self.locks[lock].holders.len() < self.locks[lock].capacity
            && let Some(id) = self.locks[lock].queue.pop_front()
        {
            if let Some(call) = self.calls.get_mut(&id) {
                call.place = Place::Granted;
                self.locks[lock].holders.push(call.task);
                let at = self.now + self.random.ms(20);
                self.agenda.add(at, Event::Granted(id));
            }
        }
    }

    /// The word that the lock is granted has come: the wait ends, and only then the hold begins.
    fn granted(&mut self, id: u64) {
        let Some(call) = self.calls.remove(&id) else { return };
        let Target::Lock(lock) = call.target else { return };
        self.changes.push(Change::Ended(call.instance, id, Outcome::Finished));
        let span_id = self.id();
        let hold = Started {
            span_id,
            parent_span_id: call.task,
            role: Role::Hold.into(),
            name: "hold".into(),
            resources: vec![lock_name(lock)],
            capacity: self.locks[lock].capacity as u32,
            ..Started::default()
        };
        self.changes.push(Change::Started(call.instance, hold));
        if let Some(task) = self.tasks.get_mut(&call.task) {
            task.waiting = None;
            task.holds.push((lock, span_id));
        }
        self.proceed(call.task);
    }

    fn end_holds(&mut self, id: u64, which: impl Fn(usize) -> bool) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let instance = task.instance;
        let ended: Vec<_> = task.holds.extract_if(.., |(lock, _)| which(*lock)).collect();
        for (lock, span) in ended {
            self.changes.push(Change::Ended(instance, span, Outcome::Finished));
            self.release(lock, id);
        }
    }

    fn release(&mut self, lock: usize, task: u64) {
        self.locks[lock].holders.retain(|holder| *holder != task);
        self.grant(lock);
    }
}

fn actor_name(actor: usize) -> String {
    format!("actor-{actor}")
}

fn pool_name(pool: usize) -> String {
    format!("pool-{pool}")
}

fn lock_name(lock: usize) -> String {
    format!("lock-{lock}")
}
