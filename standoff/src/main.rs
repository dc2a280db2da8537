//! `standoff`: finds distributed deadlocks while they are happening.
//!
//! This crate only joins the others: it reads the command line and the configuration file, starts what they ask for, and
//! gives back the exit code.

mod cli;
mod commands;
mod config;
mod exit;
mod lines;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match config::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(error),
    };
    exit::report(commands::run(cli))
}
