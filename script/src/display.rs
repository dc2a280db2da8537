//! A script as its notation.

use std::collections::BTreeSet;
use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use crate::script::{Call, Client, Name, Needed, Script, Step};

impl Display for Script {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut writer = Writer {
            script: self,
            mentioned: BTreeSet::new(),
            f,
        };
        for (place, client) in self.clients.iter().enumerate() {
            writer.separate(place, " || ")?;
            writer.client(client)?;
        }
        Ok(())
    }
}

struct Writer<'a, 'b, 'c> {
    script: &'a Script,
    /// Names whose capacity has been said.
    mentioned: BTreeSet<&'a str>,
    f: &'b mut Formatter<'c>,
}

impl<'a> Writer<'a, '_, '_> {
    fn separate(&mut self, place: usize, separator: &str) -> Result {
        if place > 0 { self.f.write_str(separator) } else { Ok(()) }
    }

    fn client(&mut self, client: &'a Client) -> Result {
        self.f.write_str(&client.name)?;
        if client.copies != 1 {
            write!(self.f, "*{}", client.copies)?;
        }
        if !client.late.is_zero() {
            self.time("+", client.late)?;
        }
        self.f.write_str(": ")?;
        self.steps(&client.steps)
    }

    fn steps(&mut self, steps: &'a [Step]) -> Result {
        for (place, step) in steps.iter().enumerate() {
            self.separate(place, "; ")?;
            self.step(step)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &'a Step) -> Result {
        match step {
            Step::Busy(time) => self.time("~", *time),
            Step::Call(call) => self.call(call),
            Step::Calls { needed, calls } => {
                match needed {
                    Needed::All => self.f.write_str("&(")?,
                    Needed::Any => self.f.write_str("|(")?,
                    Needed::Some(needed) => write!(self.f, "{needed}/(")?,
                }
                for (place, call) in calls.iter().enumerate() {
                    self.separate(place, ", ")?;
                    self.call(call)?;
                }
                self.f.write_str(")")
            }
            Step::Take(pool) => {
                self.mention(pool)?;
                self.f.write_str("+")
            }
            Step::Release(pool) => {
                self.mention(pool)?;
                self.f.write_str("-")
            }
            Step::Crash => self.f.write_str("!"),
        }
    }

    fn call(&mut self, call: &'a Call) -> Result {
        self.mention(&call.server)?;
        if !call.steps.is_empty() {
            self.f.write_str("{")?;
            self.steps(&call.steps)?;
            self.f.write_str("}")?;
        }
        call.timeout.map_or(Ok(()), |timeout| self.time("@", timeout))
    }

    fn mention(&mut self, name: &'a Name) -> Result {
        self.f.write_str(name)?;
        let is_first = self.mentioned.insert(name);
        let capacity = self.script.servers.get(name).or_else(|| self.script.pools.get(name));
        match capacity {
            Some(units) if is_first && *units != 1 => write!(self.f, "[{units}]"),
            Some(_) | None => Ok(()),
        }
    }

    fn time(&mut self, sign: &str, time: Duration) -> Result {
        write!(self.f, "{sign}{}", time.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::script::{Call, Client, Name, Needed, Script, Step};

    #[test]
    fn a_script_is_written_as_it_is_read() {
        for text in [
            "x: A",
            "x*3+20: ~0; A{~5; B[2]@7; A}@100; P[3]+; P+; P-",
            "s: A{&(B, C); |(B@0, C{B}); 2/(B, C, D); !} || t: A",
            "s: 1{2/(2, 3)}",
        ] {
            let script: Script = text.parse().unwrap();
            assert_eq!(script.to_string(), text);
            assert_eq!(script.to_string().parse(), Ok(script));
        }
    }

    #[test]
    fn spaces_and_capacities_of_one_go() {
        let script: Script = "  x * 1\n+0:A [1]{ B[ 2 ] ;B[2] ; A[1]}\t@ 7 ".parse().unwrap();
        assert_eq!(script.to_string(), "x: A{B[2]; B; A}@7");
    }

    const SERVERS: [&str; 4] = ["A", "server_2", "3", "Ä日"];
    const POOLS: [&str; 3] = ["P", "_", "0"];

    fn times() -> impl Strategy<Value = Duration> {
        prop_oneof![0..3u64, Just(86_400_000)].prop_map(Duration::from_millis)
    }

    fn names(all: &'static [&'static str]) -> impl Strategy<Value = Name> {
        prop::sample::select(all).prop_map(Name::from)
    }

    fn calls(steps: impl Strategy<Value = Vec<Step>>) -> impl Strategy<Value = Call> {
        let parts = (names(&SERVERS), steps, prop::option::of(times()));
        parts.prop_map(|(server, steps, timeout)| Call { server, steps, timeout })
    }

    /// Steps of a client, if nothing crashes in them, or of a server. Never empty.
    fn steps(step: impl Strategy<Value = Vec<Step>>) -> impl Strategy<Value = Vec<Step>> {
        vec(step, 1..4).prop_map(|parts| parts.concat())
    }

    /// What can be a step of anybody, or two that go together.
    fn step(inner: impl Strategy<Value = Vec<Step>> + Clone) -> impl Strategy<Value = Vec<Step>> {
        let group = (vec(calls(inner.clone()), 1..4), 0..5u32).prop_map(|(calls, needed)| {
            let needed = match needed {
                0 => Needed::All,
                1 => Needed::Any,
                more => Needed::Some((more - 1).min(Needed::All.of(calls.len()))),
            };
            vec![Step::Calls { needed, calls }]
        });
        prop_oneof![
            times().prop_map(|time| vec![Step::Busy(time)]),
            names(&POOLS).prop_map(|pool| vec![Step::Take(pool)]),
            names(&POOLS).prop_map(|pool| vec![Step::Take(Name::clone(&pool)), Step::Release(pool)]),
            calls(inner).prop_map(|call| vec![Step::Call(call)]),
            group,
        ]
    }

    fn scripts() -> impl Strategy<Value = Script> {
        let of_server = Just(Vec::new()).prop_recursive(4, 40, 4, |inner| {
            steps(prop_oneof![8 => step(inner), 1 => Just(vec![Step::Crash])]).boxed()
        });
        let client = (names(&POOLS), 1..3u32, times(), steps(step(of_server)));
        let client = client.prop_map(|(name, copies, late, steps)| Client {
            name,
            copies,
            late,
            steps,
        });
        let capacities = vec(1..4u32, SERVERS.len() + POOLS.len());
        (vec(client, 1..4), capacities).prop_map(|(clients, capacities)| {
            let names = SERVERS.iter().chain(&POOLS).map(|name| Name::from(*name));
            Script::assemble(clients, &names.zip(capacities).collect::<BTreeMap<_, _>>())
        })
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(script in scripts()) {
            prop_assert_eq!(script.to_string().parse::<Script>(), Ok(script));
        }
    }
}
