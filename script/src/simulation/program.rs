//! A script with numbers for names, which is what a run goes through again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::script::{Call, Name, Script, Step};

/// The index of a server.
pub(crate) type ServerIndex = usize;
/// The index of a pool.
pub(crate) type PoolIndex = usize;
/// The index of a list of steps.
pub(crate) type BlockIndex = usize;

/// A script that is ready to run.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) clients: Vec<ClientProgram>,
    /// By name. The index of a server is also that of its instance.
    pub(crate) servers: Vec<Resource>,
    /// By name.
    pub(crate) pools: Vec<Resource>,
    /// What clients and requests do.
    pub(crate) blocks: Vec<Vec<Op>>,
}

/// One client.
#[derive(Debug)]
pub(crate) struct ClientProgram {
    pub(crate) name: Name,
    pub(crate) late: Duration,
    pub(crate) block: BlockIndex,
}

/// A server or a pool.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) name: Name,
    pub(crate) capacity: u32,
}

/// A step.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Busy(Duration),
    Calls {
        needed: u32,
        is_group: bool,
        calls: Arc<[CallOp]>,
    },
    Take(PoolIndex),
    Release(PoolIndex),
    Crash,
}

/// A call.
#[derive(Debug)]
pub(crate) struct CallOp {
    pub(crate) server: ServerIndex,
    pub(crate) block: BlockIndex,
    pub(crate) timeout: Option<Duration>,
}

impl Program {
    pub(crate) fn of(script: &Script) -> Self {
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
