//! Shapes in which calls are answered by handlers.

use std::collections::VecDeque;

use standoff_wait_graph::{Quorum, SpanId};

use super::{Shape, Sink};
use crate::events::{Above, Source, call, call_in_group, finished, handle, instance, server};

/// Requests that call servers which call servers, each in a tree of its own.
#[derive(Default)]
pub(crate) struct Trees {
    source: Source,
    requests: Vec<Vec<Frame>>,
    /// Numbers of servers that serve nobody, idle for longest first.
    idle: VecDeque<usize>,
    servers: usize,
}

/// A call, and the handle that answers it.
struct Frame {
    call: SpanId,
    handle: SpanId,
    server: usize,
}

/// The frames of a request, on average and at most.
const FRAMES: usize = 8;
const FRAMES_MAX: usize = 16;

impl Trees {
    fn open(&mut self, request: usize, sink: Sink<'_>) {
        let frames = &mut self.requests[request];
        let caller = self.source.below(frames.len());
        let above = frames.get(caller).map(|frame| (frame.handle, frame.server));
        let server_number = self.idle.pop_front().unwrap_or_else(|| {
            self.servers += 1;
            self.servers
        });
        let (parent, from) = match above {
            Some((handle, server)) => (Above::Local(handle), instance(server)),
            None => (Above::Nothing, instance(request)),
        };
        let frame = Frame {
            call: self.source.id(),
            handle: self.source.id(),
            server: server_number,
        };
        sink(call(frame.call, from, parent, server(server_number)));
        let resource = Some(server(server_number));
        sink(handle(
            frame.handle,
            instance(server_number),
            Above::Remote(frame.call),
            resource,
        ));
        frames.push(frame);
    }

    /// The latest has called nobody, or nobody who has not replied.
    fn close(&mut self, request: usize, sink: Sink<'_>) {
        if let Some(frame) = self.requests[request].pop() {
            sink(finished(frame.handle));
            sink(finished(frame.call));
            self.idle.push_back(frame.server);
        }
    }
}

impl Shape for Trees {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        self.requests.resize_with(waits.div_ceil(FRAMES), Vec::new);
        for _ in 0..FRAMES {
            for request in 0..self.requests.len() {
                self.open(request, sink);
            }
        }
    }

    fn churn(&mut self, sink: Sink<'_>) {
        // One opens and another closes, so that their number stays.
        let opens = self.source.below(self.requests.len());
        if self.requests[opens].len() < FRAMES_MAX {
            self.open(opens, sink);
        } else {
            self.close(opens, sink);
        }
        let closes = self.source.below(self.requests.len());
        if self.requests[closes].is_empty() {
            self.open(closes, sink);
        } else {
            self.close(closes, sink);
        }
    }
}

/// Servers with a queue each, whose every call is queued before it is accepted.
#[derive(Default)]
pub(crate) struct Queues {
    source: Source,
    servers: Vec<Queue>,
    clients: usize,
}

#[derive(Default)]
struct Queue {
    /// The handle, and the call that it answers.
    serves: Option<(SpanId, Waiting)>,
    waiting: VecDeque<Waiting>,
}

/// A client's handle and call.
#[derive(Clone, Copy)]
struct Waiting {
    client: usize,
    task: SpanId,
    call: SpanId,
}

/// Calls to each server.
const QUEUE: usize = 8;

impl Queues {
    fn enqueue(&mut self, number: usize, client: usize, task: SpanId, sink: Sink<'_>) {
        let id = self.source.id();
        sink(call(id, instance(client), Above::Local(task), server(number)));
        let waiting = Waiting { client, task, call: id };
        self.servers[number].waiting.push_back(waiting);
    }

    fn accept(&mut self, number: usize, sink: Sink<'_>) {
        let id = self.source.id();
        let queue = &mut self.servers[number];
        if let Some(next) = queue.waiting.pop_front() {
            queue.serves = Some((id, next));
            let resource = Some(server(number));
            sink(handle(id, instance(number), Above::Remote(next.call), resource));
        }
    }
}

impl Shape for Queues {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        self.servers.resize_with(waits.div_ceil(QUEUE), Queue::default);
        for _ in 0..QUEUE {
            for number in 0..self.servers.len() {
                self.clients += 1;
                let task = self.source.id();
                sink(handle(task, instance(self.clients), Above::Nothing, None));
                self.enqueue(number, self.clients, task, sink);
            }
        }
        for number in 0..self.servers.len() {
            self.accept(number, sink);
        }
    }

    fn churn(&mut self, sink: Sink<'_>) {
        let number = self.source.below(self.servers.len());
        if let Some((id, served)) = self.servers[number].serves.take() {
            sink(finished(id));
            sink(finished(served.call));
            self.accept(number, sink);
            let next = self.source.below(self.servers.len());
            self.enqueue(next, served.client, served.task, sink);
            if self.servers[next].serves.is_none() {
                self.accept(next, sink);
            }
        }
    }
}

/// Requests that ask five replicas and need three of them, two of which do the same.
#[derive(Default)]
pub(crate) struct Groups {
    source: Source,
    /// Calls to replicas that ask nobody.
    leaves: Vec<Leaf>,
    replicas: usize,
}

struct Leaf {
    /// Who asks, and where it runs.
    task: SpanId,
    runs_in: usize,
    replica: usize,
    call: SpanId,
    handle: SpanId,
}

const GROUP: Quorum = Quorum { needed: 3, size: 5 };
/// How many replicas of a group ask others themselves.
const ASKING: usize = 2;

impl Groups {
    fn ask(&mut self, task: SpanId, runs_in: usize, replica: usize, sink: Sink<'_>) -> Leaf {
        let leaf = Leaf {
            task,
            runs_in,
            replica,
            call: self.source.id(),
            handle: self.source.id(),
        };
        let (name, above) = (server(replica), Above::Local(task));
        sink(call_in_group(leaf.call, instance(runs_in), above, name, GROUP));
        let above = Above::Remote(leaf.call);
        sink(handle(leaf.handle, instance(replica), above, Some(server(replica))));
        leaf
    }

    fn ask_all(&mut self, task: SpanId, runs_in: usize, sink: Sink<'_>) -> Vec<Leaf> {
        let ask = |_| {
            self.replicas += 1;
            self.ask(task, runs_in, self.replicas, sink)
        };
        (0..GROUP.size).map(ask).collect()
    }
}

impl Shape for Groups {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        let of_each = GROUP.size as usize * (1 + ASKING);
        for number in 0..waits.div_ceil(of_each) {
            let task = self.source.id();
            sink(handle(task, instance(number), Above::Nothing, None));
            let mut replicas = self.ask_all(task, number, sink);
            for asking in replicas.drain(..ASKING).collect::<Vec<_>>() {
                let asked = self.ask_all(asking.handle, asking.replica, sink);
                self.leaves.extend(asked);
            }
            self.leaves.extend(replicas);
        }
    }

    fn churn(&mut self, sink: Sink<'_>) {
        let place = self.source.below(self.leaves.len());
        let Leaf {
            task,
            runs_in,
            replica,
            call,
            handle,
        } = self.leaves[place];
        sink(finished(handle));
        sink(finished(call));
        self.leaves[place] = self.ask(task, runs_in, replica, sink);
    }
}
