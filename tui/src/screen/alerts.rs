//! All alerts in a table: those that fire on top, and below them those that the monitor has seen end.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;
use standoff_protocol::api::Stats;

use crate::app::{App, Connection};
use crate::board::Entry;
use crate::error::ADVICE;
use crate::{drawing, words};

/// A column of the table beside the summary, which takes what is left, or a row of its own.
struct Column {
    heading: &'static str,
    columns: u16,
    /// Shown only where the body has at least so many columns.
    from_width: u16,
    cell: fn(&App, &Entry) -> Span<'static>,
}

/// In the order in which they are shown. The state and the countdown are never left out: they say how fast one has to
/// be.
const COLUMNS: [Column; 5] = [
    Column {
        heading: "STATE",
        columns: 12,
        from_width: 0,
        cell: |app, entry| drawing::standing(entry.standing(), app.look),
    },
    Column {
        heading: "TIMEOUT",
        columns: 12,
        from_width: 0,
        cell: |app, entry| drawing::countdown_short(entry, app.look, app.now),
    },
    Column {
        heading: "AGE",
        columns: 12,
        from_width: 44,
        cell: |app, entry| Span::raw(drawing::age(entry, app.now)),
    },
    Column {
        heading: "VICTIMS",
        columns: 8,
        from_width: 54,
        cell: |_, entry| Span::raw(entry.alert.victims_total.to_string()),
    },
    Column {
        heading: "SEEN",
        columns: 6,
        from_width: 62,
        cell: |app, entry| Span::raw(format!("{}{}", entry.alert.occurrences, app.look.glyphs().times)),
    },
];

/// From so many columns on, the summary stands beside the other columns; otherwise below them, in a row of its own.
const BESIDE_FROM_COLUMNS: u16 = 130;

/// Columns of the mark of the chosen alert.
const MARK_COLUMNS: u16 = 2;

/// Rows of one alert, with an empty one where there is room for it.
fn rows_each(app: &App, body: Rect) -> u16 {
    let airy = app.board.entries().len() * 3 < usize::from(body.height);
    match (body.width >= BESIDE_FROM_COLUMNS, airy) {
        (true, _) => 1,
        (false, true) => 3,
        (false, false) => 2,
    }
}

/// Alerts that fit, at least one.
pub(crate) fn fitting(app: &App, body: Rect) -> usize {
    usize::from(body.height.saturating_sub(1) / rows_each(app, body)).max(1)
}

pub(super) fn scroll_max(app: &App, body: Rect) -> usize {
    app.board.entries().len().saturating_sub(fitting(app, body))
}

pub(super) fn render(app: &App, body: Rect, buf: &mut Buffer) {
    let entries = app.board.entries();
    if entries.is_empty() {
        return empty(app, body, buf);
    }
    let heading = |text: &'static str| Span::styled(text, app.look.dim());
    let rest = row(body, |column| heading(column.heading), buf);
    if body.width >= BESIDE_FROM_COLUMNS {
        heading("DEADLOCK").render(rest, buf);
    }

    let below = Rect {
        y: body.y.saturating_add(1),
        height: body.height.saturating_sub(1),
        ..body
    };
    let rows: Vec<Rect> = below.rows().collect();
    let top = app.list.top;
    let places = rows.chunks(rows_each(app, body).into()).zip(entries.iter().skip(top));
    for (nth, (rows, entry)) in places.enumerate() {
        render_entry(app, entry, app.chosen() == Some(top + nth), rows, buf);
    }
    super::draw_scrollbar(app.look, entries.len(), fitting(app, body), top, below, buf);
}

/// Draws an alert into rows of which only the first is sure to be there.
fn render_entry(app: &App, entry: &Entry, chosen: bool, rows: &[Rect], buf: &mut Buffer) {
    let [first, others @ ..] = rows else { return };
    let rest = row(*first, |column| (column.cell)(app, entry), buf);
    let style = if entry.ended_at().is_some() {
        app.look.dim()
    } else {
        app.look.name()
    };
    let summary = |columns: u16| {
        Span::styled(
            words::cut(&entry.alert.summary, columns.into(), app.look.glyphs()),
            style,
        )
    };
    let mut marked = vec![*first];
    if first.width >= BESIDE_FROM_COLUMNS {
        summary(rest.width).render(rest, buf);
    } else if let Some(second) = others.first() {
        let columns = second.width.saturating_sub(MARK_COLUMNS + 2);
        let place = Rect {
            x: second.x.saturating_add(MARK_COLUMNS),
            width: columns,
            ..*second
        };
        summary(columns).render(place.intersection(*second), buf);
        marked.push(*second);
    }
    if chosen {
        for row in marked {
            Span::styled(app.look.glyphs().selected, app.look.chosen()).render(row, buf);
        }
    }
}

