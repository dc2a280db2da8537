//! A node: the processes that it runs, and the calls that leave it and arrive.
//!
//! A node owns its table of running processes. Who runs what in the whole cluster is the registry's to say; a node looks
//! names up for every call and remembers nothing.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::Context;
use standoff_agent::Spans;
use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{CallError, Inbox, Member, Placement, ProcessName, Registry, RegistryError, RemoteCall, Transport};
use crate::backoff::Backoff;
use crate::process::{Mailbox, Process, Start};

/// The most processes that one node runs: with a few kilobytes each, well under 100 MB.
pub const PROCESSES_MAX: usize = 16_384;
/// Registering and unregistering one name must not overlap, and different names need not wait for each other.
const NAMING_LOCKS: usize = 64;
/// The first delay of a caller that lost a race for a name. The winner is done after about a round trip.
const RACE_DELAY: Duration = Duration::from_millis(1);
/// How long a goodbye to the registry may take before we leave without; the leases then run out by themselves.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a node is to be.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Unique in the cluster.
    pub name: String,
    /// How long the others believe in this node without news of it. Renewed three times as often.
    pub lease: Duration,
    /// A process with nothing to do ends after this long.
    pub idle_after: Duration,
    /// Where this node starts processes that nobody runs yet.
    pub placement: Placement,
}

/// How to start the process of a name; `None` if there is no such kind.
pub type Factory = Box<dyn Fn(&ProcessName) -> Option<Start> + Send + Sync>;

/// A member of a cluster. Dropping it without [`Node::leave`] looks like a crash to the others: its names stay taken
/// until their leases run out.
#[derive(Debug)]
pub struct Node {
    inner: Arc<Inner>,
    _stop: DropGuard,
}

struct Inner {
    me: Member,
    config: NodeConfig,
    registry: Arc<dyn Registry>,
    transport: Arc<dyn Transport>,
    factory: Factory,
    spans: Spans,
    processes: Mutex<BTreeMap<ProcessName, Running>>,
    naming: [tokio::sync::Mutex<()>; NAMING_LOCKS],
    stop: CancellationToken,
    myself: Weak<Inner>,
}

#[derive(Clone)]
struct Running {
    mailbox: Mailbox,
    stop: CancellationToken,
}

/// The node cannot be reached by others.
#[derive(Debug, Error)]
#[error("node {node} has no address for calls from other nodes")]
pub struct JoinError {
    node: String,
    #[source]
    source: std::io::Error,
}

impl Node {
    /// Joins the cluster that `registry` is about. Waits for the registry if it cannot be reached.
    pub async fn join(
        config: NodeConfig,
        registry: Arc<dyn Registry>,
        transport: Arc<dyn Transport>,
        factory: Factory,
        spans: Spans,
    ) -> Result<Node, JoinError> {
        let no_address = |source| JoinError {
            node: config.name.clone(),
            source,
        };
        let endpoint = transport.bind().await.map_err(no_address)?;
        let me = Member {
            node: config.name.clone(),
            incarnation: rand::random(),
            address: endpoint.address(),
        };
        let inner = Arc::new_cyclic(|myself: &Weak<Inner>| Inner {
            me,
            config,
            registry,
            transport,
            factory,
            spans,
            processes: Mutex::default(),
            naming: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
            stop: CancellationToken::new(),
            myself: myself.clone(),
        });
        let node = Node {
            _stop: inner.stop.clone().drop_guard(),
            inner,
        };
        let inbox: Weak<dyn Inbox> = node.inner.myself.clone();
        endpoint.serve(inbox, node.inner.stop.clone());

        let mut backoff = Backoff::reconnect();
        let mut outage = Outage::default();
        while let Err(error) = node.inner.renew().await {
            outage.failed(&node.inner.me, "cannot join the cluster; trying again", &error);
            backoff.wait().await;
        }
        tokio::spawn(node.inner.clone().keep_lease());
        Ok(node)
    }

    /// This node as the others see it.
    pub fn member(&self) -> &Member {
        &self.inner.me
    }

    /// Calls a process, wherever it runs, and awaits its reply; starts it if it runs nowhere. The current span goes with
    /// the call. There is no timeout for the reply; finding the process takes no longer than it takes for the names of
    /// a lost node to become free.
    pub async fn call(&self, name: &ProcessName, body: Vec<u8>) -> Result<Vec<u8>, CallError> {
        let caller = Context::current();
        let mut backoff = Backoff::starting_at(RACE_DELAY);
        let give_up_at = Instant::now() + 3 * self.inner.config.lease;
        loop {
            match self
                .inner
                .attempt(RemoteCall {
                    name: name.clone(),
                    caller: caller.clone(),
                    body: body.clone(),
                })
                .await
            {
                // Nobody has seen the request yet, so another attempt cannot serve it twice.
                Err(CallError::NotRunning | CallError::Unreachable) if Instant::now() < give_up_at => {
                    backoff.wait().await;
                }
                outcome => return outcome,
            }
        }
    }

    /// How many processes run here.
    pub fn processes(&self) -> usize {
        self.inner.processes().len()
    }

