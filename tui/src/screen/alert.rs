//! One alert: what hangs on what, and how long there is left.
//!
//! The state, the countdown and the summary stay on top; the cycle and the facts below them scroll. Where there is
//! room, the facts stand beside the cycle.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::App;
use crate::board::Entry;
use crate::drawing::{self, Drawing};
use crate::words;

/// From so many columns on, the facts stand beside the cycle.
const BESIDE_FROM_COLUMNS: u16 = 112;

/// Columns of the facts beside the cycle, without the gap.
const FACTS_COLUMNS: u16 = 40;

/// Lines that the summary may take on top. All its names are in the cycle as well.
const SUMMARY_LINES_MAX: usize = 2;

/// The alert, laid out for an area.
struct Layout {
    top: Vec<Line<'static>>,
    /// Scrolls.
    left: Vec<Line<'static>>,
    /// Scrolls along.
    right: Vec<Line<'static>>,
    below_top: Rect,
}

impl Layout {
    fn new(app: &App, entry: &Entry, body: Rect) -> Self {
        let body = super::with_margins(body);
        let room = usize::from(body.width);
        let drawing = |width: u16| Drawing {
            entry,
            look: app.look,
            now: app.now,
            width: width.into(),
        };

        let mut top = state(app, entry, room);
        let summary = vec![Span::styled(entry.alert.summary.clone(), app.look.name())];
        let mut summary = words::wrap(summary, room);
        if summary.len() > SUMMARY_LINES_MAX {
            summary.truncate(SUMMARY_LINES_MAX);
            if let Some(last) = summary.last_mut() {
                let text = format!("{} {}", last.to_string().trim_end(), app.look.glyphs().ellipsis);
                *last = Line::styled(words::cut(&text, room, app.look.glyphs()), app.look.name());
            }
        }
        top.extend(summary);

        let (mut left, right) = if body.width >= BESIDE_FROM_COLUMNS {
            let left = drawing::cycle(drawing(body.width - FACTS_COLUMNS - 2));
            (left, drawing::facts(drawing(FACTS_COLUMNS)))
        } else {
            let mut left = drawing::cycle(drawing(body.width));
            left.push(Line::default());
            left.extend(drawing::facts(drawing(body.width)));
            (left, Vec::new())
        };
        // Air, where it costs nothing.
        let lines = top.len() + left.len().max(right.len());
        if lines < usize::from(body.height) {
            top.push(Line::default());
        }
        // The top may take half of what there is: on a small screen the cycle matters more.
        top.truncate(usize::from(body.height / 2).max(1));
        let taken = u16::try_from(top.len()).unwrap_or(u16::MAX).min(body.height);
        let below_top = Rect {
            y: body.y + taken,
            height: body.height - taken,
            ..body
        };
        if left.is_empty() {
            left.push(Line::default());
        }
        Self {
            top,
            left,
            right,
            below_top,
        }
    }

    fn lines(&self) -> usize {
        self.left.len().max(self.right.len())
    }

    fn scroll_max(&self) -> usize {
        self.lines().saturating_sub(self.below_top.height.into())
    }
}

/// `▲ FIRING for 1.2 s · first timeout in 3.8 s · 4 tasks in a ring, 2 victims`
fn state(app: &App, entry: &Entry, room: usize) -> Vec<Line<'static>> {
    let look = app.look;
    let dot = Span::styled(format!(" {} ", look.glyphs().dot), look.dim());
    let mut badge = drawing::standing(entry.standing(), look);
    badge.style = look.badge(badge.style);
    badge.content = format!(" {} ", badge.content).into();
    let mut spans = vec![
        badge,
        Span::raw(format!(" {}", drawing::lasting(entry, app.now))),
        dot.clone(),
    ];
    let mut countdown = drawing::countdown(entry, look, app.now);
    countdown.style = countdown.style.patch(look.name());
    spans.push(countdown);
    spans.push(dot);
    spans.push(Span::raw(drawing::extent(&entry.alert)));
    words::wrap(spans, room)
}

pub(super) fn scroll_max(app: &App, id: &str, body: Rect) -> usize {
    app.entry(id)
        .map_or(0, |entry| Layout::new(app, entry, body).scroll_max())
}

pub(super) fn render(app: &App, id: &str, scroll: usize, body: Rect, buf: &mut Buffer) {
    let Some(entry) = app.entry(id) else {
        let text = "This alert ended a while ago and is no longer kept.";
        let lines = words::wrap(vec![Span::raw(text)], super::with_margins(body).width.into());
        return super::draw_centred(lines, body, buf);
    };
    let layout = Layout::new(app, entry, body);
    super::draw_lines(&layout.top, 0, super::with_margins(body), buf);

    let scroll = scroll.min(layout.scroll_max());
    let mut left = layout.below_top;
    if !layout.right.is_empty() {
        let right = Rect {
            x: left.right() - FACTS_COLUMNS,
            width: FACTS_COLUMNS,
            ..left
        };
        left.width -= FACTS_COLUMNS + 2;
        super::draw_lines(&layout.right, scroll, right, buf);
    }
    super::draw_lines(&layout.left, scroll, left, buf);
    let beside = Rect {
        width: layout.below_top.width + 1,
        ..layout.below_top
    }
    .intersection(body);
    super::draw_scrollbar(app.look, layout.lines(), beside.height.into(), scroll, beside, buf);
}
