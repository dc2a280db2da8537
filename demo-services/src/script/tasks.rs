//! What clients and requests do, step by step, with the spans that a user's code would make.
//!
//! What each step means is what the simulator of `standoff-script` means by it; here the time is real.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use opentelemetry::Context;
use opentelemetry::trace::{SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _};
use standoff_agent::{OpenSpan, Outcome, Spans, propagation};
use standoff_script::DEFAULT_TIMEOUT;
use standoff_script::program::{BlockIndex, CallOp, ClientProgram, Op, PoolIndex, Program, ServerIndex};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::message::{Heard, Request, Said};
use super::participant::{Answer, Participant};
use crate::demo::Telemetry;

/// How a process ends whose server crashes: as the shell tells of one that was killed with signal 9.
const CRASHED: i32 = 137;

/// One instance at work: a server, or the clients of a script that are alike.
pub(super) struct Worker {
    program: Arc<Program>,
    participant: Participant,
    spans: Spans,
    tracer: opentelemetry_sdk::trace::SdkTracer,
}

impl Worker {
    pub(super) fn new(program: Arc<Program>, participant: Participant, telemetry: &Telemetry) -> Self {
        Self {
            program,
            participant,
            spans: telemetry.spans(),
            tracer: telemetry.provider().tracer("standoff-demo-services"),
        }
    }

    /// Says something to the exchange.
    pub(super) async fn say(&self, said: Said) {
        self.participant.say(said).await;
    }

    /// Serves requests in the order of their arrival, as many at a time as its capacity says, until the line is closed.
    pub(super) async fn serve(self: Arc<Self>, server: ServerIndex, mut inbox: mpsc::Receiver<Heard>) {
        let capacity = self.program.servers.get(server).map_or(0, |it| it.capacity as usize);
        let mut queue = VecDeque::new();
        let mut running = JoinSet::new();
        loop {
            while running.len() < capacity
                && let Some(request) = queue.pop_front()
            {
                running.spawn(Arc::clone(&self).request(server, request));
            }
            tokio::select! {
                heard = inbox.recv() => match heard {
                    Some(heard) => queue.extend(self.participant.hear(heard).await),
                    None => return,
                },
                Some(_ended) = running.join_next() => {}
            }
        }
    }

    /// Takes in answers, until the line is closed. For clients, which nobody calls.
    pub(super) async fn listen(self: Arc<Self>, mut inbox: mpsc::Receiver<Heard>) {
        while let Some(heard) = inbox.recv().await {
            self.participant.hear(heard).await;
        }
    }

    /// A client, which starts its clock at `origin`.
    pub(super) async fn client(self: Arc<Self>, client: ClientProgram, origin: Instant) {
        sleep_until(origin + client.late).await;
        // What it waits for and holds belongs together because all of it is beneath this.
        let root = self.tracer.span_builder(client.name.to_string());
        let root = root
            .with_kind(SpanKind::Internal)
            .start_with_context(&self.tracer, &Context::new());
        let context = Context::new().with_span(root);
        self.run(client.block, &context).await;
        context.span().end();
    }

    async fn request(self: Arc<Self>, server: ServerIndex, request: Request) {
        let Some(resource) = self.program.servers.get(server) else {
            return;
        };
        let headers = HashMap::from([("traceparent".to_owned(), request.traceparent)]);
        let handle = self.spans.handle(format!("serve {}", resource.name)).server();
        let handle = handle.resource(Arc::clone(&resource.name)).capacity(resource.capacity);
        let handle = handle.parent(&propagation::extract(&headers)).start();
        self.run(request.block, handle.context()).await;
        handle.end();
        self.say(Said::Reply { ticket: request.ticket }).await;
    }

    /// Does one step after the other, and gives back what it still has of pools.
    async fn run(&self, block: BlockIndex, context: &Context) {
        let mut holds: Vec<(PoolIndex, OpenSpan)> = Vec::new();
        let mut groups = 0;
        for op in self.program.blocks.get(block).into_iter().flatten() {
            match op {
                Op::Busy(time) => sleep(*time).await,
                Op::Calls {
                    needed,
                    is_group,
                    calls,
                } => {
                    groups += 1;
                    let group = is_group.then(|| Group {
                        name: format!("group {groups}").into(),
                        needed: *needed,
                        size: u32::try_from(calls.len()).unwrap_or(u32::MAX),
                    });
                    self.calls(calls, *needed, group.as_ref(), context).await;
                }
                Op::Take(pool) => holds.extend(self.take(*pool, context).await.map(|hold| (*pool, hold))),
                Op::Release(pool) => {
                    if let Some(place) = holds.iter().rposition(|(held, _)| held == pool) {
                        self.release(holds.remove(place)).await;
                    }
                }
                // No destructor runs, so no span ends and nobody says goodbye: as if it had been killed. A server that
                // crashes is alone in its process.
                Op::Crash => std::process::exit(CRASHED),
            }
        }
        while let Some(hold) = holds.pop() {
            self.release(hold).await;
        }
    }

    /// Makes all these calls, and waits until enough of them are answered. Nobody waits for the rest, which is still served.
    async fn calls(&self, calls: &[CallOp], needed: u32, group: Option<&Group>, context: &Context) {
        let mut waits = FuturesUnordered::new();
        for call in calls {
            let Some(server) = self.program.servers.get(call.server) else {
                continue;
            };
            let within = call.timeout.unwrap_or(DEFAULT_TIMEOUT);
            let span = self
                .spans
                .call(Arc::clone(&server.name))
                .name(format!("call {}", server.name));
            let mut span = span.timeout(within).parent(context);
            if let Some(Group { name, needed, size }) = group {
                span = span.group(Arc::clone(name), *needed, *size);
            }
            let span = span.start();
            let mut headers = HashMap::new();
            propagation::inject(span.context(), &mut headers);
            let traceparent = headers.remove("traceparent").unwrap_or_default();
            let answer = self.participant.call(call.server, call.block, traceparent).await;
            waits.push(wait(span, answer, within));
        }
        for _ in 0..needed {
            // A call that times out counts as answered.
            waits.next().await;
        }
    }

    /// Waits for a unit, and holds it. `None` if the wait timed out.
    async fn take(&self, pool: PoolIndex, context: &Context) -> Option<OpenSpan> {
        let resource = self.program.pools.get(pool)?;
        let span = self
            .spans
            .call(Arc::clone(&resource.name))
            .name(format!("take {}", resource.name));
        let waiting = span.timeout(DEFAULT_TIMEOUT).parent(context).start();
        let mut answer = self.participant.take(pool).await;
        if timeout(DEFAULT_TIMEOUT, answer.come()).await.is_err() && !answer.give_up().await {
            waiting.end_with(Outcome::Timeout);
            return None;
        }
        waiting.end();
        let hold = self
            .spans
            .hold(Arc::clone(&resource.name))
            .name(format!("hold {}", resource.name));
        Some(hold.capacity(resource.capacity).parent(context).start())
    }

    async fn release(&self, (pool, hold): (PoolIndex, OpenSpan)) {
        hold.end();
        self.say(Said::Release { pool }).await;
    }
}

/// Calls of which only some must be answered.
struct Group {
    name: Arc<str>,
    needed: u32,
    size: u32,
}

async fn wait(span: OpenSpan, mut answer: Answer<'_>, within: Duration) {
    match timeout(within, answer.come()).await {
        Ok(()) => span.end(),
        Err(_) => span.end_with(Outcome::Timeout),
    }
}
