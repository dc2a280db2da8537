//! Random histories: whatever happens on the way, in the end every collector knows what is open, and an answer never
//! comes before what was said before it.

use proptest::prelude::*;

use standoff_protocol::stream::Acceptance;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    /// The instance opens one span and ends the one with this place among the open.
    Change {
        instance: usize,
        end: Option<usize>,
    },
    /// It goes unheard: a batch is lost.
    Lose {
        instance: usize,
    },
    Reconnect {
        instance: usize,
        after_ms: u64,
    },
    Room {
        upstream: usize,
        messages: usize,
    },
    Relink {
        upstream: usize,
    },
    Resync {
        upstream: usize,
        instance: usize,
    },
    Probe {
        upstream: usize,
        instance: usize,
    },
    Pass {
        ms: u64,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let (instance, upstream) = (0..3usize, 0..2usize);
    prop_oneof![
        8 => (instance.clone(), prop::option::of(0..20usize)).prop_map(|(instance, end)| Act::Change { instance, end }),
        1 => instance.clone().prop_map(|instance| Act::Lose { instance }),
        1 => (instance.clone(), 0..200u64).prop_map(|(instance, after_ms)| Act::Reconnect { instance, after_ms }),
        4 => (upstream.clone(), 0..4usize).prop_map(|(upstream, messages)| Act::Room { upstream, messages }),
        1 => upstream.clone().prop_map(|upstream| Act::Relink { upstream }),
        1 => (upstream.clone(), instance.clone()).prop_map(|(upstream, instance)| Act::Resync { upstream, instance }),
        2 => (upstream, instance).prop_map(|(upstream, instance)| Act::Probe { upstream, instance }),
        2 => (1..1200u64).prop_map(|ms| Act::Pass { ms }),
    ]
}

/// An instance that keeps to the protocol.
#[derive(Debug, Default)]
struct Service {
    open: BTreeSet<u64>,
    connection: u64,
    sequence: u64,
    resyncs: usize,
    probes: usize,
}

struct History {
    world: World,
    services: Vec<Service>,
    last_span: u64,
    last_connection: u64,
    last_probe: u64,
    ended: BTreeSet<u64>,
    /// Spans that no batch has told of.
    lost: BTreeSet<u64>,
    answers: usize,
}

fn name(instance: usize) -> &'static str {
    ["a", "b", "c"][instance]
}

impl History {
    fn new() -> Self {
        let mut history = Self {
            world: World::new(2),
            services: (0..3).map(|_| Service::default()).collect(),
            last_span: 0,
            last_connection: 0,
            last_probe: 0,
            ended: BTreeSet::new(),
            lost: BTreeSet::new(),
            answers: 0,
        };
        for instance in 0..3 {
            history.connect(instance);
        }
        history
    }

    fn connect(&mut self, instance: usize) {
        self.last_connection += 1;
        let service = &mut self.services[instance];
        service.connection = self.last_connection;
        (service.resyncs, service.probes) = (0, 0);
        self.world.connect(self.last_connection, name(instance));
        self.send_set(instance);
    }

    fn send_set(&mut self, instance: usize) {
        let service = &mut self.services[instance];
        service.sequence = 0;
        let open: Vec<u64> = service.open.iter().copied().collect();
        let connection = service.connection;
        for part in open.chunks(7) {
            self.world
                .say(connection, open_set(part.iter().copied().map(call), false));
        }
        self.world.say(connection, open_set([], true));
    }

    fn change(&mut self, instance: usize, end: Option<usize>, is_lost: bool) {
        let service = &mut self.services[instance];
        self.last_span += 1;
        // Ids in no order.
        let started = self.last_span.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let ended: Vec<u64> = end
            .and_then(|nth| service.open.iter().nth(nth))
            .copied()
            .into_iter()
            .collect();
        service.open.retain(|id| !ended.contains(id));
        service.open.insert(started);
        service.sequence += 1;
        self.ended.extend(ended.iter().copied());
        self.lost.extend(is_lost.then_some(started));
        if !is_lost {
            let message = batch(service.sequence, vec![call(started)], &ended);
            self.world.say(service.connection, message);
        }
        self.serve(instance);
    }

