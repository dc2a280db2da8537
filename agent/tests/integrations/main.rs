//! The helpers at work, and the spans that they make.

#![expect(clippy::unwrap_used, reason = "a failed expectation is what tests are for")]

mod actors;
mod echo;
mod groups;
mod lapin;
mod rabbit;
mod recorder;
mod sync;
mod tower;
