//! `cargo xtask …`: the development tasks of standoff. CONTRIBUTING.md says when to use which.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{check, instructions, mutants, protos, run, soak, test};

/// Development tasks of standoff
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Check the code without running it: format, lints, documentation, dependencies, generated code
    Check,
    /// Run the tests, with the servers that they need; without a selection, also the documentation tests
    Test {
        #[command(flatten)]
        running: test::Running,
        #[command(flatten)]
        selection: test::Selection,
    },
    /// Run what takes too long for every change; the log goes to target/soak.log as well
    Soak {
        #[command(flatten)]
        running: test::Running,
        /// How long to go on, in minutes
        #[arg(long, default_value_t = 30)]
        minutes: u64,
    },
    /// Count the instructions that the engine takes for an event, with valgrind
    Instructions {
        /// How many events of each shape and size
        #[arg(long, default_value_t = 20_000)]
        events: u64,
    },
    /// Change the engine in many small ways, and say which changes no test notices
    Mutants {
        /// Which files to change, from the root, or patterns of them; otherwise those that decide and explain who is dead
        files: Vec<String>,
    },
    /// Generate the code of the `.proto` files
    Protos,
    /// Start private servers and print how to reach them; they stop at the end of standard input, or with this command
    Servers {
        #[command(flatten)]
        running: test::Running,
    },
}

fn main() -> Result<ExitCode> {
    let root = run::root();
    Ok(match Arguments::parse().task {
        Task::Check => well(check::check(&root)?),
        Task::Test { running, selection } => ExitCode::from(test::test(&root, &running, &selection)?),
        Task::Soak { running, minutes } => well(soak::soak(&root, &running, Duration::from_secs(60 * minutes))?),
        Task::Instructions { events } => {
            instructions::instructions(&root, events)?;
            ExitCode::SUCCESS
        }
        Task::Mutants { files } => {
            mutants::mutants(&root, &files)?;
            ExitCode::SUCCESS
        }
        Task::Protos => {
            protos::generate(&root)?;
            ExitCode::SUCCESS
        }
        Task::Servers { running } => {
            let servers = test::Servers::start(&running)?;
            for (variable, url) in servers.variables() {
                run::print(&format!("export {variable}={url}"))?;
            }
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
            ExitCode::SUCCESS
        }
    })
}

fn well(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_in_the_developers_guide_is_understood() {
        let guide = std::fs::read_to_string(run::root().join("CONTRIBUTING.md")).unwrap();
        let commands: Vec<&str> = guide
            .lines()
            .filter_map(|line| line.strip_prefix("cargo xtask "))
            .collect();
        assert!(commands.len() > 5, "{commands:?}");
        for command in commands {
            let words = std::iter::once("cargo xtask").chain(command.split_whitespace());
            Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("cargo xtask {command}: {error}"));
        }
    }

    #[test]
    fn arguments_for_the_test_runner_are_passed_on() {
        let test = |line: &str| {
            let words = line.split_whitespace();
            let arguments = Arguments::try_parse_from(["xtask", "test"].into_iter().chain(words)).unwrap();
            let Task::Test { running, selection } = arguments.task else {
                panic!("{arguments:?}")
            };
            (running.amqp, selection.packages, selection.filter)
        };
        let (amqp, packages, filter) = test("--amqp amqp://here -p standoff e2e --no-capture");
        assert_eq!(amqp.as_deref(), Some("amqp://here"));
        assert_eq!(packages, ["standoff"]);
        assert_eq!(filter, ["e2e", "--no-capture"]);

        let (_, packages, filter) = test("--no-capture");
        assert!(packages.is_empty());
        assert_eq!(filter, ["--no-capture"]);
    }
}
