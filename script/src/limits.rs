//! What a script may have at most. Scripts come from command lines and files of strangers, and whatever runs them
//! starts a server for each name and a task for each client.

use std::time::Duration;

/// Bytes. A page of text says more than anybody can follow; this is a book.
pub const SCRIPT_LENGTH_MAX: usize = 64 * 1024;

/// Braces within braces. The parser and whoever walks a script recurse as deep, on any thread's stack.
pub const DEPTH_MAX: usize = 200;

/// Characters. Names are shown in one line of a terminal.
pub const NAME_LENGTH_MAX: usize = 64;

/// Clients in all. Each is a task, and in a demo with real services has an instance of its own.
pub const CLIENTS_MAX: u64 = 10_000;

/// Calls that all clients make in all, directly or through the servers that they call: what a run may have to do.
pub const CALLS_MAX: u64 = 1_000_000;

/// Units of one server or pool: as many as there may be calls to ask for them.
pub const CAPACITY_MAX: u32 = 1_000_000;

/// A day: longer than any run.
pub const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Calls, and waits for a lock, end after this long unless a script says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
