//! The core as boxes below one another, with an arrow from each task to the one it waits for.
//!
//! Where every task waits for just the next one, the arrows run from box to box and back up on the left. Otherwise
//! each box is numbered, and each wait lists the numbers that it waits for.

use std::collections::BTreeMap;

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use standoff_protocol::api::{Alert, Task};

use super::{Drawing, core_total, place, title, wait};
use crate::words;

/// The most tasks that are drawn. More than a few screens help nobody; the rest is counted, and the API has it.
const TASKS_DRAWN_MAX: usize = 200;

/// The widest a box becomes, in columns: beyond that the eye loses the line.
const BOX_COLUMNS_MAX: usize = 76;

/// Columns to the left of the boxes of a ring, for the line that leads back up.
const GUTTER: usize = 3;

/// Whether each task waits for just the next one, and the last for the first.
pub(super) fn is_ring(alert: &Alert) -> bool {
    let core = &alert.core;
    !core.is_empty()
        && core.len() as u64 == core_total(alert)
        && core.len() <= TASKS_DRAWN_MAX
        && core
            .iter()
            .zip(core.iter().cycle().skip(1))
            .all(|(task, next)| match task.waits.as_slice() {
                [wait] => wait.blocked_by.len() == 1 && wait.blocked_by.first() == Some(&next.task),
                _ => false,
            })
}

