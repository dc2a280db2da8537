//! What surrounds every screen: the header with the connection, a notice where it has troubles, and the footer with the
//! keys and the collector's figures.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;
use standoff_protocol::api::Stats;

use crate::app::{App, Connection, Screen};
use crate::board::Standing;
use crate::keymap::{self, Action};
use crate::{time, words};

pub(super) fn render(app: &App, area: Rect, buf: &mut Buffer) {
    let mut rows = area.rows();
    if let Some(row) = rows.next() {
        beside(row, &header(app), &[counts(app), Vec::new()], buf);
    }
    if let (Some(notice), Some(row)) = (notice(app), rows.next()) {
        let text = words::cut(&notice, row.width.saturating_sub(2).into(), app.look.glyphs());
        let text = format!(" {text:<width$}", width = usize::from(row.width).saturating_sub(1));
        Span::styled(text, app.look.badge(app.look.caution())).render(row, buf);
    }
    if let Some(row) = rows.next_back() {
        beside(row, &hints(app), &figures(app), buf);
    }
}

/// Draws one of the left texts, and one of the right ones at the right end. Texts come from long to short: the right
/// one gives way only when no left one fits beside it.
fn beside(row: Rect, left: &[Vec<Span<'static>>], right: &[Vec<Span<'static>>], buf: &mut Buffer) {
    let columns = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>();
    let room = usize::from(row.width);
    let pairs = right
        .iter()
        .flat_map(|right| left.iter().map(move |left| (left, right)));
    let fits = |(left, right): &(&Vec<_>, &Vec<_>)| columns(left) + columns(right) + 3 <= room;
    let empty = Vec::new();
    let (left, right) = pairs
        .into_iter()
        .find(fits)
        .unwrap_or((left.last().unwrap_or(&empty), &empty));
    Line::from(left.clone()).render(super::with_margins(row), buf);
    Line::from(right.clone())
        .right_aligned()
        .render(super::with_margins(row), buf);
}

fn header(app: &App) -> [Vec<Span<'static>>; 3] {
    let (look, glyphs) = (app.look, app.look.glyphs());
    let state = match &app.connection {
        Connection::Connecting => Span::styled(format!("{} connecting", glyphs.reconnecting), look.caution()),
        Connection::Connected => Span::styled(format!("{} connected", glyphs.connected), look.calm()),
        Connection::Reconnecting { .. } => {
            Span::styled(format!("{} reconnecting", glyphs.reconnecting), look.caution())
        }
        Connection::Unreachable { .. } => Span::styled(format!("{} unreachable", glyphs.trouble), look.alarm()),
    };
    let brand = Span::styled("standoff", look.name());
    let gap = Span::raw("  ");
    [
        vec![
            brand.clone(),
            gap.clone(),
            state.clone(),
            gap.clone(),
            Span::styled(app.address.clone(), look.dim()),
        ],
        vec![brand, gap, state.clone()],
        vec![state],
    ]
}

fn counts(app: &App) -> Vec<Span<'static>> {
    let (look, glyphs) = (app.look, app.look.glyphs());
    let firing = app.board.count(Standing::Firing) + app.board.not_kept();
    let is_news = app.connection == Connection::Connected;
    match (firing, &app.stats) {
        (_, None) => Vec::new(),
        (0, Some(_)) if !is_news => vec![Span::styled("none was firing", look.caution())],
        (n, Some(_)) if !is_news => {
            let verb = if n == 1 { "was" } else { "were" };
            vec![Span::styled(format!("{n} {verb} firing"), look.caution())]
        }
        (0, Some(_)) => vec![Span::styled(format!("{} none firing", glyphs.resolved), look.calm())],
        (n, Some(_)) => vec![Span::styled(format!("{} {n} firing", glyphs.firing), look.alarm())],
    }
}

/// What makes the screen less than the truth, and what to try. Before the first news the screen itself says it.
pub(super) fn notice(app: &App) -> Option<String> {
    app.stats.as_ref()?;
    let for_how_long = |since| time::text(time::between(since, app.now));
    match &app.connection {
        Connection::Connecting => None,
        Connection::Connected => app.not_understood.as_ref().map(|(count, reason)| {
            let events = words::count(*count, "event");
            format!("{events} not understood, is the collector newer? The last: {reason}")
        }),
        Connection::Reconnecting { since, reason } => Some(format!(
            "as of {} ago: {reason}; connecting again",
            for_how_long(*since)
        )),
        Connection::Unreachable { since, reason } => Some(format!(
            "as of {} ago: {reason}; does `standoff collector` run there?",
            for_how_long(*since)
        )),
    }
}

/// Actions that are offered together, and what they are for.
type Hint = (&'static [Action], &'static str);

/// Keys that are of use here, long and short.
fn hints(app: &App) -> [Vec<Span<'static>>; 3] {
    const MOVE: &[Action] = &[Action::Up, Action::Down];
    let own: &[Hint] = match app.screen() {
        Screen::Alerts if app.board.entries().is_empty() => &[],
        Screen::Alerts => &[(&[Action::Open], "open"), (MOVE, "choose")],
        Screen::Alert { .. } => &[(&[Action::Back], "back"), (MOVE, "scroll"), (&[Action::Next], "next")],
        Screen::Help { .. } => &[(&[Action::Back], "back"), (MOVE, "scroll")],
    };
    let common: &[Hint] = &[(&[Action::Help], "help"), (&[Action::Quit], "quit")];
    let spans = |hints: &[Hint]| {
        let hint = |(actions, word): &Hint| {
            let keys: Vec<_> = actions
                .iter()
                .filter_map(|action| keymap::labels(*action).next())
                .collect();
            [
                Span::styled(keys.join("/"), app.look.name()),
                Span::styled(format!(" {word}  "), app.look.dim()),
            ]
        };
        hints.iter().flat_map(hint).collect()
    };
    let first = own.get(..1).unwrap_or_default();
    [
        spans(&[own, common].concat()),
        spans(&[first, common].concat()),
        spans(common),
    ]
}

/// The collector's figures, long and short. What was lost is never left out for lack of room.
fn figures(app: &App) -> [Vec<Span<'static>>; 4] {
    let look = app.look;
    let Some(&Stats {
        open_calls,
        instances,
        instances_silent,
        events_total: _,
        events_lost,
        losses: _,
        refuted_total,
    }) = app.stats.as_ref()
    else {
        return [const { Vec::new() }; 4];
    };
    let dim = |text: String| Span::styled(text, look.dim());
    let mut alarms = Vec::new();
    if events_lost > 0 {
        let lost = words::count(events_lost, "event");
        alarms.push(Span::styled(
            format!("{} {lost} lost", look.glyphs().trouble),
            look.alarm(),
        ));
    }
    if app.board.not_kept() > 0 {
        alarms.push(Span::styled(
            format!("{} more alerts not listed", app.board.not_kept()),
            look.alarm(),
        ));
    }
    let mut short = vec![
        dim(words::count(open_calls, "open call")),
        dim(words::count(instances, "instance")),
    ];
    if instances_silent > 0 {
        short.push(Span::styled(format!("{instances_silent} silent"), look.caution()));
    }
    let mut long = short.clone();
    if refuted_total > 0 {
        long.push(dim(format!("{refuted_total} refuted")));
    }
    let dot = Span::styled(format!(" {} ", look.glyphs().dot), look.dim());
    [
        [long, alarms.clone()].concat(),
        [short, alarms.clone()].concat(),
        alarms,
        Vec::new(),
    ]
    .map(|facts| words::joined(facts, &dot))
}
