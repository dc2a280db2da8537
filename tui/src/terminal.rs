//! The real terminal: taking it over, giving it back, and noticing that the process shall end.

use std::io::{self, Stdout};

use ratatui::backend::CrosstermBackend;

use crate::error::Error;

/// Gives the terminal back when dropped. A panic gives it back too, before its message is printed.
pub(crate) struct Restore(());

impl Restore {
    /// Takes the terminal over: raw mode and the alternate screen.
    pub(crate) fn enter() -> Result<(Self, CrosstermBackend<Stdout>), Error> {
        // Made first, so that a failure half-way is undone as well.
        let restore = Self(());
        ratatui::try_init().map_err(Error::Terminal)?;
        Ok((restore, CrosstermBackend::new(io::stdout())))
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        // Where the terminal is gone there is nobody left to tell.
        let _ = ratatui::try_restore();
    }
}

/// Ready once somebody asks the process to end, or the terminal has been closed.
#[cfg(unix)]
pub(crate) async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let watch = |kind| async move {
        match signal(kind) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            // Without a handler the signal ends the process, as it always did.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = watch(SignalKind::terminate()) => {}
        () = watch(SignalKind::interrupt()) => {}
        () = watch(SignalKind::hangup()) => {}
    }
}

/// Ready once somebody asks the process to end.
#[cfg(not(unix))]
pub(crate) async fn signalled() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
