//! Runs a script under simulated time, tells what happens, and knows by itself who is stuck.
//!
//! Owns all state of a run: what is to happen when, tasks, waits, queues. It knows nothing of wait-for graphs: who is
//! stuck it finds out by [letting everybody else end](Simulation::stuck), never by looking for cycles. So it can judge
//! an engine that does.
//!
//! ```text
//!   client ──ask──▶ request on its way ──▶ queue of the server ──▶ task of the server ──▶ reply on its way ──▶ client
//!   client ──ask──▶ question on its way ─▶ queue of the pool ────▶ unit on its way ─────────────────────────▶ hold
//! ```
//!
//! `tasks` has what clients and requests do, `waits` how they ask and are answered, `queues` what servers and pools
//! do. Nothing recurses: whatever follows from something is put on the agenda.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use crate::program::Program;
use crate::script::{Name, Script};

pub(crate) mod agenda;
mod driving;
mod event;
mod queues;
mod settings;
mod tasks;
mod waits;

pub use event::{Event, Group, InstanceId, Parent, Role, Span, SpanId};
pub use settings::{Settings, Stalls, Turn};

use agenda::Agenda;
use queues::{Pool, Server};
use tasks::{Task, TaskIndex};
use waits::{Wait, WaitIndex};

/// A run of a script. The same script, settings and seed give the same run.
///
/// It is an iterator over what happens, in the order in which it happens, with the time at which it does. It ends when
/// nothing can happen any more, which is later than [the end of the clients](Simulation::clients_running): a request
/// whose caller has given up is still served.
///
/// ```
/// use standoff_script::{Event, Role, Script, Settings, Simulation};
///
/// let script: Script = "x: A{B{A}}".parse()?;
/// let mut run = Simulation::new(&script, Settings { timeout: None, ..Settings::default() }, 7);
/// let calls = run.by_ref().filter(|(_, event)| {
///     matches!(event, Event::Started(span) if matches!(span.role, Role::Call { .. }))
/// });
/// assert_eq!(calls.count(), 3);
/// // The client, and the requests that A and B run. The third was never accepted.
/// assert_eq!(run.stuck().len(), 3);
/// # Ok::<(), standoff_script::ScriptError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Simulation {
    program: Arc<Program>,
    settings: Settings,
    dice: Xoshiro256PlusPlus,
    now: Duration,
    agenda: Agenda<Happening>,
    /// Servers, then clients.
    instances: Vec<Instance>,
    servers: Vec<Server>,
    pools: Vec<Pool>,
    tasks: Vec<Task>,
    waits: Vec<Wait>,
    /// Open calls whose request was lost in a crash.
    lost: Vec<WaitIndex>,
    /// What has happened and has not been told yet.
    untold: VecDeque<Event>,
    /// How many spans there have been.
    spans: u64,
    clients_running: usize,
    /// Whoever can do anything ends instead: see [`Simulation::stuck`].
    is_winding_down: bool,
}

#[derive(Clone, Copy, Debug)]
struct Instance {
    is_gone: bool,
    stalled_until: Duration,
}

/// Something that is to happen.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// A client begins.
    Begins { client: usize },
    /// A task is done with what it was busy with.
    GoesOn(TaskIndex),
    /// A request reaches its server, or a question for a unit its pool.
    Arrives(WaitIndex),
    /// A reply, or a unit, reaches whoever asked for it.
    IsAnswered(WaitIndex),
    /// Whoever asked gives up.
    TimesOut(WaitIndex),
}

impl Simulation {
    /// A run in which nothing has happened yet.
    pub fn new(script: &Script, settings: Settings, seed: u64) -> Self {
        let program = Program::of(script);
        let mut agenda = Agenda::new();
        for (client, program) in program.clients.iter().enumerate() {
            agenda.put(program.late, Happening::Begins { client });
        }
        let instance = Instance {
            is_gone: false,
            stalled_until: Duration::ZERO,
        };
        Self {
            settings,
            dice: Xoshiro256PlusPlus::seed_from_u64(seed),
            now: Duration::ZERO,
            agenda,
            instances: vec![instance; program.servers.len() + program.clients.len()],
            servers: vec![Server::default(); program.servers.len()],
            pools: program.pools.iter().map(|pool| Pool::new(pool.capacity)).collect(),
            tasks: Vec::new(),
            waits: Vec::new(),
            lost: Vec::new(),
            untold: VecDeque::new(),
            spans: 0,
            clients_running: program.clients.len(),
            is_winding_down: false,
            program: Arc::new(program),
        }
    }

    /// How many clients have not ended. A demo of the script ends with the last of them.
    pub fn clients_running(&self) -> usize {
        self.clients_running
    }

