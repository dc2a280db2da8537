//! Deadlocks as pictures: what is drawn of them, whatever the language of the drawing.
//!
//! ```text
//!   ┌──────┐ waits for  (────────)  held by  ┌──────┐
//!   │ task │───────────▶ resource ──────────▶│ task │
//!   └──────┘            (────────)           └──────┘
//! ```
//!
//! Resources stand between waiters and holders here too, so that a knot stays readable. All alternatives of a group that
//! are dead are drawn, with the group's name. Names are free text from outside: they are cut and made harmless here, and
//! quoted by each language in its own way.

mod dot;
mod mermaid;

use std::collections::{HashMap, HashSet};

use crate::deadlock::{CallState, DeadTask, DeadWait, Deadlock};
use crate::names::cut;
use crate::span::{InstanceId, SpanId};

pub use dot::to_dot;
pub use mermaid::to_mermaid;

/// The most tasks in one drawing. Layout programs take minutes for more, and nobody can read it.
const TASKS_MAX: usize = 400;
/// The most arrows in one drawing, and so the most resources.
const ARROWS_MAX: usize = 2_000;

/// What is drawn.
#[derive(Debug, Default)]
struct Drawing {
    figures: Vec<Figure>,
    arrows: Vec<Arrow>,
}

#[derive(Debug)]
struct Figure {
    kind: Kind,
    label: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    CoreTask,
    Victim,
    Resource,
    /// Stands for what there was no room for.
    Rest,
}

#[derive(Debug)]
struct Arrow {
    from: usize,
    to: usize,
    label: String,
    in_core: bool,
}

/// A drawing that is being made.
#[derive(Default)]
struct Draft<'a> {
    drawing: Drawing,
    /// Every task that is drawn, each once, however many cores it is a victim of, and its figure.
    tasks: Vec<(&'a DeadTask, usize)>,
    known: HashSet<(SpanId, InstanceId)>,
    /// The figure of each task, by the span that stands for it; of the first where instances claim the same.
    by_span: HashMap<SpanId, usize>,
    resources: HashMap<&'a str, usize>,
    is_cut: bool,
}

impl Drawing {
    fn of(deadlocks: &[Deadlock]) -> Self {
        let mut draft = Draft::default();
        // All cores before any victim: where there is no room for all, causes are what is worth seeing.
        for task in deadlocks.iter().flat_map(|deadlock| &deadlock.core) {
            draft.add_task(task, Kind::CoreTask);
        }
        for deadlock in deadlocks {
            for task in &deadlock.victims {
                draft.add_task(task, Kind::Victim);
            }
            draft.is_cut |= deadlock.victims_total > deadlock.victims.len() as u64;
        }
        for (task, figure) in draft.tasks.clone() {
            draft.add_waits(task, figure);
        }
        for (task, figure) in draft.tasks.clone() {
            draft.add_occupations(task, figure);
        }
        if draft.is_cut {
            draft.add_figure(Kind::Rest, "and more that is not drawn".to_owned());
        }
        draft.drawing
    }
}

impl<'a> Draft<'a> {
    fn add_figure(&mut self, kind: Kind, label: String) -> usize {
        self.drawing.figures.push(Figure { kind, label });
        self.drawing.figures.len() - 1
    }

    fn add_task(&mut self, task: &'a DeadTask, kind: Kind) {
        if self.tasks.len() == TASKS_MAX {
            self.is_cut = true;
        } else if self.known.insert((task.id, task.instance)) {
            let figure = self.add_figure(kind, harmless(&task.label()));
            self.tasks.push((task, figure));
            self.by_span.entry(task.id).or_insert(figure);
        }
    }

    /// From a task to what it waits for: a resource while queued, the handlers once accepted.
    fn add_waits(&mut self, task: &'a DeadTask, from: usize) {
        for wait in &task.waits {
            match &wait.target {
                Some(target) if wait.state == CallState::Queued => {
                    if let Some(to) = self.resource(target) {
                        self.add_arrow(from, to, label_of_wait("waits for", wait), wait.in_core);
                    }
                }
                Some(_) | None => {
                    for handler in wait.blocked_by.iter() {
                        if let Some(to) = self.by_span.get(handler).copied() {
                            self.add_arrow(from, to, label_of_wait("handled by", wait), wait.in_core);
                        }
                    }
                }
            }
        }
    }

    /// From resources that are waited for to a task that occupies them.
    fn add_occupations(&mut self, task: &'a DeadTask, to: usize) {
        for resource in &task.resources {
            if let Some(from) = self.resources.get(&**resource).copied() {
                let in_core = self.drawing.figures[to].kind == Kind::CoreTask;
                self.add_arrow(from, to, "held by".to_owned(), in_core);
            }
        }
    }

    /// `None` if there is no room for an arrow to it.
    fn resource(&mut self, name: &'a str) -> Option<usize> {
        if let Some(figure) = self.resources.get(name) {
            return Some(*figure);
        }
        if self.drawing.arrows.len() == ARROWS_MAX {
            self.is_cut = true;
            return None;
        }
        let figure = self.add_figure(Kind::Resource, harmless(&cut(name)));
        self.resources.insert(name, figure);
        Some(figure)
    }

    fn add_arrow(&mut self, from: usize, to: usize, label: String, in_core: bool) {
        if self.drawing.arrows.len() == ARROWS_MAX {
            self.is_cut = true;
        } else {
            self.drawing.arrows.push(Arrow {
                from,
                to,
                label,
                in_core,
            });
        }
    }
}

fn label_of_wait(what: &str, wait: &DeadWait) -> String {
    match &wait.group {
        None => what.to_owned(),
        Some((name, quorum)) => {
            format!(
                "{what}, {} of {} in {}",
                quorum.needed,
                quorum.size,
                harmless(&cut(name))
            )
        }
    }
}

/// A name without characters that steer a terminal or a reader's eye; they become escapes such as `\u{1b}`.
fn harmless(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Controls, line separators, and what changes the direction of a text or hides in it.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests;
