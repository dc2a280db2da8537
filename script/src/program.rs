//! A script with numbers for names, which is what a run goes through again and again: the simulator's, or one with real
//! servers.
//!
//! The same script gives the same numbers everywhere, so processes that have read the same script can name its steps to
//! each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::script::{Call, Name, Script, Step};

/// The index of a server.
pub type ServerIndex = usize;
/// The index of a pool.
pub type PoolIndex = usize;
/// The index of a list of steps.
pub type BlockIndex = usize;

/// A script that is ready to run.
#[derive(Debug)]
pub struct Program {
    /// Each client of its own, copies too, in the order of the script. Copies have the same steps.
    pub clients: Vec<ClientProgram>,
    /// By name. The index of a server is also that of its instance.
    pub servers: Vec<Resource>,
    /// By name.
    pub pools: Vec<Resource>,
    /// What clients and requests do.
    pub blocks: Vec<Vec<Op>>,
}

/// One client.
#[derive(Clone, Debug)]
pub struct ClientProgram {
    /// Several may have the same.
    pub name: Name,
    /// How long after the others it starts.
    pub late: Duration,
    /// What it does.
    pub block: BlockIndex,
}

/// A server or a pool.
#[derive(Debug)]
pub struct Resource {
    /// Unique among servers and pools.
    pub name: Name,
    /// How many requests it runs at a time; how many units it has.
    pub capacity: u32,
}

/// A step.
#[derive(Clone, Debug)]
pub enum Op {
    /// Computes for so long.
    Busy(Duration),
    /// Makes calls, all at once.
    Calls {
        /// How many of them must be answered.
        needed: u32,
        /// Whether the script wrote a group, be it of one call.
        is_group: bool,
        /// Never empty.
        calls: Arc<[CallOp]>,
    },
    /// Takes a unit.
    Take(PoolIndex),
    /// Gives back the unit that it took last, if it has one.
    Release(PoolIndex),
    /// The server's instance dies.
    Crash,
}

/// A call.
#[derive(Debug)]
pub struct CallOp {
    /// Whom.
    pub server: ServerIndex,
    /// What the server does before it replies.
    pub block: BlockIndex,
    /// How long the caller waits at most; `None` for [the default](crate::DEFAULT_TIMEOUT).
    pub timeout: Option<Duration>,
}

impl Program {
    /// The program of a script.
    pub fn of(script: &Script) -> Self {
        let resource = |(name, capacity): (&Name, u32)| Resource {
            name: Arc::clone(name),
            capacity,
        };
        let mut program = Self {
            clients: Vec::new(),
            servers: script.servers().map(resource).collect(),
            pools: script.pools().map(resource).collect(),
            blocks: Vec::new(),
        };
        let index = |all: &[Resource]| -> BTreeMap<Name, usize> {
            all.iter()
                .enumerate()
                .map(|(index, resource)| (Arc::clone(&resource.name), index))
                .collect()
        };
        let names = Indexes {
            servers: index(&program.servers),
            pools: index(&program.pools),
        };
        for client in script.clients() {
            let block = program.block(&client.steps, &names);
            for _ in 0..client.copies {
                program.clients.push(ClientProgram {
                    name: Arc::clone(&client.name),
                    late: client.late,
                    block,
                });
            }
        }
        program
    }

    fn block(&mut self, steps: &[Step], names: &Indexes) -> BlockIndex {
        let ops = steps.iter().filter_map(|step| self.op(step, names)).collect();
        self.blocks.push(ops);
        self.blocks.len() - 1
    }

    /// `None` never happens: a script knows all its names.
    fn op(&mut self, step: &Step, names: &Indexes) -> Option<Op> {
        Some(match step {
            Step::Busy(time) => Op::Busy(*time),
            Step::Call(call) => Op::Calls {
                needed: 1,
                is_group: false,
                calls: [self.call(call, names)?].into(),
            },
            Step::Calls { needed, calls } => {
                let needed = needed.of(calls.len());
                let calls = calls.iter().filter_map(|call| self.call(call, names)).collect();
                Op::Calls {
                    needed,
                    is_group: true,
                    calls,
                }
            }
            Step::Take(pool) => Op::Take(*names.pools.get(pool)?),
            Step::Release(pool) => Op::Release(*names.pools.get(pool)?),
            Step::Crash => Op::Crash,
        })
    }

    fn call(&mut self, call: &Call, names: &Indexes) -> Option<CallOp> {
        let server = *names.servers.get(&call.server)?;
        let block = self.block(&call.steps, names);
        Some(CallOp {
            server,
            block,
            timeout: call.timeout,
        })
    }
}

struct Indexes {
    servers: BTreeMap<Name, ServerIndex>,
    pools: BTreeMap<Name, PoolIndex>,
}