    /// Every instance, with the name of its service: that of the server or client.
    pub fn instances(&self) -> impl Iterator<Item = (InstanceId, &Name)> {
        let servers = self.program.servers.iter().map(|server| &server.name);
        let names = servers.chain(self.program.clients.iter().map(|client| &client.name));
        names.enumerate().map(|(index, name)| (instance_id(index), name))
    }

    /// Whether all that has happened so far has been told. In between, what was told is the state of no moment: of a
    /// group of calls, some have been told and others not.
    pub fn is_told(&self) -> bool {
        self.untold.is_empty()
    }

    /// Answers every call whose request was lost in a crash, as a broker may that delivers it again elsewhere, and says
    /// how many those were. Without this, and without timeouts, such calls hang for ever although they are no deadlock.
    pub fn answer_lost(&mut self) -> usize {
        let lost: Vec<WaitIndex> = std::mem::take(&mut self.lost)
            .into_iter()
            .filter(|wait| self.waits[*wait].is_open)
            .collect();
        for wait in &lost {
            self.agenda.put(self.now, Happening::IsAnswered(*wait));
        }
        lost.len()
    }

    /// Tasks that have begun and have not ended: of a client the span of its own, of a request its handle.
    pub fn unfinished(&self) -> BTreeSet<SpanId> {
        self.tasks
            .iter()
            .filter(|task| !task.is_over)
            .map(|task| task.span)
            .collect()
    }

    /// Those of the unfinished tasks that can never end from here, whatever the others do, so long as nobody crashes or
    /// gives up.
    ///
    /// Found out by trying: in a copy of this run everybody who can do anything just ends, requests that were lost are
    /// answered, and nobody begins anything. Whoever is then left would be left in any case, since nobody can do
    /// more for others than to end.
    ///
    /// It is about all that has happened, told or not, and costs about as much as the rest of the run.
    pub fn stuck(&self) -> BTreeSet<SpanId> {
        let mut rest = Self {
            settings: Settings {
                delay_max: Duration::ZERO,
                stalls: None,
                ..self.settings.clone()
            },
            untold: VecDeque::new(),
            is_winding_down: true,
            ..self.clone()
        };
        loop {
            while rest.advance() {}
            if rest.answer_lost() == 0 {
                return rest.unfinished();
            }
        }
    }

    /// Lets the next thing happen. Returns whether there was one.
    fn advance(&mut self) -> bool {
        let Some((at, happening)) = self.agenda.pop() else {
            return false;
        };
        self.now = at;
        if let Some(until) = self.put_off(happening) {
            self.agenda.put(until, happening);
            return true;
        }
        match happening {
            Happening::Begins { client } => self.begin_client(client),
            Happening::GoesOn(task) => self.go_on(task),
            Happening::Arrives(wait) => self.arrive(wait),
            Happening::IsAnswered(wait) => self.answer(wait),
            Happening::TimesOut(wait) => self.time_out(wait),
        }
        true
    }

    /// Until when something is put off, because the instance in which it is to happen stands still.
    fn put_off(&mut self, happening: Happening) -> Option<Duration> {
        if self.is_winding_down {
            return None;
        }
        let instance = match happening {
            Happening::Begins { client } => self.program.servers.len() + client,
            Happening::GoesOn(task) => self.tasks[task].instance,
            Happening::Arrives(wait) => self.waits[wait].server()?,
            Happening::IsAnswered(wait) | Happening::TimesOut(wait) => self.tasks[self.waits[wait].task].instance,
        };
        if let Some(stalls) = self.settings.stalls
            && self.instances[instance].stalled_until <= self.now
            && self.dice.random_ratio(1, stalls.one_in.max(2))
        {
            self.instances[instance].stalled_until = self.now.saturating_add(self.random_time(stalls.duration_max));
        }
        Some(self.instances[instance].stalled_until).filter(|until| *until > self.now)
    }

    /// A message arrives after some time.
    fn send(&mut self, message: Happening) {
        let at = self.now.saturating_add(self.random_time(self.settings.delay_max));
        self.agenda.put(at, message);
    }

    fn random_time(&mut self, max: Duration) -> Duration {
        let max_ns = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(if max_ns == 0 {
            0
        } else {
            self.dice.random_range(0..=max_ns)
        })
    }

    fn tell(&mut self, event: Event) {
        if !self.is_winding_down {
            self.untold.push_back(event);
        }
    }

    /// Tells of a span that opens.
    fn open(&mut self, span: impl FnOnce(SpanId) -> Span) -> SpanId {
        self.spans += 1;
        let id = SpanId(self.spans);
        self.tell(Event::Started(span(id)));
        id
    }
}

impl Iterator for Simulation {
    type Item = (Duration, Event);

    fn next(&mut self) -> Option<Self::Item> {
        while self.untold.is_empty() && self.advance() {}
        let event = self.untold.pop_front()?;
        Some((self.now, event))
    }
}

fn instance_id(index: usize) -> InstanceId {
    InstanceId(index as u64 + 1)
}

#[cfg(test)]
mod tests;