    /// Stops all processes and leaves the cluster, so that others can start them at once.
    pub async fn leave(&self) {
        let names = self.inner.names();
        self.inner.stop.cancel();
        let goodbye = self.inner.registry.leave(&self.inner.me, &names);
        if !matches!(tokio::time::timeout(LEAVE_TIMEOUT, goodbye).await, Ok(Ok(()))) {
            tracing::warn!(node = self.inner.me.node, "left the cluster without a goodbye");
        }
    }
}

impl Inner {
    async fn attempt(&self, call: RemoteCall) -> Result<Vec<u8>, CallError> {
        let member = self.place_of(&call.name).await.map_err(|error| {
            tracing::debug!(name = %call.name, %error, "cannot look the process up");
            CallError::Unreachable
        })?;
        match member {
            None => Err(CallError::Unreachable),
            Some(member) if member == self.me => self.accept(call).await,
            Some(member) => self.transport.call(&member.address, call).await,
        }
    }

    /// The member that runs a process or, if none does, is to start it.
    async fn place_of(&self, name: &ProcessName) -> Result<Option<Member>, RegistryError> {
        if let Some(owner) = self.registry.owner(name).await? {
            return Ok(Some(owner));
        }
        let members = self.registry.members().await?;
        Ok(self.config.placement.choose(name, &members).cloned())
    }

    async fn start(&self, name: &ProcessName) -> Result<Mailbox, CallError> {
        let _naming = self.naming_lock(name).lock().await;
        if let Some(running) = self.processes().get(name) {
            return Ok(running.mailbox.clone());
        }
        let start = (self.factory)(name).ok_or(CallError::Unknown)?;
        if self.processes().len() >= PROCESSES_MAX {
            return Err(CallError::Overloaded);
        }
        let owner = self
            .registry
            .register(name, &self.me, self.config.lease)
            .await
            .map_err(|error| {
                tracing::debug!(%name, %error, "cannot register the process");
                CallError::Unreachable
            })?;
        let Some(myself) = self
            .myself
            .upgrade()
            .filter(|_| owner == self.me && !self.stop.is_cancelled())
        else {
            return Err(CallError::NotRunning);
        };
        let stop = self.stop.child_token();
        let process = Process {
            name: name.clone(),
            start,
            spans: self.spans.clone(),
            idle_after: self.config.idle_after,
            stop: stop.clone(),
        };
        let (mailbox, run) = process.supervised();
        self.processes().insert(
            name.clone(),
            Running {
                mailbox: mailbox.clone(),
                stop,
            },
        );
        let name = name.clone();
        tokio::spawn(async move {
            run.await;
            myself.stopped(&name).await;
        });
        Ok(mailbox)
    }

    /// A process has stopped for good. Its name becomes free.
    async fn stopped(&self, name: &ProcessName) {
        let _naming = self.naming_lock(name).lock().await;
        self.processes().remove(name);
        if self.stop.is_cancelled() {
            return;
        }
        if let Err(error) = self.registry.unregister(name, &self.me).await {
            tracing::debug!(%name, %error, "the name becomes free when its lease runs out");
        }
    }

    async fn keep_lease(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.config.lease / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut outage = Outage::default();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            match self.renew().await {
                Ok(()) => outage = Outage::default(),
                // What runs goes on: nobody else can take a name while the registry is away.
                Err(error) => outage.failed(&self.me, "cannot renew the lease; trying again", &error),
            }
        }
    }

    async fn renew(&self) -> Result<(), RegistryError> {
        let lost = self.registry.renew(&self.me, &self.names(), self.config.lease).await?;
        for name in lost {
            if let Some(running) = self.processes().get(&name) {
                tracing::warn!(%name, node = self.me.node, "another node runs this process now, ours is stopped");
                running.stop.cancel();
            }
        }
        Ok(())
    }

    fn names(&self) -> Vec<ProcessName> {
        self.processes().keys().cloned().collect()
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<ProcessName, Running>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn naming_lock(&self, name: &ProcessName) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % NAMING_LOCKS as u64).unwrap_or(0);
        &self.naming[index]
    }
}

/// One warning for each time that the registry goes away is enough.
#[derive(Default)]
struct Outage {
    is_known: bool,
}

impl Outage {
    fn failed(&mut self, me: &Member, what: &str, error: &RegistryError) {
        let cause = std::error::Error::source(error)
            .map(ToString::to_string)
            .unwrap_or_default();
        if std::mem::replace(&mut self.is_known, true) {
            tracing::debug!(node = me.node, %error, cause, "{what}");
        } else {
            tracing::warn!(node = me.node, %error, cause, "{what}");
        }
    }
}

#[async_trait]
impl Inbox for Inner {
    async fn accept(&self, call: RemoteCall) -> Result<Vec<u8>, CallError> {
        if self.stop.is_cancelled() {
            return Err(CallError::NotRunning);
        }
        let running = self.processes().get(&call.name).map(|running| running.mailbox.clone());
        let mailbox = match running {
            Some(mailbox) => mailbox,
            None => self.start(&call.name).await?,
        };
        mailbox.call(call.caller, call.body).await
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("me", &self.me).finish_non_exhaustive()
    }
}
