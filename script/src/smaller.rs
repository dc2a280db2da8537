//! What is left of a script when something is left out of it, to find the part that matters.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::script::{Client, Name, Script, Step};

impl Script {
    /// Every script that is this one with one thing left out: a client, a copy, a step, a call, a time, a unit. The
    /// largest changes come first.
    ///
    /// Whoever has a script that shows a fault can go to the first of these that still does, again and again, until
    /// none does. That ends, since each is smaller.
    pub fn smaller(&self) -> Vec<Self> {
        let mut capacities: BTreeMap<Name, u32> = self.servers.clone();
        capacities.extend(self.pools.clone());
        let mut smaller = Vec::new();
        for place in 0..self.clients.len() {
            if self.clients.len() > 1 {
                let mut clients = self.clients.clone();
                clients.remove(place);
                smaller.push(Self::assemble(clients, &capacities));
            }
            for client in smaller_clients(&self.clients[place]) {
                let mut clients = self.clients.clone();
                clients[place] = client;
                smaller.push(Self::assemble(clients, &capacities));
            }
        }
        for (name, units) in capacities.iter().filter(|(_, units)| **units > 1) {
            let mut fewer = capacities.clone();
            fewer.insert(Name::clone(name), units - 1);
            smaller.push(Self::assemble(self.clients.clone(), &fewer));
        }
        // Some release what they do not take any more.
        smaller.retain(|script| script.to_string().parse().as_ref() == Ok(script));
        smaller
    }
}

fn smaller_clients(client: &Client) -> Vec<Client> {
    let mut smaller = Vec::new();
    if client.copies > 1 {
        smaller.push(Client {
            copies: client.copies - 1,
            ..client.clone()
        });
    }
    if !client.late.is_zero() {
        smaller.push(Client {
            late: Duration::ZERO,
            ..client.clone()
        });
    }
    let with_steps = smaller_steps(&client.steps)
        .into_iter()
        .filter(|steps| !steps.is_empty());
    smaller.extend(with_steps.map(|steps| Client {
        steps,
        ..client.clone()
    }));
    smaller
}

fn smaller_steps(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut smaller = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        let replaced_by = |by: &[Step]| [&steps[..place], by, &steps[place + 1..]].concat();
        smaller.push(replaced_by(&[]));
        for by in smaller_step(step) {
            smaller.push(replaced_by(&[by]));
        }
    }
    smaller
}

fn smaller_step(step: &Step) -> Vec<Step> {
    let mut smaller = Vec::new();
    if let Step::Calls { needed, calls } = step {
        smaller.extend(calls.iter().cloned().map(Step::Call));
        for place in 0..calls.len() {
            let mut calls = calls.clone();
            calls.remove(place);
            if needed.of(calls.len()) as usize <= calls.len() && !calls.is_empty() {
                smaller.push(Step::Calls { needed: *needed, calls });
            }
        }
    }
    for (place, call) in step.calls().iter().enumerate() {
        let mut replace = |by| {
            let mut step = step.clone();
            step.calls_mut()[place] = by;
            smaller.push(step);
        };
        if call.timeout.is_some() {
            replace(crate::Call {
                timeout: None,
                ..call.clone()
            });
        }
        for steps in smaller_steps(&call.steps) {
            replace(crate::Call { steps, ..call.clone() });
        }
    }
    smaller
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_left_out() {
        let script: Script = "x*2+5: P[2]+; 2/(A@7, B{~1}) || y: P+; P-".parse().unwrap();
        let all: Vec<String> = script.smaller().iter().map(ToString::to_string).collect();
        assert_eq!(
            all,
            [
                "y: P[2]+; P-",
                "x+5: P[2]+; 2/(A@7, B{~1}) || y: P+; P-",
                "x*2: P[2]+; 2/(A@7, B{~1}) || y: P+; P-",
                "x*2+5: 2/(A@7, B{~1}) || y: P[2]+; P-",
                "x*2+5: P[2]+ || y: P+; P-",
                "x*2+5: P[2]+; A@7 || y: P+; P-",
                "x*2+5: P[2]+; B{~1} || y: P+; P-",
                "x*2+5: P[2]+; 2/(A, B{~1}) || y: P+; P-",
                "x*2+5: P[2]+; 2/(A@7, B) || y: P+; P-",
                "x*2+5: P[2]+; 2/(A@7, B{~1})",
                "x*2+5: P[2]+; 2/(A@7, B{~1}) || y: P+",
                "x*2+5: P+; 2/(A@7, B{~1}) || y: P+; P-",
            ]
        );
    }
}
