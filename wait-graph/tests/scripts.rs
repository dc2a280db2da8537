//! The engine judged by behaviour: scripts run in a simulator that knows by itself who is stuck.
//!
//! The simulator is `standoff-script`. `scripts/engine.rs` translates what it tells.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use standoff_script::scenarios;
use standoff_script::{Delivery, DeliverySettings, Event, Script, Settings, Simulation, Stalls, Turn};

#[path = "scripts/engine.rs"]
mod engine;
#[path = "scripts/verdict.rs"]
mod verdict;

use engine::Engine;
use verdict::Watch;

/// How often each scenario runs with messages that take a while, each time differently.
const RUNS: u64 = 5;

fn delays(max_ms: u64) -> Settings {
    Settings {
        delay_max: Duration::from_millis(max_ms),
        ..Settings::default()
    }
}

#[test]
fn every_scenario_ends_as_it_says() {
    let mut failures = String::new();
    for scenario in scenarios::all().unwrap() {
        for seed in 0..RUNS {
            let run = Simulation::new(&scenario.script, delays(u64::from(seed > 0)), seed);
            let episodes = Watch::over(&run, run.clone());
            if let Some(differences) = verdict::differences(&scenario.verdict, &episodes) {
                writeln!(failures, "{} with seed {seed}: {differences}", scenario.id).unwrap();
                break;
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// How a random script runs.
#[derive(Debug, Clone)]
struct World {
    settings: Settings,
    seed: u64,
}

impl World {
    /// Every kind of world in turn. In some nothing is delayed, so that much happens at the same time.
    fn new(seed: u64, timeout: Option<Duration>) -> Self {
        let delay_max = Duration::from_millis([0, 1, 5, 25][seed as usize % 4]);
        let turn = [Turn::FirstComeFirstServed, Turn::Random][seed as usize / 4 % 2];
        let stalls = Stalls {
            one_in: 5,
            duration_max: Duration::from_millis(100),
        };
        let stalls = [None, None, None, Some(stalls)][seed as usize / 8 % 4];
        let settings = Settings {
            timeout,
            delay_max,
            turn,
            stalls,
        };
        Self { settings, seed }
    }

    fn run(&self, script: &Script) -> Simulation {
        Simulation::new(script, self.settings.clone(), self.seed)
    }
}

/// How many random scripts each test runs, and which.
fn seeds() -> std::ops::Range<u64> {
    let number = |name, default| {
        let value: Option<String> = std::env::var(name).ok();
        value.map_or(default, |value| value.parse().expect("a number of scripts"))
    };
    let first = number("STANDOFF_SCRIPTS_FROM", 0);
    first..first + number("STANDOFF_SCRIPTS", SCRIPTS)
}

/// In a debug build some ten seconds.
const SCRIPTS: u64 = 150;

/// Runs random scripts, and shows the smallest one that can be found of the first that fails.
fn check(timeout: Option<Duration>, judge: impl Fn(&Script, &World) -> Result<(), String>) {
    for seed in seeds() {
        let world = World::new(seed, timeout);
        let mut script = Script::random(seed);
        let Err(mut failure) = judge(&script, &world) else {
            continue;
        };
        let first = script.to_string();
        while let Some((smaller, its_failure)) = script
            .smaller()
            .into_iter()
            .find_map(|it| judge(&it, &world).err().map(|failure| (it, failure)))
        {
            (script, failure) = (smaller, its_failure);
        }
        panic!("{script}\n{failure}\n{world:?}\nmade smaller from {first}");
    }
}

/// Without timeouts: at every moment the dead are those who can never end, and they never do; at the end they are all
/// who are left.
#[test]
fn the_dead_are_the_stuck() {
    check(None, |script, world| {
        let mut run = world.run(script);
        let mut engine = Engine::of(&run);
        let mut ever_dead = BTreeSet::new();
        loop {
            while let Some((at, event)) = run.next() {
                match &event {
                    Event::Finished(id) if ever_dead.contains(id) => return Err(format!("{id:?} was dead and ends")),
                    // Whoever waited for what has died may be free now.
                    Event::Gone(_) => ever_dead.clear(),
                    Event::Finished(_) | Event::Started(_) => {}
                }
                engine.apply(at, &event);
                let dead = engine.dead();
                if run.is_told() && dead != run.stuck() {
                    return Err(format!("{at:?}, {event:?}: dead {dead:?}, stuck {:?}", run.stuck()));
                }
                ever_dead.extend(dead);
            }
            if run.answer_lost() == 0 {
                break;
            }
        }
        let dead = engine.dead();
        if dead != run.unfinished() {
            return Err(format!("at the end: dead {dead:?}, unfinished {:?}", run.unfinished()));
        }
        if engine.anomalies() > 0 {
            Err(format!("{} anomalies", engine.anomalies()))
        } else {
            Ok(())
        }
    });
}

/// With timeouts, deadlocks come and go, and at every moment the dead are those who can never end so long as nobody
/// gives up.
#[test]
fn timeouts_free_whom_they_free() {
    check(Some(Duration::from_millis(150)), |script, world| {
        let mut run = world.run(script);
        let mut engine = Engine::of(&run);
        while let Some((at, event)) = run.next() {
            engine.apply(at, &event);
            if run.is_told() && engine.dead() != run.stuck() {
                return Err(format!(
                    "{at:?}, {event:?}: dead {:?}, stuck {:?}",
                    engine.dead(),
                    run.stuck()
                ));
            }
        }
        let left = run.unfinished();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("left {left:?}"))
        }
    });
}

/// Whoever hears of everything later, in another order, and of nothing short, knows the same in the end.
#[test]
fn late_and_partial_news_lead_to_the_same_end() {
    check(None, |script, world| {
        let mut run = world.run(script);
        let mut engine = Engine::of(&run);
        let settings = DeliverySettings {
            report_after: Duration::from_millis(20),
            delay_max: Duration::from_millis(50),
        };
        let mut events = Vec::new();
        loop {
            events.extend(run.by_ref());
            if run.answer_lost() == 0 {
                break;
            }
        }
        for (at, event) in Delivery::new(events.into_iter(), settings, world.seed) {
            engine.apply(at, &event);
        }
        let dead = engine.dead();
        if dead == run.unfinished() {
            Ok(())
        } else {
            Err(format!("dead {dead:?}, unfinished {:?}", run.unfinished()))
        }
    });
}
