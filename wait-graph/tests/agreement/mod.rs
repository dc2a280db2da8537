//! Engine and oracle side by side: told the same, they must answer the same.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use standoff_wait_graph::{DeadTask, Deadlock, Event, InstanceId, Limits, Role, Settled, Span, SpanId, WaitGraph};

use crate::history::{History, Input, Step};
use crate::oracle::OracleGraph;

/// When the answers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    /// After every step, the engine having done whatever it puts off.
    EveryStep,
    /// After every step only that nobody is dead who should not be; everything once at the end.
    AtTheEnd,
}

/// Between two looks ahead of the engine: they overlap, so that it is not always told of the same event when it is next.
const LOOK_AHEAD: usize = 29;

/// Tells both a history. The error says after which step they differ, and in what. The answer is how many tasks the
/// largest core had that was compared.
pub(crate) fn agree(history: &History, compare: Compare) -> Result<usize, String> {
    let mut pair = Pair::new(&history.limits);
    for (place, step) in history.steps.iter().enumerate() {
        if place % LOOK_AHEAD == 0 {
            pair.look_ahead(&history.steps[place..]);
        }
        let outcome = pair.step(step).and_then(|()| match compare {
            Compare::EveryStep => pair.compare(),
            Compare::AtTheEnd => pair.nobody_is_dead_too_early(),
        });
        outcome.map_err(|difference| format!("after step {}, {step:?}: {difference}", place + 1))?;
    }
    pair.compare()
        .map_err(|difference| format!("at the end: {difference}"))?;
    Ok(pair.largest_core)
}

/// Tells the engine, and answers whether that changed anything.
pub(crate) fn tell(engine: &mut WaitGraph, now: Duration, input: &Input) -> bool {
    match input {
        Input::Event(event) => return engine.apply(now, event).changed,
        Input::Describe(instance, service) => engine.describe_instance(*instance, Arc::clone(service)),
        Input::Expire => engine.expire(now),
    }
    true
}

/// The two graphs, and what there is to ask them about.
pub(crate) struct Pair {
    engine: WaitGraph,
    oracle: OracleGraph,
    now: Duration,
    /// The revision and the deadlocks when they were last compared.
    told: (u64, Vec<Deadlock>),
    largest_core: usize,
    ids: BTreeSet<SpanId>,
    names: BTreeSet<Arc<str>>,
    instances: BTreeSet<InstanceId>,
}

