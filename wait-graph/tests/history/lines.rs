//! Histories in the notation of scenarios, with some lines of their own:
//!
//! ```text
//! limits N N N N N N N N N                 those of the graph, in their order
//! pass N                                   N microseconds pass before the next line, beside the millisecond that
//! at once                                  every line takes, or without it
//! expire                                   the graph forgets what it may
//! service INSTANCE NAME                    names an instance
//! ```
//!
//! What a scenario expects is no part of its history.

use std::fmt::{self, Formatter};
use std::sync::Arc;
use std::time::Duration;

use standoff_wait_graph::{Event, Limits, Role, Span, WaitGroup};

use super::{History, Input, Step};
use crate::notation::{Names, TICK, Words, words};

/// A line, if they are not those by default.
pub(crate) fn limits(f: &mut Formatter<'_>, limits: &Limits) -> fmt::Result {
    if *limits == Limits::default() {
        return Ok(());
    }
    let Limits {
        open_spans,
        ended_spans,
        early_finishes,
        answered,
        served,
        pools,
        instances,
        refused,
        conversation_pairs,
    } = limits;
    writeln!(
        f,
        "limits {open_spans} {ended_spans} {early_finishes} {answered} {served} {pools} {instances} {refused} \
         {conversation_pairs}"
    )
}

/// The lines of one step.
pub(crate) fn step(f: &mut Formatter<'_>, step: &Step) -> fmt::Result {
    // Every other line takes a tick.
    match step.after.checked_sub(TICK) {
        Some(Duration::ZERO) => {}
        Some(more) => writeln!(f, "pass {}", more.as_micros())?,
        None => writeln!(f, "at once")?,
    }
    match &step.input {
        Input::Event(event) => self::event(f, event),
        Input::Describe(instance, service) => writeln!(f, "service {} {}", instance.0, word(service)),
        Input::Expire => writeln!(f, "expire"),
    }
}

fn event(f: &mut Formatter<'_>, event: &Event) -> fmt::Result {
    match event {
        Event::Started(span) => self::span(f, span),
        Event::Finished(id) => writeln!(f, "finish {}", id.0),
        Event::Answered(id) => writeln!(f, "answered {}", id.0),
        Event::InstanceSilent(id) => writeln!(f, "silent {}", id.0),
        Event::InstanceBack(id) => writeln!(f, "back {}", id.0),
        Event::InstanceGone(id) => writeln!(f, "gone {}", id.0),
    }
}

fn span(f: &mut Formatter<'_>, span: &Span) -> fmt::Result {
    let keyword = match &span.role {
        Role::Call(_) => "call  ",
        Role::Handle(_) => "handle",
        Role::Hold(_) => "hold  ",
        Role::Member(_) => "member",
        Role::Structural => "span  ",
    };
    write!(f, "{keyword} {} at {}", span.id.0, span.instance.0)?;
    if let Some(parent) = span.parent {
        let how = if parent.remote { "from" } else { "under" };
        write!(f, " {how} {}", parent.id.0)?;
    }
    let (resources, capacity, units): (&[Arc<str>], _, _) = match &span.role {
        Role::Call(call) => (&[], None, call.units),
        Role::Handle(handle) => (&handle.resources, handle.capacity, 1),
        Role::Hold(hold) => (&hold.resources, hold.capacity, hold.units),
        Role::Member(member) => (&member.resources, None, member.units),
        Role::Structural => (&[], None, 1),
    };
    for name in resources {
        write!(f, " resource {}", word(name))?;
    }
    if let Some(capacity) = capacity {
        write!(f, " capacity {capacity}")?;
    }
    if let Role::Call(call) = &span.role {
        if let Some(target) = &call.target {
            write!(f, " target {}", word(target))?;
        }
        if let Some(WaitGroup { name, quorum }) = &call.group {
            write!(f, " group {}", word(name))?;
            if let Some(quorum) = quorum {
                write!(f, " {} of {}", quorum.needed, quorum.size)?;
            }
        }
        if call.detached {
            write!(f, " detached")?;
        }
        if let Some(timeout) = call.timeout {
            write!(f, " timeout {}", timeout.as_millis())?;
        }
    }
    if units != 1 {
        write!(f, " units {units}")?;
    }
    if let Some(task) = span.task {
        write!(f, " task {}", task.0)?;
    }
    if let Some(conversation) = &span.conversation {
        write!(f, " conversation {}", word(conversation))?;
    }
    write!(f, " name {}", word(&span.name))?;
    writeln!(f, " started {}", span.started_at.as_micros())
}

/// A name as one word. What the notation cannot say, which is only a quote or a line's end, is left out.
fn word(name: &str) -> String {
    let safe: String = name.chars().filter(|it| *it != '"' && !it.is_control()).collect();
    if safe.is_empty() || safe.contains(char::is_whitespace) || safe.starts_with('#') {
        format!("\"{safe}\"")
    } else {
        safe
    }
}

/// Reads a history, or the events of a scenario.
pub(crate) fn read(text: &str) -> Result<History, String> {
    let mut reader = Reader {
        history: History {
            limits: Limits::default(),
            steps: Vec::new(),
        },
        names: Names::default(),
        now: Duration::ZERO,
        after: TICK,
    };
    for (number, line) in text.lines().enumerate() {
        let words = words(line);
        if let Some((keyword, rest)) = words.split_first() {
            reader
                .line(keyword, &mut Words(rest))
                .map_err(|failure| format!("{}: {failure}", number + 1))?;
        }
    }
    Ok(reader.history)
}

struct Reader {
    history: History,
    names: Names,
    now: Duration,
    /// Until the next step.
    after: Duration,
}

impl Reader {
    fn line(&mut self, keyword: &str, words: &mut Words<'_>) -> Result<(), String> {
        match keyword {
            "limits" => {
                self.history.limits = Limits {
                    open_spans: words.number()?,
                    ended_spans: words.number()?,
                    early_finishes: words.number()?,
                    answered: words.number()?,
                    served: words.number()?,
                    pools: words.number()?,
                    instances: words.number()?,
                    refused: words.number()?,
                    conversation_pairs: words.number()?,
                };
            }
            "pass" => self.after = TICK + Duration::from_micros(words.number()?),
            "at" => self.after = Duration::ZERO,
            "expire" => self.step(Input::Expire),
            "after" => {
                self.after = Duration::from_secs(words.number()?);
                self.step(Input::Expire);
            }
            "service" => {
                let instance = self.names.instance(&words.next()?);
                self.step(Input::Describe(instance, words.next()?.into()));
            }
            "silence" | "deadlock" | "victims" | "rests" | "state" | "resource" | "servers" | "undecided"
            | "anomaly" => {}
            _ => {
                let event = self.names.event(self.now, keyword, words)?;
                for (instance, service) in std::mem::take(&mut self.names.to_describe) {
                    self.step(Input::Describe(instance, service));
                }
                self.step(Input::Event(event));
            }
        }
        Ok(())
    }

    fn step(&mut self, input: Input) {
        let after = std::mem::replace(&mut self.after, TICK);
        self.now += after;
        self.history.steps.push(Step { after, input });
    }
}
