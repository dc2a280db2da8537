//! Who is connected with whom, and who has which units: the network and the lock service of a run.
//!
//! It passes requests on to their servers and replies back to their callers, in the order in which they come, and grants
//! units of pools first come, first served. It is no instance of anything: it reports no spans, and never dies. A call to
//! a participant that is lost is never answered; the units that one had are free again.

use std::collections::{BTreeMap, VecDeque};

use standoff_script::program::{PoolIndex, Program};

use super::message::{Heard, Request, Said};

/// The index of a participant: servers come first, in the order of the program; then come the clients' instances.
pub(super) type ParticipantIndex = usize;

/// What is to be told to whom.
pub(super) type Told = Vec<(ParticipantIndex, Heard)>;

/// All that is known of a run between its participants.
#[derive(Debug)]
pub(super) struct Exchange {
    pools: Vec<Pool>,
    lost: Vec<bool>,
    /// Calls that are not answered yet, by ticket: who made them, and its own name for it.
    calls: BTreeMap<u64, (ParticipantIndex, u64)>,
    last_ticket: u64,
}

#[derive(Debug)]
struct Pool {
    free: u32,
    /// Who waits, and its own name for that.
    queue: VecDeque<(ParticipantIndex, u64)>,
    /// How many units each participant has.
    held: BTreeMap<ParticipantIndex, u32>,
}

impl Exchange {
    pub(super) fn new(program: &Program, participants: usize) -> Self {
        let pool = |units| Pool {
            free: units,
            queue: VecDeque::new(),
            held: BTreeMap::new(),
        };
        Self {
            pools: program.pools.iter().map(|it| pool(it.capacity)).collect(),
            lost: vec![false; participants],
            calls: BTreeMap::new(),
            last_ticket: 0,
        }
    }

    /// A participant says something.
    pub(super) fn hear(&mut self, from: ParticipantIndex, said: Said) -> Told {
        match said {
            Said::Ready => Vec::new(),
            Said::Call {
                id,
                server,
                block,
                traceparent,
            } => {
                if self.lost.get(server).is_none_or(|lost| *lost) {
                    return Vec::new();
                }
                self.last_ticket += 1;
                let ticket = self.last_ticket;
                self.calls.insert(ticket, (from, id));
                let request = Request {
                    ticket,
                    block,
                    traceparent,
                };
                vec![(server, Heard::Request(request))]
            }
            Said::Reply { ticket } => {
                let caller = self.calls.remove(&ticket);
                caller
                    .map(|(caller, id)| (caller, Heard::Reply { id }))
                    .into_iter()
                    .collect()
            }
            Said::Take { id, pool } => {
                if let Some(pool) = self.pools.get_mut(pool) {
                    pool.queue.push_back((from, id));
                }
                self.grant(pool)
            }
            Said::GiveUp { id } => {
                for pool in &mut self.pools {
                    pool.queue.retain(|waiting| *waiting != (from, id));
                }
                Vec::new()
            }
            Said::Release { pool } => {
                if let Some(pool) = self.pools.get_mut(pool) {
                    pool.give_back(from, 1);
                }
                self.grant(pool)
            }
        }
    }

    /// A participant is no more. What it has called is still served.
    pub(super) fn lose(&mut self, participant: ParticipantIndex) -> Told {
        if let Some(lost) = self.lost.get_mut(participant) {
            *lost = true;
        }
        for pool in &mut self.pools {
            pool.queue.retain(|(waiting, _)| *waiting != participant);
            pool.give_back(participant, u32::MAX);
        }
        (0..self.pools.len()).flat_map(|pool| self.grant(pool)).collect()
    }

    fn grant(&mut self, index: PoolIndex) -> Told {
        let mut told = Vec::new();
        let Some(pool) = self.pools.get_mut(index) else {
            return told;
        };
        while pool.free > 0
            && let Some((participant, id)) = pool.queue.pop_front()
        {
            pool.free -= 1;
            *pool.held.entry(participant).or_insert(0) += 1;
            told.push((participant, Heard::Granted { id, pool: index }));
        }
        told
    }
}

impl Pool {
    /// Takes back so many units of a participant, or as many as it has.
    fn give_back(&mut self, participant: ParticipantIndex, units: u32) {
        let Some(held) = self.held.get_mut(&participant) else {
            return;
        };
        let units = units.min(*held);
        *held -= units;
        self.free += units;
        if *held == 0 {
            self.held.remove(&participant);
        }
    }
}

#[cfg(test)]
mod tests {
    use standoff_script::Script;

    use super::*;

    /// A and B are the participants 0 and 1, the client is 2; P is a pool of two.
    fn exchange() -> Exchange {
        let script: Script = "x: A{B}; P[2]+".parse().unwrap();
        Exchange::new(&Program::of(&script), 3)
    }

    fn call(id: u64, server: usize) -> Said {
        Said::Call {
            id,
            server,
            block: 7,
            traceparent: "t".to_owned(),
        }
    }

    fn granted(participant: usize, id: u64) -> (usize, Heard) {
        (participant, Heard::Granted { id, pool: 0 })
    }

    #[test]
    fn a_call_finds_its_server_and_the_reply_its_caller() {
        let mut exchange = exchange();
        let request = |ticket| {
            Heard::Request(Request {
                ticket,
                block: 7,
                traceparent: "t".to_owned(),
            })
        };
        assert_eq!(exchange.hear(2, call(5, 0)), [(0, request(1))]);
        assert_eq!(exchange.hear(0, call(5, 1)), [(1, request(2))]);
        assert_eq!(
            exchange.hear(1, Said::Reply { ticket: 2 }),
            [(0, Heard::Reply { id: 5 })]
        );
        assert_eq!(exchange.hear(1, Said::Reply { ticket: 2 }), [], "once");
        assert_eq!(
            exchange.hear(0, Said::Reply { ticket: 1 }),
            [(2, Heard::Reply { id: 5 })]
        );
    }

    #[test]
    fn units_are_granted_first_come_first_served() {
        let mut exchange = exchange();
        let take = |id| Said::Take { id, pool: 0 };
        assert_eq!(exchange.hear(0, take(1)), [granted(0, 1)]);
        assert_eq!(exchange.hear(0, take(2)), [granted(0, 2)]);
        assert_eq!(exchange.hear(1, take(1)), []);
        assert_eq!(exchange.hear(2, take(1)), []);
        assert_eq!(exchange.hear(2, take(2)), []);
        assert_eq!(exchange.hear(1, Said::GiveUp { id: 1 }), []);
        assert_eq!(exchange.hear(0, Said::Release { pool: 0 }), [granted(2, 1)]);
        assert_eq!(exchange.hear(1, Said::Release { pool: 0 }), [], "it has none");
        assert_eq!(exchange.hear(2, Said::Release { pool: 0 }), [granted(2, 2)]);
    }

    #[test]
    fn who_is_lost_gives_back_its_units_and_answers_nobody() {
        let mut exchange = exchange();
        let take = |id| Said::Take { id, pool: 0 };
        exchange.hear(0, take(1));
        exchange.hear(0, take(2));
        exchange.hear(0, take(3));
        exchange.hear(2, take(1));
        exchange.hear(1, take(1));
        assert_eq!(exchange.lose(0), [granted(2, 1), granted(1, 1)]);
        assert_eq!(exchange.hear(2, call(2, 0)), []);
        assert_eq!(exchange.hear(2, call(2, 9)), [], "no such server");
    }
}
