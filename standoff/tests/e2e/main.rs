//! standoff end to end: its own processes, real servers, a real terminal.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod agents;
mod demo;
mod docs;
mod faults;
mod foreign;
mod helpers;
mod node;
mod otlp;
mod python;
mod relay;
mod relay_otlp;
mod scripts;
mod services;
mod soak;
mod support;
mod terminal;
