//! Many runs, and what came of them.

use super::*;

/// Without anything said about it.
const SEEDS: u64 = 40;

/// The same of runs with foreign services, of which there are more kinds.
const SEEDS_ABROAD: u64 = 200;

/// How long it takes at most until a receiver hears of what happens in a foreign service: less than the settle time.
const WITHIN: Duration = Duration::from_millis(900);

/// The seeds to run: one that was asked for, or so many from some seed on, or as many as is usual.
fn seeds(or: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
    if let Some(seed) = number("WHOLE_SEED") {
        return seed..seed + 1;
    }
    let first = number("STANDOFF_SCRIPTS_FROM").unwrap_or(0);
    first..first + number("WHOLE_SEEDS").unwrap_or(or)
}

/// What came of many runs.
#[derive(Debug, Default)]
struct Outcome {
    fired: usize,
    settled: usize,
    refuted: u64,
    false_since_dead: usize,
    false_since_late: usize,
    mishaps: mishaps::Counts,
    messages: network::Counts,
    failed: Vec<u64>,
}

/// Runs them all, and says of which seeds it did not go well.
fn run_all(seeds: std::ops::Range<u64>, run: impl Fn(u64) -> Whole + std::panic::RefUnwindSafe) -> Outcome {
    let mut outcome = Outcome::default();
    let count = seeds.clone().count();
    for seed in seeds {
        let Ok(whole) = std::panic::catch_unwind(|| run(seed).run()) else {
            outcome.failed.push(seed);
            continue;
        };
        outcome.fired += whole.fired.len();
        outcome.settled += whole.settled.len();
        outcome.false_since_dead += whole.false_since_dead;
        outcome.false_since_late += whole.false_since_late.len();
        let collectors = whole.collectors.iter().flatten();
        outcome.refuted += collectors.map(|it| it.detector().refuted_total).sum::<u64>();
        outcome.mishaps.add(&whole.mishaps.counts);
        outcome.messages.add(&whole.network.counts);
    }
    println!("{count} scripts, {outcome:?}");
    assert_eq!(
        outcome.failed,
        Vec::<u64>::new(),
        "seeds that fail; WHOLE_SEED runs one and says what happens"
    );
    outcome
}

#[test]
fn no_false_alarm_none_lost_and_the_truth_in_the_end() {
    let outcome = run_all(seeds(SEEDS), Whole::new);
    assert_eq!(outcome.settled, 0, "everybody can be asked");
}

/// The same where some services, or all, cannot be asked.
#[test]
fn neither_with_foreign_services() {
    run_all(seeds(SEEDS_ABROAD), |seed| Whole::abroad(seed, WITHIN));
}

/// Replies that take longer than it takes to settle, from handlers of which only the ends are seen, beside deadlocks.
#[test]
fn a_call_whose_reply_takes_long_is_answered() {
    let outcome = run_all(seeds(SEEDS / 2), |seed| {
        let mut random = Random::new(seed);
        let mut plan = Plan::draw_abroad(seed, &mut random, WITHIN);
        plan.script = "x*4: A{B}; A{B}; A{B} || y*4: B; B{A}; B{A}".parse().unwrap();
        plan.settings.delay_max = Duration::from_secs(3);
        plan.settings.timeout = Some(Duration::from_secs(8));
        plan.nature.restarts = false;
        Whole::of(seed, plan, random)
    });
    assert!(outcome.settled > 0, "there are deadlocks, too");
}

/// What is heard of later than within the settle time may be told wrongly, and is over in the end.
#[test]
fn what_is_told_of_the_late_ends() {
    for times_settle in [2, 5] {
        let within = times().settle * times_settle;
        println!("heard of within {within:?}:");
        run_all(seeds(SEEDS), |seed| Whole::abroad(seed, within));
    }
}

/// What a run says, and what it would say if no flush were left out.
fn transcript(seed: u64, every_flush: bool) -> Vec<String> {
    let mut random = Random::new(seed);
    let mut plan = Plan::draw(seed, &mut random);
    plan.times.every_flush = every_flush;
    let mut whole = Whole::of(seed, plan, random);
    whole.transcript = Some(Vec::new());
    whole.run().transcript.unwrap_or_default()
}

#[test]
fn a_run_repeats_exactly() {
    for seed in seeds(SEEDS).take(5) {
        let (once, again) = (transcript(seed, false), transcript(seed, false));
        let differs = once.iter().zip(&again).position(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(once.len(), again.len(), "seed {seed}");
        assert!(once.len() > 100, "seed {seed} says something");
    }
}

#[test]
fn the_flushes_that_are_left_out_make_no_difference() {
    for seed in seeds(SEEDS).take(3) {
        let (some, all) = (transcript(seed, false), transcript(seed, true));
        let differs = some.iter().zip(&all).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
    }
}
