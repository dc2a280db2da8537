//! What really happens: a script, run by a simulator that knows by itself who is stuck, and what its services tell their
//! libraries of it.
//!
//! Services are written in different [styles](Style): their spans mean the same and look different. Knows neither
//! libraries nor what becomes of what it tells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use standoff_agent::Outcome;
use standoff_protocol::stream::{Role, Started, WaitGroup};
use standoff_script::{self as script, Script, Simulation};

use crate::detector::chance::Random;

/// Something of which the library of an instance, given by its number, is told.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Started(usize, Started),
    Ended(usize, u64, Outcome),
    /// The instance dies, with all of its spans.
    Died(usize),
    /// It has done what it was there for, and may leave.
    Idle(usize),
}

/// How the services of a run make their spans.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// In percent of calls: a span beneath, which is the parent of the handler.
    pub(super) publishes: usize,
    /// In percent of calls: a call directly inside, which the handler answers.
    pub(super) nests: usize,
    /// A task's calls are beneath a structural span of it.
    pub(super) wraps: bool,
    /// In percent of calls: the handler has no parent, and names the conversation.
    pub(super) converses: usize,
    /// Servers declare their capacity by members.
    pub(super) members: bool,
    /// Each unit of a server is an instance of its own.
    pub(super) replicas: bool,
}

/// What is known of a span that was told of.
#[derive(Clone, Debug)]
pub(super) struct Lifetime {
    pub(super) instance: usize,
    pub(super) role: Role,
    pub(super) started: Duration,
    pub(super) ended: Option<Duration>,
}

/// What goes with a span of the script.
#[derive(Clone, Debug, Default)]
struct Company {
    instance: usize,
    /// Spans beneath it that end when it does, innermost last.
    beneath: Vec<u64>,
    /// What its local children name as their parent.
    local: u64,
    /// What a handler in another instance names as its parent; 0 if it names the conversation.
    remote: u64,
    is_client: bool,
    is_handle: bool,
}

/// An instance: a client, a server, or a replica of one.
#[derive(Clone, Debug)]
struct Place {
    /// What it is to the script.
    instance: script::InstanceId,
    name: script::Name,
    /// How many requests it runs at a time; 0 for a client.
    units: u32,
    /// How many it runs.
    busy: u32,
}

#[derive(Debug)]
pub(super) struct World {
    run: Simulation,
    start: Duration,
    style: Style,
    random: Random,
    servers: BTreeMap<script::Name, u32>,
    places: Vec<Place>,
    salt: u64,
    extra: u64,
    company: BTreeMap<script::SpanId, Company>,
    lifetimes: BTreeMap<u64, Lifetime>,
    /// Who is stuck, from each of these times on until the next.
    stuck: Vec<(Duration, BTreeSet<u64>)>,
}

impl World {
    pub(super) fn new(
        script: &Script,
        settings: script::Settings,
        start: Duration,
        style: Style,
        mut random: Random,
    ) -> Self {
        let run = Simulation::new(script, settings, random.next());
        let servers: BTreeMap<_, _> = script.servers().map(|(name, units)| (name.clone(), units)).collect();
        let places = run.instances().flat_map(|(instance, name)| {
            let units = servers.get(name).copied().unwrap_or(0);
            let replicas = if style.replicas { units.max(1) } else { 1 };
            let place = Place {
                instance,
                name: name.clone(),
                units: units / replicas,
                busy: 0,
            };
            vec![place; replicas as usize]
        });
        Self {
            places: places.collect(),
            run,
            start,
            style,
            servers,
            salt: random.next(),
            extra: 0,
            company: BTreeMap::new(),
            lifetimes: BTreeMap::new(),
            stuck: vec![(start, BTreeSet::new())],
            random,
        }
    }

    /// The names of all instances, by their numbers.
    pub(super) fn instances(&self) -> Vec<String> {
        self.places.iter().map(|it| it.name.to_string()).collect()
    }

    /// What is told as soon as the instance runs.
    pub(super) fn members(&mut self, now: Duration, instance: usize) -> Vec<Change> {
        let Place { name, units, .. } = self.places[instance].clone();
        if units == 0 || !self.style.members {
            return Vec::new();
        }
        // Either a member for each unit, or one for all of them.
        let (count, each) = if self.random.percent(50) {
            (units, 1)
        } else {
            (1, units)
        };
        let mut changes = Vec::new();
        for _ in 0..count {
            let member = Started {
                span_id: self.extra_id(),
                role: Role::Member.into(),
                name: format!("consume {name}"),
                resources: vec![name.to_string()],
                units: each,
                ..Started::default()
            };
            self.tell(&mut changes, now, instance, member);
        }
        changes
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.run.next_at().map(|at| self.start + at)
    }

    /// Whether nothing more can happen, so long as nobody gives up.
    pub(super) fn is_at_rest(&self) -> bool {
        self.run.next_at().is_none()
    }

