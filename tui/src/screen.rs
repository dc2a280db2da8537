//! Draws the state, and changes nothing: the same state always gives the same picture.
//!
//! Owns the frame (header, notice, footer) and the division of the area. What is within is up to one file for each
//! screen.

pub(crate) mod alert;
pub(crate) mod alerts;
mod frame;
mod help;
#[cfg(test)]
mod tests;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Clear, Scrollbar, ScrollbarOrientation, ScrollbarState, StatefulWidget as _, Widget as _};

use crate::app::{App, Screen};
use crate::look::Look;
use crate::words;

/// Below this nothing sensible can be said: not wide enough for a state with its countdown, not high enough for an
/// alert within its frame.
const COLUMNS_MIN: u16 = 20;
/// See [`COLUMNS_MIN`].
const ROWS_MIN: u16 = 5;

/// Draws everything.
pub(crate) fn render(app: &App, area: Rect, buf: &mut Buffer) {
    Clear.render(area, buf);
    if area.width < COLUMNS_MIN || area.height < ROWS_MIN {
        let lines = words::wrap(vec!["terminal too small".into()], area.width.into());
        draw_lines(&lines, 0, area, buf);
        return;
    }
    frame::render(app, area, buf);
    let body = body(app, area);
    match app.screen() {
        Screen::Alerts => alerts::render(app, body, buf),
        Screen::Alert { id, scroll } => alert::render(app, id, *scroll, body, buf),
        Screen::Help { scroll } => help::render(app, *scroll, body, buf),
    }
}

/// The part of the area that is left to the screen, within the frame.
pub(crate) fn body(app: &App, area: Rect) -> Rect {
    let above = 1 + u16::from(frame::notice(app).is_some());
    let height = area.height.saturating_sub(above + 1);
    Rect {
        y: area.y.saturating_add(above),
        height,
        ..area
    }
    .intersection(area)
}

/// How far the screen can be scrolled, in lines.
pub(crate) fn scroll_max(app: &App, body: Rect) -> usize {
    match app.screen() {
        Screen::Alerts => alerts::scroll_max(app, body),
        Screen::Alert { id, .. } => alert::scroll_max(app, id, body),
        Screen::Help { .. } => help::scroll_max(app, body),
    }
}

/// Draws lines after those that are skipped, as many as there is room for.
fn draw_lines(lines: &[Line<'_>], skipped: usize, area: Rect, buf: &mut Buffer) {
    for (row, line) in area.rows().zip(lines.iter().skip(skipped)) {
        line.render(row, buf);
    }
}

/// Shows in the last column of the area which part of the whole is seen, unless all of it is.
fn draw_scrollbar(look: Look, length: usize, visible: usize, skipped: usize, area: Rect, buf: &mut Buffer) {
    if length <= visible || area.is_empty() {
        return;
    }
    // The widget counts positions, not lines.
    let mut state = ScrollbarState::new(length - visible + 1)
        .position(skipped)
        .viewport_content_length(visible);
    Scrollbar::new(ScrollbarOrientation::VerticalRight)
        .symbols(look.glyphs().scrollbar.clone())
        .begin_symbol(None)
        .end_symbol(None)
        .track_style(look.dim())
        .thumb_style(look.line())
        .render(area, buf, &mut state);
}

/// Lines in the middle of the area, each by itself.
fn draw_centred(lines: Vec<Line<'static>>, area: Rect, buf: &mut Buffer) {
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let y = area.y + area.height.saturating_sub(height) / 2;
    let area = Rect { y, ..area }.intersection(area);
    for (row, line) in area.rows().zip(lines) {
        let width = u16::try_from(line.width()).unwrap_or(u16::MAX).min(row.width);
        let x = row.x + (row.width - width) / 2;
        line.render(
            Rect::from((Position { x, y: row.y }, row.as_size())).intersection(row),
            buf,
        );
    }
}

/// The area without a column at either side.
fn with_margins(area: Rect) -> Rect {
    Rect {
        x: area.x + area.width.min(1),
        width: area.width.saturating_sub(2),
        ..area
    }
}
