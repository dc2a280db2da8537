//! Scripts of waits, run for real: one instrumented server for each name, clients that call them, locks and pools.
//!
//! The notation is that of [`standoff_script`], and so is the meaning of each step; but here tasks really wait, and their
//! spans go over native streams of their own to whatever is upstream.
//!
//! ```text
//!   Run ──▶ Worker of server A ─┐                    ┌─ Worker of client x
//!           Worker of server B ─┼── messages ──▶ Exchange ◀── pipe ── process of server C, which crashes
//! ```
//!
//! | module | what it owns |
//! |---|---|
//! | `run` | starting and ending all of it |
//! | `tasks` | what clients and requests do, and their spans |
//! | `exchange` | who calls whom, and who has which units |
//! | `participant`, `message` | one instance's line to the exchange, and what goes over it |
//! | `pipe` | lines to servers in processes of their own |
//!
//! Each server is an instance of its own, with its own agent, tracer provider and stream; copies of a client share one. A
//! server that crashes is a process of its own, since nothing less can die as a process does: no span ends, no goodbye is
//! said, and what it held is free because the operating system says that it is gone.

mod exchange;
mod message;
mod participant;
mod pipe;
mod run;
mod tasks;

pub use run::{Config, INSTANCES_MAX, Processes, Run, StartError, run_server};