/// The core of the alert, drawn.
pub(crate) fn cycle(drawing: Drawing<'_>) -> Vec<Line<'static>> {
    let core = &drawing.alert().core;
    if is_ring(drawing.alert()) {
        ring(drawing, core)
    } else {
        knot(drawing, core)
    }
}

fn ring(drawing: Drawing<'_>, core: &[Task]) -> Vec<Line<'static>> {
    let (glyphs, line) = (drawing.look.glyphs(), drawing.look.line());
    let columns = box_columns(drawing.width.saturating_sub(GUTTER));
    let mut out = Vec::new();
    for (index, task) in core.iter().enumerate() {
        let down = (index > 0).then_some(glyphs.into_down);
        let boxed = boxed(drawing, task, title(task), columns, down, true);
        for (row, content) in boxed.into_iter().enumerate() {
            // The line from the last task enters the first box from the left, at its first row of content.
            let gutter = match (index, row) {
                (0, 0) => "   ".to_owned(),
                (0, 1) => format!("{}{}{}", glyphs.top_left, glyphs.horizontal, glyphs.into_right),
                _ => format!("{}  ", glyphs.vertical),
            };
            out.push(prefixed(gutter, line, content));
        }
        let [call] = task.waits.as_slice() else { continue };
        let down = format!("{}    {}   ", glyphs.vertical, glyphs.vertical);
        let back = format!(
            "{}{}{}   ",
            glyphs.bottom_left,
            glyphs.horizontal.repeat(4),
            glyphs.bottom_right
        );
        let last = index + 1 == core.len();
        let room = drawing.width.saturating_sub(words::width(&down));
        for (row, content) in words::wrap(wait(drawing, call), room).into_iter().enumerate() {
            let stem = match (last, row) {
                (false, _) => down.clone(),
                (true, 0) => back.clone(),
                (true, _) => " ".repeat(words::width(&back)),
            };
            out.push(prefixed(stem, line, content));
        }
    }
    out
}

fn knot(drawing: Drawing<'_>, core: &[Task]) -> Vec<Line<'static>> {
    let (glyphs, line) = (drawing.look.glyphs(), drawing.look.line());
    let columns = box_columns(drawing.width);
    let numbers: BTreeMap<_, _> = core
        .iter()
        .enumerate()
        .map(|(index, task)| (task.task.as_str(), (index + 1, task)))
        .collect();
    let mut out = Vec::new();
    for (index, task) in core.iter().take(TASKS_DRAWN_MAX).enumerate() {
        out.extend(boxed(
            drawing,
            task,
            format!("#{} {}", index + 1, title(task)),
            columns,
            None,
            !task.waits.is_empty(),
        ));
        for (nth, call) in task.waits.iter().enumerate() {
            let last = nth + 1 == task.waits.len();
            let (branch, stem) = if last {
                (glyphs.bottom_left, " ")
            } else {
                (glyphs.branches, glyphs.vertical)
            };
            let lead = format!("  {branch}{} ", glyphs.horizontal);
            let indent = format!("  {stem}  ");
            let room = drawing.width.saturating_sub(words::width(&indent));
            for (row, content) in words::wrap(wait(drawing, call), room).into_iter().enumerate() {
                out.push(prefixed(
                    if row == 0 { lead.clone() } else { indent.clone() },
                    line,
                    content,
                ));
            }
            for content in words::wrap(blockers(drawing, &call.blocked_by, &numbers), room) {
                out.push(prefixed(indent.clone(), line, content));
            }
        }
        out.push(Line::default());
    }
    out.pop();
    let drawn = core.len().min(TASKS_DRAWN_MAX);
    let not_drawn = core_total(drawing.alert()) - drawn as u64;
    if not_drawn > 0 {
        let listed = match core.len() - drawn {
            0 => String::new(),
            listed => format!(" ({listed} of them: GET /api/v1/alerts/{})", drawing.alert().id),
        };
        let more = words::count(not_drawn, "more task");
        out.push(Line::styled(format!("and {more}{listed}"), drawing.look.dim()));
    }
    out
}

/// `blocked by #1 service-a, #2 service-a`
fn blockers(drawing: Drawing<'_>, ids: &[String], numbers: &BTreeMap<&str, (usize, &Task)>) -> Vec<Span<'static>> {
    let mut spans = vec![Span::styled("blocked by ", drawing.look.dim())];
    let known = ids
        .iter()
        .take(TASKS_DRAWN_MAX)
        .map(|id| match numbers.get(id.as_str()) {
            Some((number, task)) => Span::styled(format!("#{number} {}", title(task)), drawing.look.name()),
            None => Span::raw(format!("task {id}")),
        });
    spans.extend(words::joined(known.collect(), &Span::raw(", ")));
    if ids.len() > TASKS_DRAWN_MAX {
        spans.push(Span::raw(format!(
            " and {}",
            words::count((ids.len() - TASKS_DRAWN_MAX) as u64, "more task")
        )));
    }
    spans
}

fn box_columns(room: usize) -> usize {
    room.min(BOX_COLUMNS_MAX)
}

/// A task as a box: its title in the upper edge, where it runs and its span's name inside.
fn boxed(
    drawing: Drawing<'_>,
    task: &Task,
    title: String,
    columns: usize,
    arrow: Option<&str>,
    leaves: bool,
) -> Vec<Line<'static>> {
    let (glyphs, look) = (drawing.look.glyphs(), drawing.look);
    let line = look.line();
    let inner = columns.saturating_sub(4);

    let lead = format!(
        "{}{}{} ",
        glyphs.top_left,
        glyphs.horizontal,
        arrow.unwrap_or(glyphs.horizontal)
    );
    let title = words::cut(&title, columns.saturating_sub(6), glyphs);
    let used = words::width(&lead) + words::width(&title) + 2;
    let rest = glyphs.horizontal.repeat(columns.saturating_sub(used));
    let mut out = vec![Line::from(vec![
        Span::styled(lead, line),
        Span::styled(title, look.name()),
        Span::styled(format!(" {rest}{}", glyphs.top_right), line),
    ])];

    let mut facts = vec![Span::raw(place(task))];
    if !task.resources.is_empty() {
        facts.push(Span::raw(task.name.clone()));
    }
    for content in words::wrap(words::joined(facts, &drawing.dot()), inner) {
        let pad = " ".repeat(inner.saturating_sub(content.width()));
        let mut content = prefixed(format!("{} ", glyphs.vertical), line, content);
        content.spans.push(Span::raw(pad));
        content.spans.push(Span::styled(format!(" {}", glyphs.vertical), line));
        out.push(content);
    }

    let foot = if leaves { glyphs.leaves } else { glyphs.horizontal };
    let rest = glyphs.horizontal.repeat(columns.saturating_sub(4));
    let edge = format!(
        "{}{}{foot}{rest}{}",
        glyphs.bottom_left, glyphs.horizontal, glyphs.bottom_right
    );
    out.push(Line::styled(edge, line));
    out
}

fn prefixed(prefix: String, style: Style, mut content: Line<'static>) -> Line<'static> {
    content.spans.insert(0, Span::styled(prefix, style));
    content
}
