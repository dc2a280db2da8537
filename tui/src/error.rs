//! Why the monitor could not do what it was asked, and what to try.

use std::io;

/// Text in it that came from outside is safe to print.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address makes no sense.
    #[error("`{url}` is not an address of a collector: {reason}")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answered as a collector does.
    #[error("cannot reach a collector at {address}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What happened instead.
        reason: String,
    },
    /// The interactive monitor was asked for where no terminal is.
    #[error("standard output is not a terminal")]
    NoTerminal,
    /// The terminal failed.
    #[error("the terminal failed")]
    Terminal(#[source] io::Error),
    /// Something that cannot happen did.
    #[error("the HTTP client could not be made")]
    Client(#[source] reqwest::Error),
}

impl Error {
    /// The process's exit code: 2 wrong usage, 3 unreachable, 4 internal failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Address { .. } | Self::NoTerminal => 2,
            Self::Unreachable { .. } => 3,
            Self::Terminal(_) | Self::Client(_) => 4,
        }
    }

    /// What the user might try, one thing a line; empty if there is nothing to say.
    pub fn advice(&self) -> &'static [&'static str] {
        match self {
            Self::Address { .. } => &["give it like this: --url http://127.0.0.1:4380"],
            Self::Unreachable { .. } => &ADVICE,
            Self::NoTerminal => &["print the firing alerts instead: standoff tui --once"],
            Self::Terminal(_) | Self::Client(_) => &[],
        }
    }
}

/// What to try when there is no collector.
pub(crate) const ADVICE: [&str; 3] = [
    "start a collector:       standoff collector",
    "give another address:    standoff tui --url http://HOST:4380",
    "or see a whole system:   standoff demo",
];
