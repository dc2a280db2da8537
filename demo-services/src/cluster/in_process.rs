//! A registry and a transport within one process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use standoff_agent::propagation;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{CallError, Endpoint, Inbox, Member, ProcessName, Registry, RegistryError, RemoteCall, Transport};
use crate::broker::Headers;

/// The registry of nodes within one process. Clones are the same registry.
#[derive(Clone, Debug, Default)]
pub struct InProcessRegistry {
    leases: Arc<Mutex<Leases>>,
}

/// Bounded by what the nodes register: [`super::PROCESSES_MAX`] names for each member.
#[derive(Debug, Default)]
struct Leases {
    /// By the node's name.
    members: BTreeMap<String, Lease>,
    names: BTreeMap<ProcessName, Lease>,
}

#[derive(Debug)]
struct Lease {
    owner: Member,
    until: Instant,
}

impl InProcessRegistry {
    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leases {
    fn owner(&self, name: &ProcessName) -> Option<&Member> {
        self.names
            .get(name)
            .filter(|lease| lease.until > Instant::now())
            .map(|lease| &lease.owner)
    }

    fn register(&mut self, name: &ProcessName, me: &Member, until: Instant) -> Member {
        if let Some(other) = self.owner(name).filter(|owner| *owner != me) {
            return other.clone();
        }
        self.names.insert(
            name.clone(),
            Lease {
                owner: me.clone(),
                until,
            },
        );
        me.clone()
    }

    fn unregister(&mut self, name: &ProcessName, me: &Member) {
        if self.names.get(name).is_some_and(|lease| lease.owner == *me) {
            self.names.remove(name);
        }
    }
}

#[async_trait]
impl Registry for InProcessRegistry {
    async fn renew(
        &self,
        me: &Member,
        names: &[ProcessName],
        lease: Duration,
    ) -> Result<Vec<ProcessName>, RegistryError> {
        let now = Instant::now();
        let until = now + lease;
        let mut leases = self.leases();
        // Nobody else does it, and every member comes by here.
        leases.members.retain(|_, lease| lease.until > now);
        leases.names.retain(|_, lease| lease.until > now);
        leases.members.insert(
            me.node.clone(),
            Lease {
                owner: me.clone(),
                until,
            },
        );
        Ok(names
            .iter()
            .filter(|name| leases.register(name, me, until) != *me)
            .cloned()
            .collect())
    }

    async fn leave(&self, me: &Member, names: &[ProcessName]) -> Result<(), RegistryError> {
        let mut leases = self.leases();
        if leases.members.get(&me.node).is_some_and(|lease| lease.owner == *me) {
            leases.members.remove(&me.node);
        }
        for name in names {
            leases.unregister(name, me);
        }
        Ok(())
    }

    async fn members(&self) -> Result<Vec<Member>, RegistryError> {
        let now = Instant::now();
        let leases = self.leases();
        Ok(leases
            .members
            .values()
            .filter(|lease| lease.until > now)
            .map(|lease| lease.owner.clone())
            .collect())
    }

    async fn register(&self, name: &ProcessName, me: &Member, lease: Duration) -> Result<Member, RegistryError> {
        Ok(self.leases().register(name, me, Instant::now() + lease))
    }

    async fn unregister(&self, name: &ProcessName, me: &Member) -> Result<(), RegistryError> {
        self.leases().unregister(name, me);
        Ok(())
    }

    async fn owner(&self, name: &ProcessName) -> Result<Option<Member>, RegistryError> {
        Ok(self.leases().owner(name).cloned())
    }
}

/// The transport between nodes within one process. Clones are the same transport.
#[derive(Clone, Debug, Default)]
pub struct InProcessTransport {
    nodes: Arc<Mutex<Nodes>>,
}

#[derive(Default)]
struct Nodes {
    bound: u64,
    by_address: HashMap<String, Weak<dyn Inbox>>,
}

struct InProcessEndpoint {
    address: String,
    nodes: Arc<Mutex<Nodes>>,
}

#[async_trait]
impl Transport for InProcessTransport {
    async fn bind(&self) -> std::io::Result<Box<dyn Endpoint>> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.bound += 1;
        Ok(Box::new(InProcessEndpoint {
            address: format!("in-process:{}", nodes.bound),
            nodes: self.nodes.clone(),
        }))
    }

    async fn call(&self, address: &str, call: RemoteCall) -> Result<Vec<u8>, CallError> {
        let inbox = {
            let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            nodes
                .by_address
                .get(address)
                .and_then(Weak::upgrade)
                .ok_or(CallError::Unreachable)?
        };
        // The context goes through headers, as between processes, so that the handler's parent is a remote one.
        let mut headers = Headers::default();
        propagation::inject(&call.caller, &mut headers);
        inbox
            .accept(RemoteCall {
                caller: propagation::extract(&headers),
                ..call
            })
            .await
    }
}

impl Endpoint for InProcessEndpoint {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn serve(self: Box<Self>, inbox: Weak<dyn Inbox>, _stop: CancellationToken) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.by_address.retain(|_, inbox| inbox.strong_count() > 0);
        nodes.by_address.insert(self.address, inbox);
    }
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes")
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}
