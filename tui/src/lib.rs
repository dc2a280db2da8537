//! The terminal monitor: what is deadlocked just now, and how each deadlock hangs together.
//!
//! This crate knows the collector only by its public HTTP API (`standoff_protocol::api`) and never changes anything
//! there. Inside, four things are kept apart:
//!
//! - `client` turns HTTP into updates, and reconnects;
//! - `app` owns all state and is the only place that changes it, in one `App::apply`;
//! - `screen` draws that state, and is pure: one file for each screen;
//! - `event_loop` joins them, generic over the terminal and both streams, so that tests press real keys.
//!
//! Text from outside becomes harmless in `visible`, before it reaches `app`. Printing to standard output is left to
//! the binary.

mod app;
mod backoff;
mod board;
mod client;
mod describe;
mod drawing;
mod error;
mod event_loop;
mod keymap;
mod look;
#[cfg(test)]
mod sample;
mod screen;
mod terminal;
mod time;
mod update;
mod visible;
mod words;

use std::future::Future;
use std::io::IsTerminal as _;
use std::str::FromStr;

use jiff::Timestamp;
use standoff_protocol::api::Alert;

pub use self::client::Once;
pub use self::error::Error;

use self::app::App;
use self::look::{Charset, Look};

/// How to find the collector and how to draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the collector's HTTP API is, for instance `http://127.0.0.1:4380`. Without a scheme, `http` is meant.
    pub url: String,
    /// Whether to use colours.
    pub color: Color,
    /// Draw with ASCII characters only; others in names are shown as escapes.
    pub ascii_only: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: format!("http://{}", standoff_protocol::ports::HTTP),
            color: Color::Auto,
            ascii_only: false,
        }
    }
}

/// Whether to use colours. No state is ever told by colour alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// Where the terminal has them, unless the environment variable `NO_COLOR` is set and not empty.
    #[default]
    Auto,
    /// Always, whatever the environment says.
    Always,
    /// Never.
    Never,
}

impl Color {
    fn enabled(self) -> bool {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self {
            Self::Auto => !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

impl FromStr for Color {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            other => Err(format!("`{other}` is none of auto, always, never")),
        }
    }
}

impl std::fmt::Display for Color {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

impl Options {
    fn charset(&self) -> Charset {
        if self.ascii_only {
            Charset::Ascii
        } else {
            Charset::Unicode
        }
    }
}

/// Runs the monitor on the terminal until the user quits, `until` is ready, or a signal asks the process to end.
///
/// A collector that cannot be reached is not an error here: the monitor says so and keeps trying. The terminal is put
/// back as it was on every way out, a panic included.
pub async fn run(options: Options, until: impl Future<Output = ()>) -> Result<(), Error> {
    let api = client::Api::new(&options.url)?;
    if !std::io::stdout().is_terminal() {
        return Err(Error::NoTerminal);
    }
    let color = options.color.enabled();
    // crossterm has an opinion of its own about NO_COLOR.
    crossterm::style::force_color_output(color);
    let app = App::new(Look::new(color, options.charset()), api.address(), Timestamp::now());
    let (feed, updates) = client::follow(api);

    let (_restore, backend) = terminal::Restore::enter()?;
    tokio::select! {
        ended = event_loop::run(backend, app, crossterm::event::EventStream::new(), updates, Timestamp::now) => {
            ended.map(drop).map_err(Error::Terminal)
        }
        () = feed => Ok(()),
        () = until => Ok(()),
        () = terminal::signalled() => Ok(()),
    }
}

/// Fetches the firing alerts once, as text or, with `json`, as the API's `AlertList`.
pub async fn once(options: &Options, json: bool) -> Result<Once, Error> {
    client::Api::new(&options.url)?.once(json, options.charset()).await
}

/// An alert as plain text, as it stands at `now`. Safe to print: whatever could steer a terminal is shown as escapes.
pub fn describe(alert: &Alert, now: Timestamp) -> String {
    describe::alert(alert, now, Charset::Unicode)
}