    /// Whether every client and request has ended.
    pub(super) fn is_over(&self) -> bool {
        self.is_at_rest() && self.run.unfinished().is_empty()
    }

    /// What happens up to now.
    pub(super) fn step(&mut self, now: Duration) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(limit) = now.checked_sub(self.start) else {
            return changes;
        };
        while let Some((_, event)) = self.run.next_until(limit) {
            self.translate(&mut changes, now, event);
        }
        let stuck = self.run.stuck().into_iter().map(|span| self.id(span)).collect();
        if self.stuck.last().is_none_or(|(_, before)| *before != stuck) {
            self.stuck.push((now, stuck));
        }
        changes
    }

    /// An instance stands still.
    pub(super) fn stand_still(&mut self, now: Duration, instance: usize, until: Duration) -> Vec<Change> {
        let changes = self.step(now);
        let instance = self.places[instance].instance;
        self.run.stand_still(instance, until.saturating_sub(self.start));
        changes
    }

    /// Requests that were lost are delivered again elsewhere, and answered.
    pub(super) fn answer_lost(&mut self, now: Duration) -> Vec<Change> {
        let mut changes = self.step(now);
        self.run.answer_lost();
        changes.extend(self.step(now));
        changes
    }

    /// From now on everybody gives up.
    pub(super) fn give_up_after(&mut self, now: Duration, timeout: Duration) -> Vec<Change> {
        let changes = self.step(now);
        self.run.give_up_after(timeout);
        changes
    }

    /// The tasks that can never end from here.
    pub(super) fn stuck(&self) -> &BTreeSet<u64> {
        self.stuck.last().map_or(const { &BTreeSet::new() }, |(_, stuck)| stuck)
    }

    /// Whether at some moment from then until now all these tasks were stuck, and all these calls open.
    pub(super) fn were_stuck(&self, tasks: &BTreeSet<u64>, calls: &BTreeSet<u64>, from: Duration) -> bool {
        let from = calls
            .iter()
            .map(|call| self.lifetimes.get(call).map_or(Duration::MAX, |it| it.started))
            .fold(from, Duration::max);
        let until = calls
            .iter()
            .filter_map(|call| self.lifetimes.get(call)?.ended)
            .fold(Duration::MAX, Duration::min);
        if from >= until {
            return false;
        }
        let first = self
            .stuck
            .partition_point(|(since, _)| *since <= from)
            .saturating_sub(1);
        self.stuck[first..]
            .iter()
            .any(|(since, stuck)| *since < until && tasks.is_subset(stuck))
    }

    /// Where a span is.
    pub(super) fn instance_of(&self, span: u64) -> Option<usize> {
        self.lifetimes.get(&span).map(|it| it.instance)
    }

    /// Every span that was told of.
    pub(super) fn lifetimes(&self) -> impl Iterator<Item = (u64, &Lifetime)> {
        self.lifetimes.iter().map(|(id, it)| (*id, it))
    }

    fn translate(&mut self, changes: &mut Vec<Change>, now: Duration, event: script::Event) {
        match event {
            script::Event::Started(span) => self.start(changes, now, span),
            script::Event::Finished(span) => {
                let Some(company) = self.company.get(&span).cloned() else {
                    return;
                };
                let outcome = self.outcome();
                let id = self.id(span);
                if company.is_handle {
                    self.places[company.instance].busy -= 1;
                }
                for id in company.beneath.into_iter().rev().chain([id]) {
                    self.end(changes, now, id, outcome);
                }
                if company.is_client {
                    changes.push(Change::Idle(company.instance));
                }
            }
            script::Event::Gone(instance) => {
                let places = self.places.iter().enumerate();
                let died: Vec<usize> = places
                    .filter(|(_, it)| it.instance == instance)
                    .map(|(it, _)| it)
                    .collect();
                for lifetime in self.lifetimes.values_mut().filter(|it| died.contains(&it.instance)) {
                    lifetime.ended.get_or_insert(now);
                }
                changes.extend(died.into_iter().map(Change::Died));
            }
        }
    }

    fn start(&mut self, changes: &mut Vec<Change>, now: Duration, span: script::Span) {
        let id = self.id(span.id);
        let above = span.parent.and_then(|parent| self.company.get(&parent.id)).cloned();
        let is_remote = span.parent.is_some_and(|parent| parent.is_remote);
        let instance = match &above {
            Some(above) if !is_remote => above.instance,
            Some(_) | None => self.place(&span),
        };
        let parent = above.map_or(0, |it| if is_remote { it.remote } else { it.local });
        let mut started = Started {
            span_id: id,
            trace_id: u128::from(span.trace).to_be_bytes().to_vec(),
            parent_span_id: parent,
            parent_is_remote: is_remote && parent != 0,
            name: span.name.to_string(),
            ..Started::default()
        };
        if is_remote && parent == 0 {
            started.conversation_id = span.parent.map_or_else(String::new, |it| conversation(it.id));
        }
        let mut company = Company {
            instance,
            local: id,
            remote: id,
            is_client: span.role == script::Role::Client,
            is_handle: matches!(span.role, script::Role::Handle { .. }),
            ..Company::default()
        };
        let is_task = self.read(&mut started, &span);
        let is_request = started.role() == Role::Call && self.servers.contains_key(started.target.as_str());
        if is_request && self.random.percent(self.style.converses) {
            started.conversation_id = conversation(span.id);
            company.remote = 0;
        }
        self.tell(changes, now, instance, started.clone());
        if is_task && self.style.wraps {
            company.local = self.beneath(changes, now, &mut company.beneath, &started, Role::Structural);
        } else if is_request && self.random.percent(self.style.nests) {
            let inner = self.beneath(changes, now, &mut company.beneath, &started, Role::Call);
            company.remote = if company.remote == 0 { 0 } else { inner };
        } else if is_request && self.random.percent(self.style.publishes) {
            let inner = self.beneath(changes, now, &mut company.beneath, &started, Role::Structural);
            company.remote = if company.remote == 0 { 0 } else { inner };
            if self.random.percent(50) {
                // The request is out; what waits for the reply is the call.
                company.beneath.clear();
                self.end(changes, now, inner, Outcome::Finished);
            }
        }
        self.company.insert(span.id, company);
    }

    /// Where a task begins: in any replica that is free.
    fn place(&mut self, span: &script::Span) -> usize {
        let is_request = matches!(span.role, script::Role::Handle { .. });
        let places = self.places.iter().enumerate();
        let free: Vec<usize> = places
            .filter(|(_, it)| it.instance == span.instance && (it.busy < it.units || !is_request))
            .map(|(place, _)| place)
            .collect();
        let place = self.random.pick(&free).unwrap();
        self.places[place].busy += u32::from(is_request);
        place
    }

    /// Writes what the span means. Returns whether it is that of a task.
    fn read(&self, started: &mut Started, span: &script::Span) -> bool {
        let (role, is_task) = match &span.role {
            script::Role::Client => (Role::Structural, true),
            script::Role::Handle { resource, capacity } => {
                started.resources = vec![resource.to_string()];
                started.capacity = if self.style.members { 0 } else { *capacity };
                (Role::Handle, true)
            }
            script::Role::Call { target, group, timeout } => {
                started.target = target.to_string();
                started.timeout_ms = timeout.map_or(0, |it| it.as_millis() as u64);
                started.wait_group = group.as_ref().map(|group| WaitGroup {
                    name: group.name.to_string(),
                    needed: group.needed,
                    size: group.size,
                });
                (Role::Call, false)
            }
            script::Role::Hold { resource, capacity } => {
                started.resources = vec![resource.to_string()];
                started.capacity = *capacity;
                (Role::Hold, false)
            }
        };
        started.role = role.into();
        is_task
    }

    /// A span directly beneath another one, which ends with it.
    fn beneath(
        &mut self,
        changes: &mut Vec<Change>,
        now: Duration,
        beneath: &mut Vec<u64>,
        above: &Started,
        role: Role,
    ) -> u64 {
        let id = self.extra_id();
        let started = Started {
            span_id: id,
            trace_id: above.trace_id.clone(),
            parent_span_id: above.span_id,
            role: role.into(),
            name: format!("within {}", above.name),
            target: if role == Role::Call {
                above.target.clone()
            } else {
                String::new()
            },
            ..Started::default()
        };
        beneath.push(id);
        let instance = self.lifetimes.get(&above.span_id).map_or(0, |it| it.instance);
        self.tell(changes, now, instance, started);
        id
    }

    fn tell(&mut self, changes: &mut Vec<Change>, now: Duration, instance: usize, started: Started) {
        let lifetime = Lifetime {
            instance,
            role: started.role(),
            started: now,
            ended: None,
        };
        self.lifetimes.insert(started.span_id, lifetime);
        changes.push(Change::Started(instance, started));
    }

    fn end(&mut self, changes: &mut Vec<Change>, now: Duration, id: u64, outcome: Outcome) {
        if let Some(lifetime) = self.lifetimes.get_mut(&id) {
            lifetime.ended = Some(now);
            changes.push(Change::Ended(lifetime.instance, id, outcome));
        }
    }

    /// A finished call satisfies its group whatever its outcome.
    fn outcome(&mut self) -> Outcome {
        match self.random.below(8) {
            0 => Outcome::Error,
            1 => Outcome::Timeout,
            2 => Outcome::Cancelled,
            _ => Outcome::Finished,
        }
    }

    fn extra_id(&mut self) -> u64 {
        self.extra += 1;
        // Scripts have far fewer spans.
        self.id(script::SpanId((1 << 40) + self.extra))
    }

    /// Span ids are random in every bit. No two spans have the same, since each step can be undone.
    fn id(&self, span: script::SpanId) -> u64 {
        let mixed = span.0.wrapping_add(self.salt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 32)
    }
}

fn conversation(call: script::SpanId) -> String {
    format!("conversation {}", call.0)
}
