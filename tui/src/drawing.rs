//! An alert drawn as lines of text: its cycle, and what else is known about it.
//!
//! The same lines serve the screen and the plain text of `describe`. Nothing here scrolls, and nothing here reads a
//! clock.

mod cycle;
mod facts;

use jiff::Timestamp;
use ratatui::text::Span;
use standoff_protocol::api::{Alert, AlertState, CallState, Confirmation, Resolution, Severity, Task, Wait};

use crate::board::{Entry, Standing};
use crate::look::Look;
use crate::{time, words};

pub(crate) use self::cycle::cycle;
pub(crate) use self::facts::facts;

/// What every part of the drawing needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Drawing<'a> {
    pub(crate) entry: &'a Entry,
    pub(crate) look: Look,
    pub(crate) now: Timestamp,
    /// Columns that it may take.
    pub(crate) width: usize,
}

impl<'a> Drawing<'a> {
    fn alert(&self) -> &'a Alert {
        &self.entry.alert
    }

    fn is_over(&self) -> bool {
        self.entry.ended_at().is_some()
    }

    /// The moment up to which waits are counted: time stands still once an alert has ended.
    fn until(&self) -> Timestamp {
        self.entry.ended_at().unwrap_or(self.now)
    }

    /// ` · `
    fn dot(&self) -> Span<'static> {
        Span::styled(format!(" {} ", self.look.glyphs().dot), self.look.dim())
    }
}

/// Glyph, word and style of a standing. None of the three is needed to understand the others.
pub(crate) fn standing(standing: Standing, look: Look) -> Span<'static> {
    let glyphs = look.glyphs();
    match standing {
        Standing::Firing => Span::styled(format!("{} FIRING", glyphs.firing), look.alarm()),
        Standing::Suspected => Span::styled(format!("{} SUSPECTED", glyphs.suspected), look.caution()),
        Standing::Missed => Span::styled(format!("{} MISSING", glyphs.unknown), look.caution()),
        Standing::Resolved => Span::styled(format!("{} RESOLVED", glyphs.resolved), look.calm()),
    }
}

/// How an episode ended, to follow the word "resolved".
pub(crate) fn resolution(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::Timeout => "a call timed out",
        Resolution::Error => "a call failed",
        Resolution::Cancelled => "a call was cancelled",
        Resolution::InstanceLost => "an instance was lost",
        Resolution::Finished => "a call finished after all",
        Resolution::Merged => "merged into an older alert",
    }
}

/// How far an alert is to be trusted, in words.
fn trust(alert: &Alert) -> &'static str {
    match (alert.severity, alert.confirmation) {
        (Severity::Critical, Some(Confirmation::Probed)) => "critical: every process was asked, and confirms it",
        (Severity::Critical, Some(Confirmation::Settled)) => "critical: it has stood for the settle time",
        (Severity::Critical, None) => "critical, not confirmed yet",
        (Severity::Warning, Some(Confirmation::Probed)) => "warning: every process was asked, and confirms it",
        (Severity::Warning, Some(Confirmation::Settled)) => {
            "warning: some source cannot be asked; it has stood for the settle time"
        }
        (Severity::Warning, None) => "warning, not confirmed yet",
    }
}

fn call_state(state: CallState) -> &'static str {
    match state {
        CallState::Queued => "queued",
        CallState::Accepted => "accepted",
        CallState::Answered => "answered",
        CallState::Orphaned => "orphaned",
    }
}

/// Until the first timeout, or what became of the alert: the one fact that decides how fast one has to be.
pub(crate) fn countdown(entry: &Entry, look: Look, now: Timestamp) -> Span<'static> {
    let ago = |at| time::text(time::between(at, now));
    match (entry.standing(), entry.alert.first_timeout_at) {
        (Standing::Resolved, _) => {
            let how = entry.alert.resolution.map_or("it has ended", resolution);
            Span::raw(format!("{how}, {} ago", ago(entry.ended_at().unwrap_or(now))))
        }
        (Standing::Missed, _) => Span::raw(format!(
            "the collector has not reported it for {}",
            ago(entry.ended_at().unwrap_or(now))
        )),
        (Standing::Firing | Standing::Suspected, None) => Span::styled("no timeout will ever end it", look.alarm()),
        (Standing::Firing | Standing::Suspected, Some(at)) if at > now => Span::styled(
            format!("first timeout in {}", time::text(time::between(now, at))),
            look.caution(),
        ),
        (Standing::Firing | Standing::Suspected, Some(at)) => {
            Span::styled(format!("first timeout was due {} ago", ago(at)), look.caution())
        }
    }
}

