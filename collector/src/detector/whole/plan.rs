//! What a run is like: its script, how its services behave and are connected, and what may go wrong.

use std::time::Duration;

use standoff_script::{Script, Settings, Stalls, Turn};

use super::abroad::Abroad;
use super::instance;
use super::mishaps::Nature;
use super::network::Weather;
use super::world::Style;
use crate::detector::chance::Random;

/// What a run is like, for whoever reads about it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) script: Script,
    pub(super) settings: Settings,
    pub(super) style: Style,
    pub(super) weather: Weather,
    pub(super) nature: Nature,
    pub(super) times: instance::Times,
    pub(super) collectors: usize,
    pub(super) relays: usize,
    pub(super) chaos: Duration,
    /// `None` if every service has a library.
    pub(super) abroad: Option<Abroad>,
}

impl Plan {
    pub(super) fn draw(seed: u64, random: &mut Random) -> Self {
        let factor = [1, 1, 5, 20][random.below(4)];
        let repeated = [1, 1, 1, 3][random.below(4)];
        let script = repeated_script(&Script::random(seed), repeated).scaled(factor);
        let stalls = Stalls {
            one_in: [4, 20][random.below(2)],
            duration_max: Duration::from_millis([100, 300, 1500][random.below(3)]),
        };
        // Where what is told travels faster than what it is about, much looks as if it were stuck.
        let world_delay_ms = [0, 1, 25, 150, 400, 1000][random.below(6)];
        let delay_max_ms = if world_delay_ms >= 150 {
            [1, 1, 10, 60][random.below(4)]
        } else {
            [1, 10, 60, 200][random.below(4)]
        };
        let settings = Settings {
            // Without anybody who gives up, there is nothing to repeat.
            timeout: random.percent(if repeated > 1 { 85 } else { 35 }).then(|| {
                let most = [300, 1000, 4000][random.below(3)];
                random.ms_within(50, most)
            }),
            delay_max: Duration::from_millis(world_delay_ms),
            turn: if random.percent(50) {
                Turn::FirstComeFirstServed
            } else {
                Turn::Random
            },
            stalls: random.percent(40).then_some(stalls),
        };
        let mut style = Style {
            publishes: [0, 0, 50, 100][random.below(4)],
            nests: [0, 0, 0, 40][random.below(4)],
            wraps: random.percent(40),
            converses: [0, 0, 30, 100][random.below(4)],
            members: random.percent(35),
            replicas: random.percent(60),
        };
        // A declared capacity is that of all replicas only where there is one.
        style.replicas &= style.members;
        let is_faulty = random.percent(35);
        let weather = Weather {
            delay_max_ms,
            room: [2, 8, 64][random.below(3)],
            lost: if is_faulty { 10 } else { 0 },
            repeated: if is_faulty { 10 } else { 0 },
        };
        let times = instance::Times {
            report_after: Duration::from_millis(if random.percent(50) { 20 } else { 0 }),
            heartbeat: Duration::from_secs(1),
            lease: Duration::from_millis([3000, 3000, 1000][random.below(3)]),
            every_flush: false,
        };
        let relays = [0, 1, 1, 2][random.below(4)];
        let mut nature = Nature::draw(random);
        // A collector that remembers nobody gives everybody a moment, which is too little for whoever is cut off.
        nature.remembers |= style.replicas;
        Self {
            script,
            settings,
            style,
            weather,
            nature,
            times,
            collectors: if relays > 0 && random.percent(40) { 2 } else { 1 },
            relays,
            chaos: random.ms_within(1000, 9000),
            abroad: None,
        }
    }

    /// The same with foreign services, who are heard of within so long.
    pub(super) fn draw_abroad(seed: u64, random: &mut Random, within: Duration) -> Self {
        let mut plan = Self::draw(seed, random);
        plan.abroad = Some(Abroad::draw(&mut plan, random, within));
        plan
    }
}

/// The same clients, who do what they do so many times.
fn repeated_script(script: &Script, times: usize) -> Script {
    let clients = script.to_string();
    let clients = clients.split(" || ").map(|client| {
        let (name, steps) = client.split_once(": ").unwrap();
        format!("{name}: {}", vec![steps; times].join("; "))
    });
    clients.collect::<Vec<_>>().join(" || ").parse().unwrap()
}
