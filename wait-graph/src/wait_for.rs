//! The wait-for graph proper, and who in it can still proceed, both kept up to date change by change.
//!
//! Owns tasks, the groups of waits that each needs, and the resources between them, under integer ids. Knows nothing of
//! spans beyond opaque slots, nor of names beyond symbols, nor of time.

mod among;
mod ids;
mod picture;

pub(crate) use among::{Among, dead_among};
pub(crate) use ids::{Fate, GroupOf, NewWait, Occupier, ResourceIx, Slot, Symbol, TaskId, TaskIx, WaitIx};
pub(crate) use picture::{Group, Picture, Resource, Task, Wait};
