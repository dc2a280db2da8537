//! Joins keys, news and the passing of time with the terminal, and decides when to draw.
//!
//! Generic over all of them, so that a test presses keys against a terminal in memory. Owns no state of the monitor.

use std::io;
use std::time::Duration;

use crossterm::event::Event;
use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::Backend;
use tokio::time::{Instant, sleep_until};

use crate::app::{App, Change, Input};
use crate::screen;
use crate::update::Update;

/// How often countdowns move on.
const TICK: Duration = Duration::from_millis(250);

/// The shortest time between two pictures: as fast as a terminal shows them. However much news arrives, no more is
/// drawn than that.
const FRAME: Duration = Duration::from_millis(33);

/// Runs until the user quits or there is no more input; gives the terminal back as it was drawn last.
pub(crate) async fn run<B: Backend<Error: Send + Sync + 'static>>(
    backend: B,
    mut app: App,
    inputs: impl Stream<Item = io::Result<Event>>,
    updates: impl Stream<Item = Update>,
    clock: impl Fn() -> Timestamp,
) -> io::Result<Terminal<B>> {
    let mut terminal = Terminal::new(backend).map_err(io::Error::other)?;
    let mut inputs = std::pin::pin!(inputs);
    let mut updates = std::pin::pin!(updates);
    let size = terminal.size().map_err(io::Error::other)?;
    app.apply(Input::Resized(size), clock());
    draw(&mut terminal, &app)?;

    let mut drawn_at = Instant::now();
    let mut stale = false;
    let mut updates_ended = false;
    loop {
        let input = tokio::select! {
            biased;
            () = sleep_until(drawn_at + FRAME), if stale => {
                app.apply(Input::Tick, clock());
                draw(&mut terminal, &app)?;
                drawn_at = Instant::now();
                stale = false;
                continue;
            }
            // News before keys: a key acts on what has arrived.
            update = updates.next(), if !updates_ended => match update {
                Some(update) => Input::Update(update),
                None => {
                    updates_ended = true;
                    continue;
                }
            },
            event = inputs.next() => match event {
                Some(event) => Input::Terminal(event?),
                // The terminal is gone.
                None => break,
            },
            () = sleep_until(drawn_at + TICK), if app.counts() && !stale => Input::Tick,
        };
        match app.apply(input, clock()) {
            Change::None => {}
            Change::Draw => stale = true,
            Change::Quit => return Ok(terminal),
        }
    }
    draw(&mut terminal, &app)?;
    Ok(terminal)
}

fn draw<B: Backend<Error: Send + Sync + 'static>>(terminal: &mut Terminal<B>, app: &App) -> io::Result<()> {
    terminal
        .draw(|frame| screen::render(app, frame.area(), frame.buffer_mut()))
        .map_err(io::Error::other)?;
    Ok(())
}
