//! A picture that is told directly what there is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::deadlock::{Capacity, DeadTask, Deadlock};
use crate::explain::{Named, SpanFacts, deadlocks};
use crate::span::{InstanceId, Quorum, SpanId, TraceId};
use crate::wait_for::{GroupOf, NewWait, Occupier, Picture, ResourceIx, Slot, Symbol, TaskId, TaskIx, WaitIx};

/// A picture that is told directly what there is, with the spans and names that it refers to.
#[derive(Default)]
pub(super) struct World {
    pub(super) picture: Picture,
    pub(super) names: Names,
    resources: HashMap<String, ResourceIx>,
    tasks: HashMap<u64, TaskIx>,
}

#[derive(Default)]
pub(super) struct Names {
    /// By slot.
    spans: Vec<(SpanId, Option<Span>)>,
    texts: Vec<Arc<str>>,
    symbols: HashMap<String, Symbol>,
    pub(super) services: HashMap<InstanceId, Arc<str>>,
}

struct Span {
    instance: InstanceId,
    name: Symbol,
    started_at: Duration,
}

impl Named for Names {
    fn id(&self, span: Slot) -> SpanId {
        self.spans[span.0 as usize].0
    }

    fn span(&self, span: Slot) -> Option<SpanFacts<'_>> {
        let span = self.spans[span.0 as usize].1.as_ref()?;
        Some(SpanFacts {
            trace: TraceId(1),
            instance: span.instance,
            name: self.text(span.name),
            started_at: span.started_at,
            timeout: Some(Duration::from_secs(5)),
        })
    }

    fn service(&self, instance: InstanceId) -> Option<&Arc<str>> {
        self.services.get(&instance)
    }

    fn text(&self, name: Symbol) -> &Arc<str> {
        &self.texts[name.0 as usize]
    }
}

impl Names {
    pub(super) fn symbol(&mut self, name: &str) -> Symbol {
        *self.symbols.entry(name.to_owned()).or_insert_with(|| {
            self.texts.push(name.into());
            Symbol(self.texts.len() as u32 - 1)
        })
    }

    pub(super) fn unseen(&mut self, id: u64) -> Slot {
        self.spans.push((SpanId(id), None));
        Slot(self.spans.len() as u32 - 1)
    }

    pub(super) fn span_of(&mut self, id: u64, instance: u64, name: &str) -> Slot {
        let name = self.symbol(name);
        let slot = self.unseen(id);
        let started_at = Duration::from_millis(id);
        self.spans[slot.0 as usize].1 = Some(Span {
            instance: InstanceId(instance),
            name,
            started_at,
        });
        slot
    }
}

impl World {
    /// A resource of one unit, unless it is declared otherwise.
    pub(super) fn resource(&mut self, name: &str) -> ResourceIx {
        if let Some(known) = self.resources.get(name) {
            return *known;
        }
        let symbol = self.names.symbol(name);
        let index = self.picture.add_resource(symbol);
        self.picture.set_declared(index, Capacity::Declared(1));
        self.resources.insert(name.to_owned(), index);
        index
    }

    pub(super) fn declare(&mut self, name: &str, units: u64) {
        let index = self.resource(name);
        self.picture.set_declared(index, Capacity::Declared(units));
    }

    /// A task that a handle of this id stands for, in an instance of the same number.
    pub(super) fn task(&mut self, id: u64, occupies: &[&str]) -> TaskIx {
        self.task_in(id, id, occupies)
    }

    pub(super) fn task_in(&mut self, id: u64, instance: u64, occupies: &[&str]) -> TaskIx {
        let slot = self.names.span_of(id, instance, &format!("request {id}"));
        let task = self.picture.add_task(
            TaskId {
                span: SpanId(id),
                instance: InstanceId(instance),
            },
            slot,
            false,
        );
        for name in occupies {
            let resource = self.resource(name);
            self.picture.occupy(
                task,
                resource,
                Occupier {
                    span: slot,
                    units: 1,
                    by_handle: true,
                },
            );
        }
        self.tasks.insert(id, task);
        task
    }

    pub(super) fn waits(&mut self, task: TaskIx, call: u64, target: &str) -> WaitIx {
        self.waits_in_group(task, call, target, None)
    }

    pub(super) fn waits_for_units(&mut self, task: TaskIx, call: u64, target: &str, units: u32) -> WaitIx {
        self.add_wait(task, call, target, units, None)
    }

    pub(super) fn waits_in_group(
        &mut self,
        task: TaskIx,
        call: u64,
        target: &str,
        group: Option<(&str, u32, u32)>,
    ) -> WaitIx {
        let group = group.map(|(name, needed, size)| GroupOf {
            name: self.names.symbol(name),
            quorum: Some(Quorum { needed, size }),
        });
        self.add_wait(task, call, target, 1, group)
    }

    fn add_wait(&mut self, task: TaskIx, call: u64, target: &str, units: u32, group: Option<GroupOf>) -> WaitIx {
        let instance = self.picture.task(task).id().instance.0;
        let wait = NewWait {
            call: self.names.span_of(call, instance, "call"),
            target: Some(self.resource(target)),
            units,
            group,
        };
        self.picture.add_wait(task, wait)
    }

    pub(super) fn accepts(&mut self, task: TaskIx, wait: WaitIx) {
        let slot = self.picture.task(task).slot();
        self.picture.add_handler(wait, task, slot);
    }

    /// The dead or live task for which the span of this id stands.
    pub(super) fn task_of(&self, id: u64) -> TaskIx {
        self.tasks[&id]
    }

    /// Tasks from this id on, ten ids apart, each of which occupies one of the names and waits for the next.
    pub(super) fn ring(&mut self, first: u64, names: &[&str]) {
        for (place, name) in names.iter().enumerate() {
            let id = first + 10 * place as u64;
            let task = self.task(id, &[name]);
            self.waits(task, id + 1, names[(place + 1) % names.len()]);
        }
    }

    pub(super) fn deadlocks(&mut self) -> Vec<Deadlock> {
        self.picture.full_pass();
        deadlocks(&self.picture, &self.names)
    }

    pub(super) fn deadlock(&mut self) -> Deadlock {
        let mut all = self.deadlocks();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }
}

pub(super) fn ids(tasks: &[DeadTask]) -> Vec<u64> {
    tasks.iter().map(|task| task.id.0).collect()
}

pub(super) fn cores(deadlocks: &[Deadlock]) -> Vec<Vec<u64>> {
    deadlocks.iter().map(|deadlock| ids(&deadlock.core)).collect()
}
