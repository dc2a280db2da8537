//! Histories: events with the times between them, and how much the graph may keep of them.
//!
//! A history is printed in the notation of the scenarios, and read from it: what a test finds and shrinks can be kept
//! as a file of `tests/histories/`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use standoff_wait_graph::{Event, InstanceId, Limits};

pub(crate) mod lines;

/// One thing that a graph is told.
#[derive(Clone)]
pub(crate) enum Input {
    Event(Event),
    Describe(InstanceId, Arc<str>),
    Expire,
}

#[derive(Clone)]
pub(crate) struct Step {
    /// Since the step before.
    pub(crate) after: Duration,
    pub(crate) input: Input,
}

#[derive(Clone)]
pub(crate) struct History {
    pub(crate) limits: Limits,
    pub(crate) steps: Vec<Step>,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\n")?;
        lines::limits(f, &self.limits)?;
        for step in &self.steps {
            lines::step(f, step)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lines::step(f, self)
    }
}
