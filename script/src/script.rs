//! What a script says, once it is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::TIME_MAX;

/// The name of a server, a pool or a client.
pub type Name = Arc<str>;

/// Clients that call servers, which call servers, and take units of pools.
///
/// Read one with [`str::parse`]. Its [`Display`](std::fmt::Display) is the notation again: parsing that gives an equal
/// script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub(crate) clients: Vec<Client>,
    pub(crate) servers: BTreeMap<Name, u32>,
    pub(crate) pools: BTreeMap<Name, u32>,
}

/// One client, or several alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Not a resource; several clients may have the same.
    pub name: Name,
    /// How many of them run, at least 1.
    pub copies: u32,
    /// How long after the others they start.
    pub late: Duration,
    /// What they do, one after the other. Never empty.
    pub steps: Vec<Step>,
}

/// What a client or a request does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Computes for so long.
    Busy(Duration),
    /// Calls a server and waits for its reply.
    Call(Call),
    /// Calls several servers at once, and waits for some of the replies.
    Calls {
        /// How many.
        needed: Needed,
        /// Never empty.
        calls: Vec<Call>,
    },
    /// Takes a unit of a pool, once there is one.
    Take(Name),
    /// Gives back a unit that it took of a pool. Does nothing if the wait for that unit timed out.
    Release(Name),
    /// The server's instance dies. Never a step of a client.
    Crash,
}

/// How many of several calls must be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Each of them.
    All,
    /// One.
    Any,
    /// So many; at least 1, and no more than there are.
    Some(u32),
}

/// A request to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whom.
    pub server: Name,
    /// What the server does before it replies. Empty: it replies at once.
    pub steps: Vec<Step>,
    /// How long the caller waits at most; `None` for [the default](crate::DEFAULT_TIMEOUT).
    pub timeout: Option<Duration>,
}

impl Needed {
    /// The number, out of so many calls.
    pub fn of(self, calls: usize) -> u32 {
        match self {
            Self::All => u32::try_from(calls).unwrap_or(u32::MAX),
            Self::Any => 1,
            Self::Some(needed) => needed,
        }
    }
}

impl Script {
    /// The clients, in the order of the script. All of them run concurrently.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// Every server and its capacity: how many requests it runs at a time. By name.
    pub fn servers(&self) -> impl Iterator<Item = (&Name, u32)> {
        self.servers.iter().map(|(name, capacity)| (name, *capacity))
    }

    /// Every lock and pool and how many units it has. By name.
    pub fn pools(&self) -> impl Iterator<Item = (&Name, u32)> {
        self.pools.iter().map(|(name, capacity)| (name, *capacity))
    }

    /// The same script with every time of work (`~`) and every late start (`+`) so many times as long. Timeouts stay as
    /// they are. No time gets longer than [`TIME_MAX`].
    #[must_use]
    pub fn scaled(mut self, factor: u32) -> Self {
        for client in &mut self.clients {
            client.late = scaled(client.late, factor);
            scale(&mut client.steps, factor);
        }
        self
    }

    /// A script of these clients. The capacity of a name that is not listed is 1; names that no step mentions are left
    /// out.
    ///
    /// Preconditions: what the fields of [`Client`], [`Step`] and [`Call`] say, and that no name is both a server's and
    /// a pool's.
    pub(crate) fn assemble(clients: Vec<Client>, capacities: &BTreeMap<Name, u32>) -> Self {
        let mut script = Self {
            clients: Vec::new(),
            servers: BTreeMap::new(),
            pools: BTreeMap::new(),
        };
        for client in &clients {
            script.collect(&client.steps, capacities);
        }
        script.clients = clients;
        script
    }

    fn collect(&mut self, steps: &[Step], capacities: &BTreeMap<Name, u32>) {
        let capacity = |name: &Name| (Arc::clone(name), capacities.get(name).copied().unwrap_or(1));
        for step in steps {
            match step {
                Step::Take(pool) | Step::Release(pool) => self.pools.extend([capacity(pool)]),
                Step::Busy(_) | Step::Crash | Step::Call(_) | Step::Calls { .. } => {}
            }
            for call in step.calls() {
                self.servers.extend([capacity(&call.server)]);
                self.collect(&call.steps, capacities);
            }
        }
    }
}

impl Step {
    /// The calls that it makes, all at once.
    pub fn calls(&self) -> &[Call] {
        match self {
            Self::Call(call) => std::slice::from_ref(call),
            Self::Calls { calls, .. } => calls,
            Self::Busy(_) | Self::Take(_) | Self::Release(_) | Self::Crash => &[],
        }
    }

    pub(crate) fn calls_mut(&mut self) -> &mut [Call] {
        match self {
            Self::Call(call) => std::slice::from_mut(call),
            Self::Calls { calls, .. } => calls,
            Self::Busy(_) | Self::Take(_) | Self::Release(_) | Self::Crash => &mut [],
        }
    }
}

fn scale(steps: &mut [Step], factor: u32) {
    for step in steps {
        if let Step::Busy(time) = step {
            *time = scaled(*time, factor);
        }
        for call in step.calls_mut() {
            scale(&mut call.steps, factor);
        }
    }
}

fn scaled(time: Duration, factor: u32) -> Duration {
    time.saturating_mul(factor).min(TIME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_servers_and_pools() {
        let script: Script = "x: B[2]{A{P[3]+; Q+}} || y: P+; B".parse().unwrap();
        let of =
            |it: &mut dyn Iterator<Item = (&Name, u32)>| it.map(|(name, units)| format!("{name}{units}")).collect();
        let (servers, pools): (Vec<String>, Vec<String>) = (of(&mut script.servers()), of(&mut script.pools()));
        assert_eq!(
            (servers.join(" "), pools.join(" ")),
            ("A1 B2".to_owned(), "P3 Q1".to_owned())
        );
    }

    #[test]
    fn scaling_multiplies_work_and_late_starts_only() {
        let script: Script = "x*2+10: ~5; &(A{~7}@9, B{C{~1}@1})".parse().unwrap();
        assert_eq!(script.scaled(3).to_string(), "x*2+30: ~15; &(A{~21}@9, B{C{~3}@1})");
    }

    #[test]
    fn no_time_grows_beyond_its_limit() {
        let script: Script = "x: ~86400000".parse().unwrap();
        assert_eq!(script.clone().scaled(u32::MAX), script);
    }
}
