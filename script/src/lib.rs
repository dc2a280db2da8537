//! Scripts of waits: their parser, and a simulator that runs them under simulated time.
//!
//! A [`Script`] is a wait pattern in one line: clients that call servers, which call servers, and take units of locks
//! and pools. `docs/scripts.md` describes the notation.
//!
//! ```
//! use std::collections::BTreeSet;
//! use standoff_script::{Script, Settings, Simulation};
//!
//! // A client calls A, which calls B, which calls A, which is waiting.
//! let script: Script = "x: A{B{A}}".parse()?;
//! assert_eq!(script.servers().map(|(name, _)| &**name).collect::<Vec<_>>(), ["A", "B"]);
//!
//! // Every call gives up after five seconds, so the run ends.
//! let mut run = Simulation::new(&script, Settings::default(), 1);
//! let mut most_stuck = BTreeSet::new();
//! while let Some((_at, _event)) = run.next() {
//!     most_stuck.extend(run.stuck());
//! }
//! assert_eq!(most_stuck.len(), 3);
//! assert!(run.unfinished().is_empty());
//! # Ok::<(), standoff_script::ScriptError>(())
//! ```
//!
//! - A [`Simulation`] tells the true spans of a run, in the order in which they open and end, and knows by itself
//!   who is [stuck](Simulation::stuck).
//! - A [`Delivery`] shows the same as a collector would see it: later, reordered, and without what is short.
//! - [`Script::random`] makes scripts that are worth running, and [`Script::smaller`] shows which part of one matters.
//! - A [`Program`](program::Program) is for whoever runs a script by other means.
//! - With the feature `scenarios`, `scenarios::all` are scripts with their verdicts.
//!
//! The crate does no input or output and reads no clock. It knows nothing of wait-for graphs, so that it can be the
//! judge of one.

mod delivery;
mod display;
mod error;
mod limits;
mod parse;
pub mod program;
mod random;
#[cfg(feature = "scenarios")]
pub mod scenarios;
mod script;
mod simulation;
mod smaller;

pub use delivery::{Delivery, DeliverySettings};
pub use error::{ErrorKind, NameUse, Place, ScriptError};
pub use limits::{
    CALLS_MAX, CAPACITY_MAX, CLIENTS_MAX, DEFAULT_TIMEOUT, DEPTH_MAX, NAME_LENGTH_MAX, SCRIPT_LENGTH_MAX, TIME_MAX,
};
pub use script::{Call, Client, Name, Needed, Script, Step};
pub use simulation::{Event, Group, InstanceId, Parent, Role, Settings, Simulation, Span, SpanId, Stalls, Turn};
