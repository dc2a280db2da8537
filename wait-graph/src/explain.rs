//! From the dead part of the picture to [`Deadlock`]s: what causes each, who merely suffers from it, and what is said of it.
//!
//! ```text
//!   picture ──▶ dead part ──▶ dependencies ──▶ cores ──▶ victims ──▶ reports ──▶ DOT, Mermaid
//!               numbered      between tasks    what      who hangs   by name
//!               by ids        and resources    causes    behind
//! ```
//!
//! Takes time about linear in the dead part, whatever else is open. Decides nothing of who is dead: that is the picture's.

mod cores;
mod dead_part;
mod dependencies;
mod drawing;
mod lists;
mod named;
mod numbers;
mod order;
mod report;
mod titles;
mod victims;

use crate::deadlock::Deadlock;
use crate::wait_for::Picture;

pub use drawing::{to_dot, to_mermaid};
pub(crate) use named::{Named, SpanFacts};
pub(crate) use report::resource;

/// Every deadlock there is, by the names of its core.
pub(crate) fn deadlocks(picture: &Picture, named: &impl Named) -> Vec<Deadlock> {
    let dead = dead_part::DeadPart::of(picture, named);
    let dependencies = dependencies::Tracing::new(&dead).of_all();
    let titles = titles::Titles::of(picture, &dead, named);
    let mut cores = cores::cores(picture, &dead, &dependencies);
    let first = |core: &[dead_part::TaskNo]| {
        core.iter()
            .copied()
            .min_by(|one, other| titles.compare_tasks(*one, *other))
    };
    let mut by_name: Vec<_> = cores.drain(..).filter_map(|core| Some((first(&core)?, core))).collect();
    by_name.sort_unstable_by(|(one, _), (other, _)| titles.compare_tasks(*one, *other));
    let mut writer = report::Writer::new(picture, named, &dead, &dependencies, &titles);
    by_name.into_iter().map(|(_, core)| writer.deadlock(&core)).collect()
}

#[cfg(test)]
mod tests;
