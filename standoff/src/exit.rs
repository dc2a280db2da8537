//! Exit codes, and how errors are told.

use std::io::Write;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Well,
    /// A deadlock was found, or a demonstration showed something other than what it should.
    Found,
}

/// Something that needs an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The collector or a server could not be reached.
    #[error("{0}")]
    Unreachable(String),
}

/// What clap or the configuration file has to say. Help and version are results, and go to standard output.
pub(crate) fn usage(error: clap::Error) -> ExitCode {
    // Nothing is left to do if even this cannot be written.
    error.print().ok();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The exit code of a command that has ended.
pub(crate) fn report(result: anyhow::Result<Exit>) -> ExitCode {
    match result {
        Ok(Exit::Well) => ExitCode::SUCCESS,
        Ok(Exit::Found) => ExitCode::from(1),
        Err(error) => {
            writeln!(std::io::stderr(), "standoff: {error:#}").ok();
            match error.downcast_ref::<Failure>() {
                Some(Failure::Usage(_)) => ExitCode::from(2),
                Some(Failure::Unreachable(_)) => ExitCode::from(3),
                None => ExitCode::from(4),
            }
        }
    }
}