/// The same in few columns, for a table.
pub(crate) fn countdown_short(entry: &Entry, look: Look, now: Timestamp) -> Span<'static> {
    match (entry.standing(), entry.alert.first_timeout_at) {
        (Standing::Resolved, _) => Span::raw(match entry.alert.resolution {
            Some(Resolution::Timeout) => "timed out",
            Some(Resolution::Error) => "failed",
            Some(Resolution::Cancelled) => "cancelled",
            Some(Resolution::InstanceLost) => "inst. lost",
            Some(Resolution::Finished) => "finished",
            Some(Resolution::Merged) => "merged",
            None => "ended",
        }),
        (Standing::Missed, _) => Span::raw("unknown"),
        (Standing::Firing | Standing::Suspected, None) => Span::styled("never", look.alarm()),
        (Standing::Firing | Standing::Suspected, Some(at)) if at > now => {
            Span::styled(format!("in {}", time::text(time::between(now, at))), look.caution())
        }
        (Standing::Firing | Standing::Suspected, Some(_)) => Span::styled("overdue", look.caution()),
    }
}

/// For how long the tasks are, or were, stuck.
pub(crate) fn age(entry: &Entry, now: Timestamp) -> String {
    time::text(time::between(entry.alert.detected_at, entry.ended_at().unwrap_or(now)))
}

/// The same with the word that goes before it: `for 1.2 s`, `after 5.0 s`.
pub(crate) fn lasting(entry: &Entry, now: Timestamp) -> String {
    let word = if entry.ended_at().is_some() { "after" } else { "for" };
    format!("{word} {}", age(entry, now))
}

/// What a task is called: the resources that it occupies, or else its span.
fn title(task: &Task) -> String {
    if task.resources.is_empty() {
        task.name.clone()
    } else {
        task.resources.join(", ")
    }
}

/// Where a task runs. The service is left out where the instance's name already says it.
fn place(task: &Task) -> String {
    if task.instance.starts_with(&task.service) {
        task.instance.clone()
    } else {
        format!("{} of {}", task.instance, task.service)
    }
}

/// `waits 1.2 s for service-b`
fn wait_short(drawing: Drawing<'_>, wait: &Wait) -> Vec<Span<'static>> {
    let verb = if drawing.is_over() { "waited" } else { "waits" };
    let open = time::text(time::between(wait.started_at, drawing.until()));
    let target = match &wait.target {
        Some(target) => Span::styled(target.clone(), drawing.look.name()),
        None => Span::raw("an unnamed resource"),
    };
    vec![Span::raw(format!("{verb} {open} for ")), target]
}

/// `waits 1.2 s for service-b (accepted), times out in 3.8 s`
fn wait(drawing: Drawing<'_>, wait: &Wait) -> Vec<Span<'static>> {
    let look = drawing.look;
    let mut spans = wait_short(drawing, wait);
    spans.push(Span::raw(format!(" ({}), ", call_state(wait.state))));
    spans.push(timeout(drawing, wait).unwrap_or(Span::styled("without a timeout", look.dim())));
    if let Some(group) = &wait.group {
        spans.push(Span::raw("; group "));
        spans.push(Span::styled(group.name.clone(), look.name()));
        spans.push(Span::raw(format!(
            " needs {} of {}",
            group.needed,
            words::count(group.size.into(), "call")
        )));
    }
    if drawing.alert().core.len() > 1
        && wait
            .timeout_at
            .is_some_and(|at| drawing.alert().first_timeout_at == Some(at))
    {
        spans.push(Span::styled(format!(" {}", look.glyphs().first), look.caution()));
    }
    spans
}

/// `times out in 3.8 s`; `None` if it never does.
fn timeout(drawing: Drawing<'_>, wait: &Wait) -> Option<Span<'static>> {
    let (at, until) = (wait.timeout_at?, drawing.until());
    let after = time::text(time::between(wait.started_at, at));
    Some(match (drawing.is_over(), at > until) {
        (true, true) => Span::raw(format!("timeout after {after}")),
        (true, false) => Span::raw(format!("timed out after {after}")),
        (false, true) => Span::styled(
            format!("times out in {}", time::text(time::between(until, at))),
            drawing.look.caution(),
        ),
        (false, false) => {
            let late = time::text(time::between(at, until));
            Span::styled(format!("timeout was due {late} ago"), drawing.look.caution())
        }
    })
}

/// How many tasks the core has, listed or not.
fn core_total(alert: &Alert) -> u64 {
    alert.core_total.max(alert.core.len() as u64)
}

/// What the core is, in words: `4 tasks in a ring, 2 victims`.
pub(crate) fn extent(alert: &Alert) -> String {
    let core = match (core_total(alert), cycle::is_ring(alert)) {
        (1, _) => "1 task that waits for itself".to_owned(),
        (n, true) => format!("{n} tasks in a ring"),
        (n, false) => words::count(n, "task"),
    };
    let suspected = if alert.state == AlertState::Suspected {
        ", not confirmed"
    } else {
        ""
    };
    let victims = match alert.victims_total {
        0 => "no victims".to_owned(),
        n => words::count(n, "victim"),
    };
    format!("{core}, {victims}{suspected}")
}
