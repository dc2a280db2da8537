//! Development tasks of standoff, run as `cargo xtask …`, and the private servers that its tests need.
//!
//! Nothing here ships. The end-to-end tests use [`servers`], [`node`] and [`python`]; everything else is for the commands in `main.rs`.

pub mod check;
pub mod instructions;
pub mod mutants;
pub mod node;
pub mod protos;
pub mod python;
pub mod run;
pub mod servers;
pub mod soak;
pub mod test;

mod prepared;
mod programs;
mod tools;
