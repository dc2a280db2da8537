//! A small cluster: nodes that find named processes wherever they live, and start them on demand.
//!
//! A process such as `{:server_a, 42}` runs at most once in the whole cluster. [`Node::call`] looks its name up in the
//! [`Registry`], starts it on the node that [`Placement`] chooses if nobody has yet, and carries the request there
//! through a [`Transport`], together with the trace context of the caller.
//!
//! Both seams exist twice: in process, for the embedded demo and fast tests, and for real ([`RedisRegistry`],
//! [`GrpcTransport`]).
//!
//! Why Redis with leases: every replica must agree on who runs a name, and a replica that is killed must lose its names
//! by itself. A key that only its owner renews and that expires does both, in a server that the work-queue demo needs
//! anyway; etcd or ZooKeeper would bring sessions ready-made, at the price of one more system to install. A lease is
//! no proof: a node that is cut off from Redis for longer than its lease may run a process that another node has
//! started in the meantime, until it hears of that and stops its own.

mod grpc;
mod in_process;
mod node;
mod redis;

use std::fmt;
use std::sync::Weak;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::Context;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use grpc::GrpcTransport;
pub use in_process::{InProcessRegistry, InProcessTransport};
pub use node::{Factory, JoinError, Node, NodeConfig, PROCESSES_MAX};
pub use redis::{InvalidRedisUrl, RedisRegistry};

/// The name of a process, unique in its cluster. Shown as `{:kind, id}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessName {
    /// What kind of process it is.
    pub kind: String,
    /// Which of its kind.
    pub id: i64,
}

impl ProcessName {
    /// The name `{:kind, id}`.
    pub fn new(kind: impl Into<String>, id: i64) -> Self {
        Self { kind: kind.into(), id }
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{:{}, {}}}", self.kind, self.id)
    }
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The name of the node, which it keeps when it is started again. Members are in the order of their names.
    pub node: String,
    /// Drawn at random at every start: what a predecessor of the same name registered is not its own.
    pub incarnation: u64,
    /// Where the transport finds it.
    pub address: String,
}

/// Where a process is started that nobody runs yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Anywhere.
    #[default]
    Random,
    /// On the `id mod n`-th of the `n` members in the order of their names. For tests.
    Deterministic,
}

impl Placement {
    /// One of `members`, which are in order. `None` if there are none.
    pub fn choose<'a>(&self, name: &ProcessName, members: &'a [Member]) -> Option<&'a Member> {
        let count = i64::try_from(members.len()).ok().filter(|count| *count > 0)?;
        let index = match self {
            Placement::Random => rand::random_range(0..count),
            Placement::Deterministic => name.id.rem_euclid(count),
        };
        members.get(usize::try_from(index).ok()?)
    }
}

/// Who is a member of the cluster, and which member runs which process. What is not renewed within the lease is gone.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Makes `me` a member, or keeps it one, and renews the registration of `names`, which it runs. A name that has
    /// expired meanwhile is registered again. Returns those that belong to another member now.
    async fn renew(
        &self,
        me: &Member,
        names: &[ProcessName],
        lease: Duration,
    ) -> Result<Vec<ProcessName>, RegistryError>;

    /// Ends the membership of `me` and the registration of `names`, as far as they are its own.
    async fn leave(&self, me: &Member, names: &[ProcessName]) -> Result<(), RegistryError>;

    /// All members, in the order of their names.
    async fn members(&self) -> Result<Vec<Member>, RegistryError>;

    /// Registers `name` for `me` unless another member has it. Returns the owner, which is `me` on success.
    async fn register(&self, name: &ProcessName, me: &Member, lease: Duration) -> Result<Member, RegistryError>;

    /// Ends the registration of `name` if it is that of `me`.
    async fn unregister(&self, name: &ProcessName, me: &Member) -> Result<(), RegistryError>;

    /// The member that runs `name`.
    async fn owner(&self, name: &ProcessName) -> Result<Option<Member>, RegistryError>;
}

/// The registry cannot be reached. What is registered stays so until the leases run out.
#[derive(Debug, Error)]
#[error("the registry at {server} cannot be reached")]
pub struct RegistryError {
    /// Host and port.
    server: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// A request to a process of another node.
#[derive(Clone, Debug)]
pub struct RemoteCall {
    /// The process. It is started there if it runs nowhere.
    pub name: ProcessName,
    /// The span of the caller.
    pub caller: Context,
    /// The request.
    pub body: Vec<u8>,
}

/// How nodes reach each other.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Takes an address at which others will find a node.
    async fn bind(&self) -> std::io::Result<Box<dyn Endpoint>>;

    /// Calls a process of the node at `address` and awaits the reply. No timeout, but a node that is gone is noticed.
    async fn call(&self, address: &str, call: RemoteCall) -> Result<Vec<u8>, CallError>;
}

/// An address that nobody answers at yet.
pub trait Endpoint: Send {
    /// Where others find the node.
    fn address(&self) -> String;

    /// Hands what arrives to `inbox`, until `stop`.
    fn serve(self: Box<Self>, inbox: Weak<dyn Inbox>, stop: CancellationToken);
}

/// A node as a transport sees it.
#[async_trait]
pub trait Inbox: Send + Sync + 'static {
    /// Serves a call from another node.
    async fn accept(&self, call: RemoteCall) -> Result<Vec<u8>, CallError>;
}

/// Why a call to a process has no reply.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// The process ended while it served the request.
    #[error("the process ended while it served the request")]
    Exited,
    /// The process ended while the request was in its mailbox.
    #[error("the process ended before it served the request")]
    Refused,
    /// The mailbox is full, or the node runs as many processes as it may.
    #[error("the process or its node is overloaded")]
    Overloaded,
    /// There are no processes of this kind.
    #[error("there are no processes of this kind")]
    Unknown,
    /// The process does not run on the node that was asked. It never saw the request.
    #[error("the process does not run there")]
    NotRunning,
    /// No node could be reached that runs the process or would start it. Nobody saw the request.
    #[error("no node could be reached that runs the process")]
    Unreachable,
    /// The connection was lost after the request was sent. Whether it was served is unknown.
    #[error("the connection to the node was lost")]
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: &str) -> Member {
        Member {
            node: node.to_owned(),
            incarnation: 1,
            address: String::new(),
        }
    }

    #[test]
    fn names_read_as_in_erlang() {
        assert_eq!(ProcessName::new("server_a", 42).to_string(), "{:server_a, 42}");
    }

    #[test]
    fn deterministic_placement_goes_by_id() {
        let members = [member("a-1"), member("a-2")];
        let node = |id| {
            Placement::Deterministic
                .choose(&ProcessName::new("x", id), &members)
                .unwrap()
                .node
                .as_str()
        };
        assert_eq!(
            [node(42), node(7), node(-1), node(i64::MIN)],
            ["a-1", "a-2", "a-2", "a-1"]
        );
    }

    #[test]
    fn random_placement_reaches_every_member() {
        let members = [member("a-1"), member("a-2")];
        let name = ProcessName::new("x", 1);
        let hits = (0..200)
            .filter(|_| Placement::Random.choose(&name, &members).unwrap().node == "a-1")
            .count();
        // Fails by chance once in 2^199 runs.
        assert!(hits > 0 && hits < 200);
    }

    #[test]
    fn without_members_there_is_no_place() {
        let name = ProcessName::new("x", 1);
        for placement in [Placement::Random, Placement::Deterministic] {
            assert_eq!(placement.choose(&name, &[]), None);
        }
    }
}
