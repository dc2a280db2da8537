//! Scripts that are worth running, at random.
//!
//! Few servers, so that requests meet; calls within calls, so that some come back; units taken in any order. One in
//! three scripts keeps to an order of names and so cannot deadlock, however busy it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use crate::script::{Call, Client, Name, Needed, Script, Step};

/// Calls of one client, so that a run stays short.
const CALLS_OF_CLIENT_MAX: u32 = 16;

impl Script {
    /// A small script with clients, servers, pools, groups, timeouts and sometimes crashes. The same seed gives the
    /// same script.
    pub fn random(seed: u64) -> Self {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
        let servers = names(&["A", "B", "C", "D"], dice.random_range(1..=4));
        let pools = names(&["P", "Q"], dice.random_range(0..=2));
        let mut capacities = BTreeMap::new();
        for name in servers.iter().chain(&pools) {
            let units = if dice.random_ratio(2, 3) {
                1
            } else {
                dice.random_range(2..=3)
            };
            capacities.insert(Arc::clone(name), units);
        }
        let mut author = Author {
            servers,
            pools,
            is_ordered: dice.random_ratio(1, 3),
            has_groups: dice.random_ratio(2, 3),
            has_crashes: dice.random_ratio(1, 5),
            has_timeouts: dice.random_ratio(1, 4),
            depth_max: dice.random_range(1..=4),
            calls_left: 0,
            dice,
        };
        let clients = (0..author.dice.random_range(1..=5))
            .map(|index| author.client(index))
            .collect();
        Self::assemble(clients, &capacities)
    }
}

fn names(all: &[&str], count: usize) -> Vec<Name> {
    all.iter().take(count).map(|name| Arc::from(*name)).collect()
}

struct Author {
    dice: Xoshiro256PlusPlus,
    servers: Vec<Name>,
    pools: Vec<Name>,
    /// Requests call only servers whose names come later, and take only units of pools that come later, and do not call
    /// while they have one.
    is_ordered: bool,
    has_groups: bool,
    has_crashes: bool,
    has_timeouts: bool,
    depth_max: usize,
    /// How many calls the current client may still make.
    calls_left: u32,
}

/// Whose steps are written.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    /// The servers that may be called start here.
    servers_from: usize,
}

impl Author {
    fn client(&mut self, index: usize) -> Client {
        self.calls_left = CALLS_OF_CLIENT_MAX;
        let copies = if self.dice.random_ratio(1, 3) {
            self.dice.random_range(2..=4)
        } else {
            1
        };
        let late = if self.dice.random_ratio(1, 3) {
            self.time()
        } else {
            Duration::ZERO
        };
        let steps = self.steps(Place {
            depth: 0,
            servers_from: 0,
        });
        Client {
            name: format!("x{index}").into(),
            copies,
            late,
            steps,
        }
    }

    /// Never empty.
    fn steps(&mut self, place: Place) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut taken: Vec<usize> = Vec::new();
        for _ in 0..self.dice.random_range(1..=4) {
            match self.dice.random_range(0..16) {
                0..=1 => steps.push(Step::Busy(self.time())),
                2..=4 => {
                    let from = taken.last().filter(|_| self.is_ordered).map_or(0, |last| last + 1);
                    if from < self.pools.len() {
                        let pool = self.dice.random_range(from..self.pools.len());
                        taken.push(pool);
                        steps.push(Step::Take(Arc::clone(&self.pools[pool])));
                    }
                }
                5 => {
                    if let Some(pool) = taken.pop() {
                        steps.push(Step::Release(Arc::clone(&self.pools[pool])));
                    }
                }
                6 if self.has_crashes && place.depth > 0 => steps.push(Step::Crash),
                7..=9 if self.has_groups => steps.extend(self.group(place, &taken)),
                _ => steps.extend(self.call(place, &taken).map(Step::Call)),
            }
        }
        if steps.is_empty() {
            steps.push(Step::Busy(self.time()));
        }
        steps
    }

    fn group(&mut self, place: Place, taken: &[usize]) -> Option<Step> {
        let size = self.dice.random_range(2..=3);
        let calls: Vec<Call> = (0..size).filter_map(|_| self.call(place, taken)).collect();
        let most = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        if most == 0 {
            return None;
        }
        let needed = match self.dice.random_range(0..3) {
            0 => Needed::All,
            1 => Needed::Any,
            _ => Needed::Some(self.dice.random_range(1..=most)),
        };
        Some(Step::Calls { needed, calls })
    }

    fn call(&mut self, place: Place, taken: &[usize]) -> Option<Call> {
        let is_forbidden = self.is_ordered && !taken.is_empty();
        if self.calls_left == 0 || place.servers_from >= self.servers.len() || is_forbidden {
            return None;
        }
        self.calls_left -= 1;
        let index = self.dice.random_range(place.servers_from..self.servers.len());
        let servers_from = if self.is_ordered { index + 1 } else { 0 };
        let goes_deeper = place.depth < self.depth_max && self.dice.random_ratio(4, 5);
        let steps = if goes_deeper {
            self.steps(Place {
                depth: place.depth + 1,
                servers_from,
            })
        } else {
            Vec::new()
        };
        let has_timeout = self.has_timeouts && self.dice.random_ratio(1, 3);
        let timeout = has_timeout.then(|| self.time() * self.dice.random_range(1..=20));
        Some(Call {
            server: Arc::clone(&self.servers[index]),
            steps,
            timeout,
        })
    }

    fn time(&mut self) -> Duration {
        Duration::from_millis(self.dice.random_range(0..=60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, Simulation};

    #[test]
    fn random_scripts_are_scripts() {
        for seed in 0..2000 {
            let script = Script::random(seed);
            assert_eq!(script.to_string().parse().as_ref(), Ok(&script), "{script}");
            assert_eq!(Script::random(seed), script);
        }
    }

    #[test]
    fn some_deadlock_and_some_do_not() {
        let ends_stuck = |seed: &u64| {
            let settings = Settings {
                timeout: None,
                ..Settings::default()
            };
            let mut run = Simulation::new(&Script::random(*seed), settings, *seed);
            while run.by_ref().last().is_some() || run.answer_lost() > 0 {}
            !run.unfinished().is_empty()
        };
        let stuck = (0..500).filter(ends_stuck).count();
        assert!((150..350).contains(&stuck), "{stuck} of 500");
    }

    #[test]
    fn everything_occurs() {
        let all: String = (0..200).map(|seed| format!("{}\n", Script::random(seed))).collect();
        for sign in [
            "||", "*2", "+1", "~", "@", "&(", "|(", "2/(", "P+", "P-", "!", "[2]", "{",
        ] {
            assert!(all.contains(sign), "{sign}");
        }
    }
}
