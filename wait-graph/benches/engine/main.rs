//! What the engine costs, shape by shape, at a thousand, 32 thousand and a million open waits, beside what others would do.
//!
//! `cargo bench -p standoff-wait-graph --bench engine` prints everything, in about ten minutes, and what was worst.
//! After `--`:
//!
//! - `--shape NAME`, `--size WAITS`, `--events COUNT` for less;
//! - `--engine` leaves out the baselines;
//! - `--counted` times nothing: it runs one shape and size, for those who count the instructions of
//!   `counted_events`, as `cargo xtask instructions` does.

use std::time::Duration;

mod baselines;
mod death;
mod events;
mod measure;
mod shapes;
mod subject;

use baselines::{Baseline, WaitTable, WholeGraph};
use measure::{Measured, Pace};
use shapes::{Asks, Named, SHAPES};
use subject::{Engine, Subject};

const SIZES: &[usize] = &[1_000, 32_000, 1_000_000];
/// Events of the engine; a quarter of them before measuring, until what is remembered of ended spans is full.
const EVENTS: usize = 400_000;
/// For each shape and size of a baseline. Where a single event takes longer, that one is measured.
const BASELINE_TIME: Duration = Duration::from_secs(2);
/// For each shape and size of the engine, far more than it needs.
const ENGINE_TIME: Duration = Duration::from_secs(60);
/// petgraph's Tarjan calls itself as deep as the graph is. Only what is used of it is really taken.
const STACK: usize = 4 << 30;

struct Options {
    shape: Option<String>,
    size: Option<usize>,
    events: usize,
    baselines: bool,
    counted: bool,
}

fn main() {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(unknown) => {
            say(&format!("what is {unknown}? See the top of benches/engine/main.rs"));
            std::process::exit(2);
        }
    };
    let measuring = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || run(&options));
    if measuring.is_ok_and(|thread| thread.join().is_ok()) {
        return;
    }
    std::process::exit(1);
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        shape: None,
        size: None,
        events: EVENTS,
        baselines: true,
        counted: false,
    };
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|it| it.parse().ok()).ok_or_else(|| word.clone());
        match word.as_str() {
            // Said by cargo.
            "--bench" => {}
            "--size" => options.size = Some(number()?),
            "--events" => options.events = number()?,
            "--shape" => options.shape = words.next(),
            "--engine" => options.baselines = false,
            "--counted" => options.counted = true,
            _ => return Err(word),
        }
    }
    Ok(options)
}

fn run(options: &Options) {
    let is_asked = |name: &str| options.shape.as_deref().is_none_or(|asked| name.contains(asked));
    let shapes: Vec<&Named> = SHAPES.iter().filter(|shape| is_asked(shape.name)).collect();
    let sizes: Vec<usize> = options.size.map_or_else(|| SIZES.to_vec(), |size| vec![size]);
    if options.counted {
        for shape in shapes {
            sizes.iter().for_each(|size| count(shape, *size, options.events));
        }
        return;
    }
    say(
        "| shape | open waits | engine: median ns | mean ns | longest pause: ms | bytes per wait \
         | Tarjan over all: median ns (events) | bytes per wait | wait table and search: median ns (events) | bytes per wait |",
    );
    say("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let mut worst = Worst::default();
    for shape in shapes {
        for size in sizes.iter().filter(|size| **size <= shape.largest) {
            let (row, measured) = row(shape, *size, options);
            say(&row);
            worst.add(&format!("{} ({size})", shape.name), &measured);
        }
    }
    worst.say();
    if is_asked(death::NAME) {
        say("");
        death::table(&sizes);
    }
}

/// What the engine does worst, by name.
#[derive(Default)]
struct Worst {
    mean: (f64, String),
    longest: (Duration, String),
}

impl Worst {
    fn add(&mut self, name: &str, measured: &Measured) {
        if measured.mean > self.mean.0 {
            self.mean = (measured.mean, name.to_owned());
        }
        if measured.longest > self.longest.0 {
            self.longest = (measured.longest, name.to_owned());
        }
    }

    fn say(&self) {
        let (mean, of_mean) = &self.mean;
        let (longest, of_longest) = &self.longest;
        let longest = longest.as_secs_f64() * 1e3;
        say("");
        say(&format!(
            "Worst: {mean:.0} ns for an event, {of_mean}; {longest:.0} ms of pause, {of_longest}."
        ));
    }
}

fn row(shape: &Named, size: usize, options: &Options) -> (String, Measured) {
    let scene = Scene {
        shape,
        size,
        own_bytes: measure::own_bytes(shape.make, size),
        events: options.events,
    };
    let mut engine = Engine::new(shape.asks);
    let (built, found) = scene.measure(&mut engine, Pace::Arriving, ENGINE_TIME);
    let waits = engine.graph.open_calls();
    assert_eq!(
        engine.explained > 0,
        shape.asks != Asks::Never,
        "deadlocks come where they should"
    );
    engine.graph.settle(Duration::MAX);
    assert_eq!(engine.graph.dead_task_count(), engine.dead_at_first, "and go");
    drop(engine);
    let per_wait = |bytes: usize| bytes as f64 / waits.max(1) as f64;
    let mut row = format!(
        "| {} | {waits} | {:.0} | {:.0} | {:.3} | {:.0} |",
        shape.name,
        found.median,
        found.mean,
        found.longest.as_secs_f64() * 1e3,
        per_wait(built)
    );
    if !options.baselines || size > shape.largest_beside {
        return (row + " – | – | – | – |", found);
    }
    let mut add = |(built, found): (usize, Measured)| {
        row += &format!(" {:.0} ({}) | {:.0} |", found.median, found.events, per_wait(built));
    };
    let mut whole = Baseline::<WholeGraph>::default();
    add(scene.measure(&mut whole, Pace::WhenAsked, BASELINE_TIME));
    drop(whole);
    let mut table = Baseline::<WaitTable>::default();
    add(scene.measure(&mut table, Pace::WhenAsked, BASELINE_TIME));
    (row, found)
}

/// What is measured.
struct Scene<'a> {
    shape: &'a Named,
    size: usize,
    /// Bytes of the shape itself.
    own_bytes: usize,
    events: usize,
}

impl Scene<'_> {
    /// Builds the shape and measures what goes on in it. Answers the bytes that it took to build it, too.
    fn measure(&self, subject: &mut impl Subject, pace: Pace, limit: Duration) -> (usize, Measured) {
        let before = measure::allocated();
        let mut shape = (self.shape.make)();
        let now = measure::build(&mut *shape, self.size, subject);
        let bytes = measure::allocated().saturating_sub(before + self.own_bytes);
        let events = measure::events(&mut *shape, self.events);
        let (warm_up, rest) = events.split_at(events.len() / 4);
        let first = measure::run(subject, now, warm_up, pace, limit / 4);
        if first.events < warm_up.len() {
            // Somebody so slow has nothing to warm up, and not been told all that comes before the rest.
            return (bytes, first);
        }
        let later = now + Duration::from_secs(10);
        (bytes, measure::run(subject, later, rest, pace, limit))
    }
}

fn count(shape: &Named, size: usize, count: usize) {
    let mut engine = Engine::new(shape.asks);
    let mut scene = (shape.make)();
    let now = measure::build(&mut *scene, size, &mut engine);
    let events = measure::events(&mut *scene, count);
    measure::counted_events(&mut engine, now, &events);
    say(&format!("{}, {size} open waits: {} events", shape.name, events.len()));
}

/// Prints a line of the result.
#[expect(clippy::print_stdout, reason = "a benchmark is there to print")]
fn say(line: &str) {
    println!("{line}");
}
