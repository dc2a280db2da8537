//! Everybody dies in one go, and lives again: the one shape in which an event must look at everything.
//!
//! Long chains of servers, each waiting for the one before, are joined and then become a ring. What that costs is compared
//! with one pass over the same graph that finds everybody live: joining them is searched too far without closing a ring.

use std::time::Duration;

use standoff_wait_graph::{Event, Settled};

use crate::events::finished;
use crate::measure::{build, clock};
use crate::say;
use crate::shapes::{Asks, Shape as _, chains::Joined};
use crate::subject::{Engine, Subject as _};

pub(crate) const NAME: &str = "all die in one go";

/// Each is measured so often, and the best counts: there is no median of so few.
const ROUNDS: usize = 3;

#[derive(Clone, Copy, Default)]
struct Times {
    /// One pass that finds everybody live.
    pass: Duration,
    /// Everybody dies.
    death: Duration,
    /// The report.
    explanation: Duration,
    /// Everybody lives again.
    revival: Duration,
}

pub(crate) fn table(sizes: &[usize]) {
    say(&format!(
        "| {NAME} | one pass, all live: ms | death: ms | death / pass | ns per task | explained: ms | revival: ms |"
    ));
    say("|--:|--:|--:|--:|--:|--:|--:|");
    for size in sizes {
        let rounds: Vec<Times> = (0..ROUNDS).map(|_| round(*size)).collect();
        let best = |of: fn(&Times) -> Duration| rounds.iter().map(of).min().unwrap_or_default().as_secs_f64() * 1e3;
        let (pass, death) = (best(|it| it.pass), best(|it| it.death));
        say(&format!(
            "| {size} | {pass:.3} | {death:.3} | {:.2} | {:.0} | {:.3} | {:.3} |",
            death / pass,
            death * 1e6 / *size as f64,
            best(|it| it.explanation),
            best(|it| it.revival)
        ));
    }
}

fn round(size: usize) -> Times {
    let mut engine = Engine::new(Asks::Never);
    let mut shape = Joined::default();
    let mut now = build(&mut shape, size, &mut engine);
    let mut timed = |engine: &mut Engine, event: &Event| {
        // Far enough from the last pass for another.
        now += Duration::from_secs(1);
        let start = clock();
        engine.apply(now, event);
        let took = start.elapsed();
        assert_eq!(engine.graph.settle(now), Settled::Exact);
        took
    };

    let mut joining = Vec::new();
    shape.churn(&mut |event| joining.push(event));
    let pass = joining.iter().map(|event| timed(&mut engine, event)).sum();
    assert!(engine.graph.deadlocks().is_empty());

    let Some((closing, event)) = shape.close() else {
        return Times::default();
    };
    let death = timed(&mut engine, &event);
    let start = clock();
    let deadlocks = engine.graph.deadlocks();
    let explanation = start.elapsed();
    assert_eq!(deadlocks.len(), 1);
    assert_eq!(deadlocks[0].core.len(), shape.servers());
    drop(deadlocks);

    let revival = timed(&mut engine, &finished(closing));
    assert!(engine.graph.deadlocks().is_empty());
    Times {
        pass,
        death,
        explanation,
        revival,
    }
}