impl Pair {
    /// Lets the engine look at what comes next, which must change nothing.
    fn look_ahead(&mut self, steps: &[Step]) {
        self.engine
            .look_ahead(steps.iter().filter_map(|step| match &step.input {
                Input::Event(event) => Some(event),
                Input::Describe(..) | Input::Expire => None,
            }));
    }

    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            engine: WaitGraph::new(limits.clone()),
            oracle: OracleGraph::new(limits.clone()),
            now: Duration::ZERO,
            told: (0, Vec::new()),
            largest_core: 0,
            ids: BTreeSet::new(),
            names: BTreeSet::new(),
            instances: BTreeSet::new(),
        }
    }

    /// Tells both.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), String> {
        self.now = self.now.saturating_add(step.after);
        let found = tell(&mut self.engine, self.now, &step.input);
        match &step.input {
            Input::Event(event) => {
                self.take_note(event);
                return same("changed", &found, &self.oracle.apply(self.now, event));
            }
            Input::Describe(instance, service) => self.oracle.describe_instance(*instance, Arc::clone(service)),
            Input::Expire => self.oracle.expire(self.now),
        }
        Ok(())
    }

    /// What the engine puts off may leave tasks live that are dead, never the other way round.
    pub(crate) fn nobody_is_dead_too_early(&self) -> Result<(), String> {
        let found = dead_of(&self.engine.deadlocks());
        if found.is_empty() {
            return Ok(());
        }
        let dead = self.oracle.dead();
        let too_early: Vec<_> = found.difference(&dead).collect();
        if too_early.is_empty() {
            Ok(())
        } else {
            Err(format!("dead, but live by the oracle: {too_early:?}"))
        }
    }

    /// How many are dead by now, as far as the engine has looked.
    pub(crate) fn dead_count(&self) -> usize {
        self.engine.dead_task_count()
    }

    /// Compares every answer there is.
    pub(crate) fn compare(&mut self) -> Result<(), String> {
        self.nobody_is_dead_too_early()?;
        self.settle();
        let Self { engine, oracle, .. } = self;
        same("is_complete", &engine.is_complete(), &oracle.is_complete())?;
        same("open_span_count", &engine.open_span_count(), &oracle.open_span_count())?;
        for id in &self.ids {
            let is_open = engine.span(*id).is_some();
            same(&format!("is {id} open"), &is_open, &oracle.span(*id).is_some())?;
            same(
                &format!("call_state {id}"),
                &engine.call_state(*id),
                &oracle.call_state(*id),
            )?;
            same(
                &format!("stand_ins {id}"),
                &engine.stand_ins(*id),
                &oracle.stand_ins(*id),
            )?;
        }
        for name in &self.names {
            same(
                &format!("resource {name}"),
                &engine.resource(name),
                &oracle.resource(name),
            )?;
            same(&format!("servers {name}"), &engine.servers(name), &oracle.servers(name))?;
            let (found, expected) = (engine.may_gain_units(name), oracle.may_gain_units(name));
            same(&format!("may_gain_units {name}"), &found, &expected)?;
        }
        for id in &self.instances {
            same(
                &format!("open_spans {id:?}"),
                &engine.open_spans(*id),
                &oracle.open_spans(*id),
            )?;
        }
        same("open_calls", &engine.open_calls(), &oracle.open_calls())?;
        same("undecided_waits", &engine.undecided_waits(), &oracle.undecided_waits())?;
        same("anomalies", &engine.anomalies(), &oracle.anomalies())?;
        self.compare_deadlocks()
    }

    /// Compares what is dead, the engine having done whatever it puts off.
    pub(crate) fn compare_deadlocks(&mut self) -> Result<(), String> {
        self.settle();
        let Self { engine, oracle, .. } = self;
        let found = engine.deadlocks();
        same_deadlocks(&found, &oracle.deadlocks())?;
        let cores = found.iter().map(|deadlock| deadlock.core.len());
        self.largest_core = self.largest_core.max(cores.max().unwrap_or_default());
        let (revision, before) = std::mem::replace(&mut self.told, (engine.revision(), found));
        if revision == self.told.0 {
            same("deadlocks of the same revision", &self.told.1, &before)?;
        }
        Ok(())
    }

    /// Lets the engine do what it has put off.
    fn settle(&mut self) {
        while let Settled::PassDueAt(due_at) = self.engine.settle(self.now) {
            self.now = due_at;
        }
    }

    /// Remembers whom to ask about.
    fn take_note(&mut self, event: &Event) {
        match event {
            Event::Started(span) => {
                self.instances.insert(span.instance);
                self.ids.extend(
                    [span.id]
                        .into_iter()
                        .chain(span.task)
                        .chain(span.parent.map(|it| it.id)),
                );
                self.names.extend(names(span).iter().cloned());
            }
            Event::Finished(id) | Event::Answered(id) => {
                self.ids.insert(*id);
            }
            Event::InstanceSilent(id) | Event::InstanceBack(id) | Event::InstanceGone(id) => {
                self.instances.insert(*id);
            }
        }
    }
}

fn names(span: &Span) -> &[Arc<str>] {
    match &span.role {
        Role::Call(call) => call.target.as_slice(),
        Role::Handle(handle) => &handle.resources,
        Role::Hold(hold) => &hold.resources,
        Role::Member(member) => &member.resources,
        Role::Structural => &[],
    }
}

/// The tasks of all cores, and their victims.
fn dead_of(deadlocks: &[Deadlock]) -> BTreeSet<(SpanId, InstanceId)> {
    let tasks = deadlocks.iter().flat_map(|it| it.core.iter().chain(&it.victims));
    tasks.map(|task| (task.id, task.instance)).collect()
}

/// Compares what is coarse first, so that the first difference is the one to read.
fn same_deadlocks(found: &[Deadlock], expected: &[Deadlock]) -> Result<(), String> {
    let tasks = |tasks: &[DeadTask]| tasks.iter().map(|task| (task.id, task.instance)).collect::<Vec<_>>();
    let all = |all: &[Deadlock], ask: fn(&Deadlock) -> String| all.iter().map(ask).collect::<Vec<_>>();
    let cores = |deadlocks: &[Deadlock]| deadlocks.iter().map(|it| tasks(&it.core)).collect::<Vec<_>>();
    let victims = |deadlocks: &[Deadlock]| deadlocks.iter().map(|it| tasks(&it.victims)).collect::<Vec<_>>();
    same("dead tasks", &dead_of(found), &dead_of(expected))?;
    same("cores", &cores(found), &cores(expected))?;
    same("victims", &victims(found), &victims(expected))?;
    same(
        "summaries",
        &all(found, Deadlock::summary),
        &all(expected, Deadlock::summary),
    )?;
    let ids = |it: &Deadlock| format!("{:016x} {:016x} {:016x}", it.id(), it.fingerprint(), it.pattern());
    same("ids", &all(found, ids), &all(expected, ids))?;
    for (found, expected) in found.iter().zip(expected) {
        for (found, expected) in found
            .core
            .iter()
            .chain(&found.victims)
            .zip(expected.core.iter().chain(&expected.victims))
        {
            same("dead task", found, expected)?;
        }
        same("deadlock", found, expected)?;
    }
    Ok(())
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}\n  engine: {found:?}\n  oracle: {expected:?}"))
    }
}
