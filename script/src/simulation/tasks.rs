//! What clients and requests do, step by step.

use std::sync::Arc;

use super::event::{Event, Group, Parent, Role, Span, SpanId};
use super::waits::{On, Wait, WaitIndex};
use super::{Happening, Simulation, instance_id};
use crate::program::{BlockIndex, Op, PoolIndex};
use crate::script::Name;

/// The index of a task. Tasks keep theirs when they are over.
pub(crate) type TaskIndex = usize;

/// A client, or a request that a server runs.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Its root span, or its handle.
    pub(crate) span: SpanId,
    pub(crate) instance: usize,
    pub(crate) trace: u64,
    /// The call that it answers; `None` for a client.
    pub(crate) answers: Option<WaitIndex>,
    pub(crate) block: BlockIndex,
    /// The step that comes next.
    pub(crate) next: usize,
    /// Units that it has, each with the span that holds it. Oldest first.
    pub(crate) holds: Vec<(PoolIndex, SpanId)>,
    /// What it has asked for in its current step.
    pub(crate) asked: Vec<WaitIndex>,
    /// How many more answers it needs until its current step is over.
    pub(crate) missing: u32,
    /// How many groups of calls it has made.
    pub(crate) groups: u64,
    /// It has ended, or died with its instance.
    pub(crate) is_over: bool,
}

impl Simulation {
    pub(super) fn begin_client(&mut self, client: usize) {
        let program = &self.program.clients[client];
        let (block, name) = (program.block, Arc::clone(&program.name));
        let instance = self.program.servers.len() + client;
        let trace = client as u64 + 1;
        let span = self.open(|id| Span {
            id,
            trace,
            instance: instance_id(instance),
            parent: None,
            name,
            role: Role::Client,
        });
        let task = self.add_task(span, instance, trace, None, block);
        self.go_on(task);
    }

    /// A server begins to run a request. What the request does first comes after everything that happens now.
    pub(super) fn begin_request(&mut self, answers: WaitIndex) {
        let Wait {
            span: call,
            task: caller,
            on,
            ..
        } = self.waits[answers];
        let On::Server { server, block } = on else { return };
        let trace = self.tasks[caller].trace;
        let span = self.open_handle(call, server, trace);
        let task = self.add_task(span, server, trace, Some(answers), block);
        self.agenda.put(self.now, Happening::GoesOn(task));
    }

    fn open_handle(&mut self, call: SpanId, server: usize, trace: u64) -> SpanId {
        let resource = &self.program.servers[server];
        let role = Role::Handle {
            resource: Name::clone(&resource.name),
            capacity: resource.capacity,
        };
        let name = format!("serve {}", resource.name).into();
        let parent = Some(Parent {
            id: call,
            is_remote: true,
        });
        self.open(|id| Span {
            id,
            trace,
            instance: instance_id(server),
            parent,
            name,
            role,
        })
    }

    fn add_task(
        &mut self,
        span: SpanId,
        instance: usize,
        trace: u64,
        answers: Option<WaitIndex>,
        block: BlockIndex,
    ) -> TaskIndex {
        self.tasks.push(Task {
            span,
            instance,
            trace,
            answers,
            block,
            next: 0,
            holds: Vec::new(),
            asked: Vec::new(),
            missing: 0,
            groups: 0,
            is_over: false,
        });
        self.tasks.len() - 1
    }

    /// A task does its next steps, until it has to wait or has ended.
    pub(super) fn go_on(&mut self, task: TaskIndex) {
        while !self.tasks[task].is_over {
            let Task { block, next, .. } = self.tasks[task];
            let op = self.program.blocks[block]
                .get(next)
                .filter(|_| !self.is_winding_down)
                .cloned();
            self.tasks[task].next += 1;
            match op {
                None => self.end(task),
                Some(Op::Busy(time)) => {
                    self.agenda.put(self.now.saturating_add(time), Happening::GoesOn(task));
                    return;
                }
                Some(Op::Calls {
                    needed,
                    is_group,
                    calls,
                }) => {
                    let group = is_group.then(|| self.next_group(task, needed, calls.len()));
                    self.tasks[task].missing = needed;
                    for call in calls.iter() {
                        let on = On::Server {
                            server: call.server,
                            block: call.block,
                        };
                        self.ask(task, on, group.clone(), call.timeout);
                    }
                    return;
                }
                Some(Op::Take(pool)) => {
                    self.tasks[task].missing = 1;
                    self.ask(task, On::Pool(pool), None, None);
                    return;
                }
                Some(Op::Release(pool)) => self.release(task, pool),
                Some(Op::Crash) => self.crash(self.tasks[task].instance),
            }
        }
    }

    fn next_group(&mut self, task: TaskIndex, needed: u32, size: usize) -> Group {
        let task = &mut self.tasks[task];
        task.groups += 1;
        Group {
            name: format!("group {}", task.groups).into(),
            needed,
            size: u32::try_from(size).unwrap_or(u32::MAX),
        }
    }

    /// Gives back the unit that was taken last, if the task has one.
    fn release(&mut self, task: TaskIndex, pool: PoolIndex) {
        let holds = &mut self.tasks[task].holds;
        if let Some(place) = holds.iter().rposition(|(held, _)| *held == pool) {
            let (_, span) = holds.remove(place);
            self.tell(Event::Finished(span));
            self.give_back(pool);
        }
    }

    /// A task ends: it gives back what it has, and answers.
    fn end(&mut self, task: TaskIndex) {
        for (pool, span) in std::mem::take(&mut self.tasks[task].holds).into_iter().rev() {
            self.tell(Event::Finished(span));
            self.give_back(pool);
        }
        self.tasks[task].is_over = true;
        self.tell(Event::Finished(self.tasks[task].span));
        match self.tasks[task].answers {
            None => self.clients_running -= 1,
            Some(call) => {
                self.send(Happening::IsAnswered(call));
                self.end_request(self.tasks[task].instance);
            }
        }
    }
}
