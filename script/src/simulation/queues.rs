//! What servers and pools do: they let in as many as they have units, and die.

use std::collections::VecDeque;

use rand::RngExt as _;

use super::event::Event;
use super::settings::Turn;
use super::waits::{On, WaitIndex};
use super::{Happening, Simulation, instance_id};
use crate::program::{PoolIndex, ServerIndex};

/// A server. Its capacity is in the program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    /// Requests that it runs.
    running: u32,
    /// Requests that have arrived since, whether or not somebody still waits for them.
    queue: VecDeque<WaitIndex>,
}

/// A lock or pool. It is no instance: it neither stalls nor dies.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// Units that nobody has, and that are on their way to nobody.
    pub(super) free: u32,
    /// Questions for a unit. Of some the asker has given up.
    queue: VecDeque<WaitIndex>,
}

impl Pool {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            free: capacity,
            queue: VecDeque::new(),
        }
    }
}

impl Simulation {
    /// A request has come to its server, or a question to its pool.
    pub(super) fn arrive(&mut self, wait: WaitIndex) {
        match self.waits[wait].on {
            On::Server { server, .. } if self.instances[server].is_gone => self.lost.push(wait),
            On::Server { server, .. } => {
                self.servers[server].queue.push_back(wait);
                self.serve(server);
            }
            On::Pool(pool) => {
                self.pools[pool].queue.push_back(wait);
                self.grant(pool);
            }
        }
    }

    /// A request of a server has ended.
    pub(super) fn end_request(&mut self, server: ServerIndex) {
        self.servers[server].running -= 1;
        self.serve(server);
    }

    /// A unit of a pool is free again.
    pub(super) fn give_back(&mut self, pool: PoolIndex) {
        self.pools[pool].free += 1;
        self.grant(pool);
    }

    fn serve(&mut self, server: ServerIndex) {
        while self.servers[server].running < self.program.servers[server].capacity {
            let Some(wait) = self.servers[server].queue.pop_front() else {
                return;
            };
            self.servers[server].running += 1;
            self.begin_request(wait);
        }
    }

    fn grant(&mut self, index: PoolIndex) {
        while self.pools[index].free > 0 {
            let queue = &mut self.pools[index].queue;
            let wait = match self.settings.turn {
                Turn::Random if !queue.is_empty() => queue.swap_remove_back(self.dice.random_range(0..queue.len())),
                Turn::Random | Turn::FirstComeFirstServed => queue.pop_front(),
            };
            let Some(wait) = wait else { return };
            if self.waits[wait].is_open {
                self.pools[index].free -= 1;
                self.send(Happening::IsAnswered(wait));
            }
        }
    }

    /// An instance dies, with everything that runs in it. Nobody learns what became of the requests that it had.
    pub(super) fn crash(&mut self, server: ServerIndex) {
        self.tell(Event::Gone(instance_id(server)));
        self.instances[server].is_gone = true;
        self.servers[server].running = 0;
        self.lost.extend(std::mem::take(&mut self.servers[server].queue));
        let mut freed = Vec::new();
        for task in self
            .tasks
            .iter_mut()
            .filter(|task| task.instance == server && !task.is_over)
        {
            task.is_over = true;
            self.lost.extend(task.answers);
            freed.extend(std::mem::take(&mut task.holds).into_iter().map(|(pool, _)| pool));
            for wait in std::mem::take(&mut task.asked) {
                self.waits[wait].is_open = false;
            }
        }
        for pool in freed {
            self.give_back(pool);
        }
    }
}
