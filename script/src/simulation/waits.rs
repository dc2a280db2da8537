//! How tasks ask for replies and for units, and what becomes of that.

use std::sync::Arc;
use std::time::Duration;

use super::event::{Event, Group, Parent, Role, Span, SpanId};
use super::tasks::TaskIndex;
use super::{Happening, Simulation, instance_id};
use crate::program::{BlockIndex, PoolIndex, ServerIndex};

/// The index of a wait. Waits keep theirs when they are over.
pub(crate) type WaitIndex = usize;

/// A call for whose answer a task waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// The call.
    pub(crate) span: SpanId,
    pub(crate) task: TaskIndex,
    pub(crate) on: On,
    /// Its task still waits for it. Otherwise it was answered, has timed out, is not needed any more, or died with
    /// its instance.
    pub(crate) is_open: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    /// That a server runs these steps and replies.
    Server { server: ServerIndex, block: BlockIndex },
    /// A unit.
    Pool(PoolIndex),
}

impl Wait {
    /// The server that is asked; `None` if it is a pool.
    pub(super) fn server(&self) -> Option<ServerIndex> {
        match self.on {
            On::Server { server, .. } => Some(server),
            On::Pool(_) => None,
        }
    }
}

impl Simulation {
    /// A task asks for something, as a part of its current step.
    pub(super) fn ask(&mut self, task: TaskIndex, on: On, group: Option<Group>, timeout: Option<Duration>) {
        let timeout = self.settings.timeout.map(|default| timeout.unwrap_or(default));
        let (verb, target) = match on {
            On::Server { server, .. } => ("call", Arc::clone(&self.program.servers[server].name)),
            On::Pool(pool) => ("take", Arc::clone(&self.program.pools[pool].name)),
        };
        let name = format!("{verb} {target}").into();
        let span = self.open_within(task, name, Role::Call { target, group, timeout });
        let wait = self.waits.len();
        self.waits.push(Wait {
            span,
            task,
            on,
            is_open: true,
        });
        self.tasks[task].asked.push(wait);
        self.send(Happening::Arrives(wait));
        if let Some(timeout) = timeout {
            self.agenda
                .put(self.now.saturating_add(timeout), Happening::TimesOut(wait));
        }
    }

    /// The answer has come. If nobody waits for it any more it is dropped; a unit goes back.
    pub(super) fn answer(&mut self, wait: WaitIndex) {
        let Wait { task, on, is_open, .. } = self.waits[wait];
        if is_open {
            self.close(wait);
        }
        match on {
            On::Server { .. } => {}
            On::Pool(pool) if is_open => {
                let resource = &self.program.pools[pool];
                let role = Role::Hold {
                    resource: Arc::clone(&resource.name),
                    capacity: resource.capacity,
                };
                let span = self.open_within(task, format!("hold {}", resource.name).into(), role);
                self.tasks[task].holds.push((pool, span));
            }
            On::Pool(pool) => self.give_back(pool),
        }
        if is_open {
            self.count_answer(task);
        }
    }

    /// Whoever waits gives up, which counts as an answer.
    pub(super) fn time_out(&mut self, wait: WaitIndex) {
        if self.waits[wait].is_open && !self.is_winding_down {
            self.close(wait);
            self.count_answer(self.waits[wait].task);
        }
    }

    /// Once there are enough answers, the task goes on, and does not wait for those that are left.
    fn count_answer(&mut self, task: TaskIndex) {
        self.tasks[task].missing = self.tasks[task].missing.saturating_sub(1);
        if self.tasks[task].missing > 0 {
            return;
        }
        for wait in std::mem::take(&mut self.tasks[task].asked) {
            if self.waits[wait].is_open {
                self.close(wait);
            }
        }
        self.go_on(task);
    }

    fn close(&mut self, wait: WaitIndex) {
        self.waits[wait].is_open = false;
        self.tell(Event::Finished(self.waits[wait].span));
    }

    /// Tells of a span directly under the task's own.
    fn open_within(&mut self, task: TaskIndex, name: Arc<str>, role: Role) -> SpanId {
        let task = &self.tasks[task];
        let (trace, instance) = (task.trace, instance_id(task.instance));
        let parent = Some(Parent {
            id: task.span,
            is_remote: false,
        });
        self.open(|id| Span {
            id,
            trace,
            instance,
            parent,
            name,
            role,
        })
    }
}
