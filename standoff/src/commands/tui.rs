//! `standoff tui`.

use std::io::{IsTerminal, Write};

use standoff_tui::{Color, Options};

use super::asked_to_end;
use crate::cli;
use crate::exit::{Exit, Failure};

pub(super) async fn run(options: cli::Tui) -> anyhow::Result<Exit> {
    let look = look(options.url, &options.look);
    if options.once || options.json || !std::io::stdout().is_terminal() {
        let once = standoff_tui::once(&look, options.json).await.map_err(failure)?;
        write!(std::io::stdout(), "{}", once.output)?;
        return Ok(if once.firing { Exit::Found } else { Exit::Well });
    }
    standoff_tui::run(look, asked_to_end()?.cancelled_owned())
        .await
        .map_err(failure)?;
    Ok(Exit::Well)
}

/// The monitor says itself how grave it is, and what to try.
pub(super) fn failure(error: standoff_tui::Error) -> anyhow::Error {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    for advice in error.advice() {
        text += &format!("\n{advice}");
    }
    match error.exit_code() {
        2 => Failure::Usage(text).into(),
        3 => Failure::Unreachable(text).into(),
        _ => anyhow::anyhow!(text),
    }
}

/// How the monitor is to look.
pub(super) fn look(url: String, look: &cli::Look) -> Options {
    let color = match look.color {
        cli::Color::Auto => Color::Auto,
        cli::Color::Always => Color::Always,
        cli::Color::Never => Color::Never,
    };
    Options {
        url,
        color,
        ascii_only: look.ascii_only,
    }
}