/// Draws the cells of one row, and gives what is left of it on the right.
fn row(area: Rect, cell: impl Fn(&Column) -> Span<'static>, buf: &mut Buffer) -> Rect {
    let mut x = area.x.saturating_add(MARK_COLUMNS);
    for column in COLUMNS.iter().filter(|column| area.width >= column.from_width) {
        let place = Rect {
            x,
            width: column.columns,
            ..area
        }
        .intersection(area);
        x = x.saturating_add(column.columns).saturating_add(1);
        Line::from(cell(column)).render(place, buf);
    }
    let width = area.right().saturating_sub(x.saturating_add(2));
    Rect { x, width, ..area }.intersection(area)
}

/// Nothing to list: either all is well, or nobody can tell.
fn empty(app: &App, body: Rect, buf: &mut Buffer) {
    let (look, glyphs) = (app.look, app.look.glyphs());
    let room = usize::from(body.width.saturating_sub(2));
    let line = |spans: Vec<Span<'static>>| words::wrap(spans, room);
    let lines = match (&app.stats, &app.connection) {
        // What was true when the connection was lost may be so no longer. The notice says how long ago that was.
        (Some(_), Connection::Reconnecting { .. } | Connection::Unreachable { .. }) => [
            line(vec![Span::styled(
                format!("{} Whether there is a deadlock now is unknown.", glyphs.unknown),
                look.caution().patch(look.name()),
            )]),
            line(vec![Span::raw("There was none when the connection was lost.")]),
        ]
        .concat(),
        (
            Some(Stats {
                instances: 0,
                instances_silent: 0,
                ..
            }),
            Connection::Connecting | Connection::Connected,
        ) => [
            line(vec![Span::styled(
                format!("{} Nothing to watch yet.", glyphs.reconnecting),
                look.caution().patch(look.name()),
            )]),
            line(vec![Span::raw("No instance of a service reports to this collector.")]),
        ]
        .concat(),
        (Some(stats), Connection::Connecting | Connection::Connected) => {
            let calls = words::count(stats.open_calls, "open call");
            let instances = words::count(stats.instances, "instance");
            [
                line(vec![Span::styled(
                    format!("{} No deadlock.", glyphs.resolved),
                    look.calm().patch(look.name()),
                )]),
                line(vec![Span::raw(format!("{calls} from {instances}."))]),
                vec![Line::default()],
                line(vec![Span::styled(
                    "A deadlock appears here as soon as it is confirmed.",
                    look.dim(),
                )]),
            ]
            .concat()
        }
        (None, Connection::Unreachable { reason, .. }) => return unreachable(app, reason, body, buf),
        (None, Connection::Connecting | Connection::Connected | Connection::Reconnecting { .. }) => {
            line(vec![Span::raw(format!(
                "{} Looking for the collector at {}",
                glyphs.reconnecting, app.address
            ))])
        }
    };
    super::draw_centred(lines, body, buf);
}

/// There is no collector: what happened, and what to try.
fn unreachable(app: &App, reason: &str, body: Rect, buf: &mut Buffer) {
    let (look, glyphs) = (app.look, app.look.glyphs());
    let room = usize::from(super::with_margins(body).width);
    let title = format!("{} No collector can be reached.", glyphs.trouble);
    let mut lines = words::wrap(vec![Span::styled(title, look.alarm())], room);
    lines.extend(words::wrap(vec![Span::raw(format!("{}: {reason}", app.address))], room));
    lines.push(Line::default());
    for advice in ADVICE {
        lines.extend(words::wrap(vec![Span::raw(advice)], room));
    }
    lines.push(Line::default());
    lines.extend(words::wrap(
        vec![Span::styled("The monitor keeps trying.", look.dim())],
        room,
    ));

    // One block in the middle, so that its lines begin below one another.
    let width = u16::try_from(lines.iter().map(Line::width).max().unwrap_or(0)).unwrap_or(u16::MAX);
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let block = body.centered(
        ratatui::layout::Constraint::Length(width.min(body.width)),
        ratatui::layout::Constraint::Length(height.min(body.height)),
    );
    super::draw_lines(&lines, 0, block, buf);
}