    /// The instance does what it was asked.
    fn serve(&mut self, instance: usize) {
        let connection = self.services[instance].connection;
        let resyncs = self.world.resyncs(connection);
        if resyncs > self.services[instance].resyncs {
            self.services[instance].resyncs = resyncs;
            self.send_set(instance);
        }
        for probe in self.world.probes(connection).split_off(self.services[instance].probes) {
            self.services[instance].probes += 1;
            // The answer carries what is open, and what is not, so that the collector can be compared with it.
            let accepted = |call_span_id: &u64| Acceptance {
                call_span_id: *call_span_id,
                ..Acceptance::default()
            };
            let answer = ProbeAnswer {
                probe_id: probe,
                not_open: self.services[instance].open.iter().copied().collect(),
                acceptances: self.ended.iter().map(accepted).collect(),
            };
            self.world.say(connection, from_instance::Message::ProbeAnswer(answer));
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Change { instance, end } => self.change(instance, end, false),
            Act::Lose { instance } => self.change(instance, None, true),
            Act::Reconnect { instance, after_ms } => {
                self.world.disconnect(self.services[instance].connection);
                self.world.pass(Duration::from_millis(after_ms));
                self.connect(instance);
            }
            Act::Room { upstream, messages } => self.world.room(upstream, messages),
            Act::Relink { upstream } => {
                self.world.unlink(upstream);
                self.world.link(upstream);
            }
            Act::Resync { upstream, instance } => {
                if let Some(channel) = self.channel(upstream, instance) {
                    self.world.ask(upstream, channel, resync());
                }
            }
            Act::Probe { upstream, instance } => {
                if let Some(channel) = self.channel(upstream, instance) {
                    self.last_probe += 1;
                    self.world.probe(upstream, channel, self.last_probe);
                    self.serve(instance);
                }
            }
            Act::Pass { ms } => self.world.pass(Duration::from_millis(ms)),
        }
        for upstream in 0..2 {
            if !self.world.collectors[upstream].is_linked {
                self.world.link(upstream);
            }
        }
    }

    /// With an answer, a collector takes to be open what was open when it was given, but for what has ended since; and
    /// nothing that had ended then.
    fn check_answers(&mut self) {
        for collector in &mut self.world.collectors {
            for channel in collector.channels.values_mut() {
                let at_answers = std::mem::take(&mut channel.open_at_answers);
                for (answer, open) in std::mem::take(&mut channel.answers).iter().zip(at_answers) {
                    let Some(open) = open else { continue };
                    self.answers += 1;
                    let then: BTreeSet<u64> = answer.not_open.iter().copied().collect();
                    for gone in &answer.acceptances {
                        assert!(!open.contains(&gone.call_span_id), "{gone:?} had ended");
                    }
                    for untold in then.difference(&open) {
                        let is_excused = self.ended.contains(untold) || self.lost.contains(untold);
                        assert!(is_excused, "{untold} was not told of");
                    }
                }
            }
        }
    }

    fn channel(&self, upstream: usize, instance: usize) -> Option<u64> {
        let channels = &self.world.collectors[upstream].channels;
        let mut living = channels
            .iter()
            .filter(|(_, it)| it.name == name(instance) && !it.has_ended);
        living.next().map(|(number, _)| *number)
    }
}

proptest! {
    #[test]
    fn in_the_end_everybody_knows_what_is_open(acts in prop::collection::vec(act(), 1..120)) {
        let mut history = History::new();
        for act in acts {
            history.act(act);
            history.check_answers();
        }
        for instance in 0..3 {
            // Whoever was silent too long in this history is heard of again; a lost batch shows with the next one.
            history.change(instance, None, false);
            history.serve(instance);
        }
        for upstream in 0..2 {
            history.world.room(upstream, usize::MAX);
        }
        history.check_answers();
        for instance in 0..3 {
            let open: Vec<u64> = history.services[instance].open.iter().copied().collect();
            for upstream in 0..2 {
                prop_assert_eq!(history.world.open(upstream, name(instance)), open.clone(), "of {}", name(instance));
                prop_assert!(history.world.collectors[upstream].named(name(instance)).is_synced);
            }
        }
    }
}
