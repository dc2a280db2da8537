//! What is wrong with a script, where, and how to mend it.

use std::fmt::{Display, Formatter, Result};
use std::ops::Range;

use unicode_width::UnicodeWidthStr as _;

use crate::limits::{CALLS_MAX, CAPACITY_MAX, CLIENTS_MAX, DEPTH_MAX, NAME_LENGTH_MAX, SCRIPT_LENGTH_MAX, TIME_MAX};

/// How much of a long line is shown before and after the place, in characters.
const EXCERPT_MAX: usize = 50;

/// A text that is not a script. It is shown with the place, and with what to do about it:
///
/// ```
/// let error = "x: A{B}; !".parse::<standoff_script::Script>().unwrap_err();
/// assert_eq!(error.to_string(), "\
/// line 1, column 10: a client cannot crash
///   x: A{B}; !
///            ^ only servers crash; `A{!}` calls one that does");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ScriptError(Box<Details>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Details {
    kind: ErrorKind,
    /// What to do about it; empty if the error says it.
    advice: &'static str,
    place: Place,
    /// The line up to the place, the place itself, and the rest of the line; shortened, and safe to print.
    before: String,
    at: String,
    after: String,
}

/// A place in a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// What can be wrong with a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something else belongs here.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What could stand here.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// Longer than [`SCRIPT_LENGTH_MAX`].
    #[error("the script is longer than {SCRIPT_LENGTH_MAX} bytes")]
    TooLong,
    /// More than [`DEPTH_MAX`] braces within braces.
    #[error("more than {DEPTH_MAX} calls within calls")]
    TooDeep,
    /// Longer than [`NAME_LENGTH_MAX`].
    #[error("a name of more than {NAME_LENGTH_MAX} characters")]
    NameTooLong,
    /// A number that makes no sense, or is larger than anybody can mean.
    #[error("{what} must be between {min} and {max}")]
    OutOfRange {
        /// What the number says.
        what: &'static str,
        /// The least it may be.
        min: u64,
        /// The most it may be.
        max: u64,
    },
    /// More than [`CLIENTS_MAX`].
    #[error("more than {CLIENTS_MAX} clients in all")]
    TooManyClients,
    /// More than [`CALLS_MAX`].
    #[error("more than {CALLS_MAX} calls in all")]
    TooManyCalls,
    /// `!` among the steps of a client.
    #[error("a client cannot crash")]
    CrashInClient,
    /// A client with a capacity.
    #[error("a client has no capacity")]
    CapacityOfClient,
    /// A lock or pool whose name is a server's, or the other way round.
    #[error("`{name}` is {used} here, and {first_used} at {first}")]
    ServerAndPool {
        /// The name.
        name: String,
        /// What it is at this place.
        used: NameUse,
        /// What it was at first.
        first_used: NameUse,
        /// Where it was first mentioned.
        first: Place,
    },
    /// A capacity other than that of the first mention.
    #[error("a second capacity for `{name}`: it has {capacity} from its first mention at {first}")]
    SecondCapacity {
        /// The name.
        name: String,
        /// Its capacity.
        capacity: u32,
        /// Where it was first mentioned.
        first: Place,
    },
    /// A unit is given back that the same request, or client, has not taken.
    #[error("`{name}-` without a `{name}+` before it")]
    ReleaseWithoutTake {
        /// The pool.
        name: String,
    },
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameUse {
    /// It is called.
    Server,
    /// Units of it are taken and released.
    Pool,
}

impl ScriptError {
    /// An error about a part of a script, given in bytes.
    pub(crate) fn new(kind: ErrorKind, script: &str, part: Range<usize>) -> Self {
        let advice = kind.advice();
        Self::with_advice(kind, advice, script, part)
    }

    /// The same with advice that the kind of error does not give; empty for none.
    pub(crate) fn with_advice(kind: ErrorKind, advice: &'static str, script: &str, part: Range<usize>) -> Self {
        let place = Place::of(script, part.start);
        let line_start = script[..part.start].rfind('\n').map_or(0, |end| end + 1);
        let line_end = script[part.start..]
            .find('\n')
            .map_or(script.len(), |length| part.start + length);
        let before = &script[line_start..part.start];
        let skipped = before.chars().count().saturating_sub(EXCERPT_MAX);
        let before = printable(before.chars().skip(skipped));
        let at = printable(script[part.start..part.end.min(line_end)].chars().take(EXCERPT_MAX));
        let after = printable(script[part.end.min(line_end)..line_end].chars().take(EXCERPT_MAX));
        Self(Box::new(Details {
            kind,
            advice,
            place,
            before,
            at,
            after,
        }))
    }

    /// What is wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Where.
    pub fn place(&self) -> Place {
        self.0.place
    }
}

impl Place {
    pub(crate) fn of(script: &str, offset: usize) -> Self {
        let before = &script[..offset];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Self {
            line: 1 + before.matches('\n').count(),
            column: 1 + before[line_start..].chars().count(),
        }
    }
}

impl ErrorKind {
    /// What to do about it; empty if that depends, or is plain.
    fn advice(&self) -> &'static str {
        match self {
            Self::TooDeep | Self::TooLong | Self::TooManyCalls | Self::TooManyClients => {
                "split it into several scripts"
            }
            Self::NameTooLong => "shorten it",
            Self::Unexpected { .. } | Self::OutOfRange { .. } | Self::SecondCapacity { .. } => "",
            Self::CrashInClient => "only servers crash; `A{!}` calls one that does",
            Self::CapacityOfClient => "`x*2: A` starts two clients alike",
            Self::ServerAndPool { .. } => "give one of them another name",
            Self::ReleaseWithoutTake { .. } => {
                "each request, and each client, releases only what it has taken itself; its end releases the rest"
            }
        }
    }
}

impl Display for ScriptError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Details {
            kind,
            advice,
            place,
            before,
            at,
            after,
        } = &*self.0;
        writeln!(f, "{place}: {kind}")?;
        writeln!(f, "  {before}{at}{after}")?;
        let (indent, carets) = (before.width(), "^".repeat(at.width().max(1)));
        write!(f, "  {:indent$}{carets}", "")?;
        if advice.is_empty() {
            Ok(())
        } else {
            write!(f, " {advice}")
        }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl Display for NameUse {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Server => "a server",
            Self::Pool => "a lock or pool",
        })
    }
}

/// Text that a terminal shows as it is: no control characters, nothing that reverses the line.
pub(crate) fn printable(text: impl Iterator<Item = char>) -> String {
    let shown = |it: char| match it {
        '\t' => ' ',
        it if it == ' ' || it.is_ascii_graphic() || it.is_alphanumeric() => it,
        _ => char::REPLACEMENT_CHARACTER,
    };
    text.map(shown).collect()
}

/// The longest time that a script may say, in its own unit.
pub(crate) fn time_max_ms() -> u64 {
    u64::try_from(TIME_MAX.as_millis()).unwrap_or(u64::MAX)
}

/// The most units, as numbers in a script are read.
pub(crate) const fn capacity_max() -> u64 {
    CAPACITY_MAX as u64
}
