//! The notation of scenarios and histories. A line each, words apart by spaces, `"quoted"` where a word has spaces itself:
//!
//! ```text
//! # A title, then a drawing, then what there is to explain.
//!
//! call   ID at INSTANCE [under ID | from ID] [target NAME] [units N] [group NAME [K of N]] [detached] [timeout MS]
//! handle ID at INSTANCE [under ID | from ID] [resource NAME]… [capacity N]
//! hold   ID at INSTANCE [under ID | from ID] [resource NAME]… [capacity N] [units N]
//! member ID at INSTANCE [resource NAME]… [units N]
//! span   ID at INSTANCE [under ID | from ID]           a structural span
//!                                                      any span also: [task ID] [conversation NAME]
//!                                                      [name NAME] [started MICROSECONDS]
//! finish ID, answered ID
//! silent INSTANCE, back INSTANCE, gone INSTANCE
//! after N                                              N seconds pass, and the graph forgets what it may
//!
//! silence                                              no deadlock
//! deadlock SUMMARY                                     this one, and only those of the lines next to it
//!   victims NAME…                                      of the deadlock above: all of them
//!   rests on ID…                                       of the deadlock above: its spans, all of them
//! state ID queued | accepted | answered | orphaned
//! resource NAME unknown | declared N | counted N
//! servers NAME INSTANCE…
//! undecided N
//! anomaly KIND N
//! ```
//!
//! `under` is a parent in the same process, `from` one that came with a message. The service of an instance has the
//! instance's name. Ids and instances that are numbers are these numbers, and such an instance has no service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use standoff_wait_graph::{
    Call, Event, Handle, Hold, InstanceId, Member, Parent, Quorum, Role, Span, SpanId, TraceId, WaitGroup,
};

/// What every line takes.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Gives numbers to the names of spans and instances.
#[derive(Default)]
pub(crate) struct Names {
    ids: BTreeMap<String, SpanId>,
    instances: BTreeMap<String, InstanceId>,
    /// Instances that have a name and were not described yet.
    pub(crate) to_describe: Vec<(InstanceId, Arc<str>)>,
}

impl Names {
    pub(crate) fn id(&mut self, name: &str) -> SpanId {
        if let Ok(number) = name.parse() {
            return SpanId(number);
        }
        let next = SpanId(self.ids.len() as u64 + 1);
        *self.ids.entry(name.into()).or_insert(next)
    }

    pub(crate) fn instance(&mut self, name: &str) -> InstanceId {
        if let Ok(number) = name.parse() {
            return InstanceId(number);
        }
        let next = InstanceId(self.instances.len() as u64 + 1);
        *self.instances.entry(name.into()).or_insert_with(|| {
            self.to_describe.push((next, name.into()));
            next
        })
    }

    /// The event of a line that begins with this keyword.
    pub(crate) fn event(&mut self, now: Duration, keyword: &str, words: &mut Words<'_>) -> Result<Event, String> {
        let name = words.next()?;
        Ok(match keyword {
            "finish" => Event::Finished(self.id(&name)),
            "answered" => Event::Answered(self.id(&name)),
            "silent" => Event::InstanceSilent(self.instance(&name)),
            "back" => Event::InstanceBack(self.instance(&name)),
            "gone" => Event::InstanceGone(self.instance(&name)),
            _ => Event::Started(self.span(now, keyword, &name, words)?),
        })
    }

    fn span(&mut self, now: Duration, keyword: &str, id: &str, words: &mut Words<'_>) -> Result<Span, String> {
        let mut span = Span {
            id: self.id(id),
            trace: TraceId::default(),
            instance: InstanceId(0),
            parent: None,
            task: None,
            name: id.into(),
            conversation: None,
            role: Role::Structural,
            started_at: now,
        };
        let (mut resources, mut target, mut group): (Vec<Arc<str>>, _, _) = (Vec::new(), None, None);
        let (mut capacity, mut units, mut detached, mut timeout) = (None, 1, false, None);
        while let Ok(word) = words.next() {
            match word.as_str() {
                "at" => span.instance = self.instance(&words.next()?),
                "under" => {
                    span.parent = Some(Parent {
                        id: self.id(&words.next()?),
                        remote: false,
                    })
                }
                "from" => {
                    span.parent = Some(Parent {
                        id: self.id(&words.next()?),
                        remote: true,
                    })
                }
                "task" => span.task = Some(self.id(&words.next()?)),
                "conversation" => span.conversation = Some(words.next()?.into()),
                "name" => span.name = words.next()?.into(),
                "resource" => resources.push(words.next()?.into()),
                "target" => target = Some(words.next()?.into()),
                "capacity" => capacity = Some(words.number()?),
                "units" => units = words.number()?,
                "detached" => detached = true,
                "started" => span.started_at = Duration::from_micros(words.number()?),
                "timeout" => timeout = Some(Duration::from_millis(words.number()?)),
                "group" => {
                    group = Some(WaitGroup {
                        name: words.next()?.into(),
                        quorum: words.quorum()?,
                    })
                }
                other => return Err(format!("unknown word {other}")),
            }
        }
        span.role = match keyword {
            "call" => Role::Call(Call {
                target,
                units,
                group,
                detached,
                timeout,
            }),
            "handle" => Role::Handle(Handle { resources, capacity }),
            "hold" => Role::Hold(Hold {
                resources,
                capacity,
                units,
            }),
            "member" => Role::Member(Member { resources, units }),
            "span" => Role::Structural,
            other => return Err(format!("unknown event {other}")),
        };
        Ok(span)
    }
}

/// The words of a line that are left.
pub(crate) struct Words<'a>(pub(crate) &'a [String]);

impl Words<'_> {
    pub(crate) fn next(&mut self) -> Result<String, String> {
        let (first, rest) = self.0.split_first().ok_or("a word is missing")?;
        self.0 = rest;
        Ok(first.clone())
    }

    pub(crate) fn number<N: std::str::FromStr>(&mut self) -> Result<N, String> {
        let word = self.next()?;
        word.parse().map_err(|_| format!("not a number: {word}"))
    }

    /// `K of N`, if that is what comes next.
    fn quorum(&mut self) -> Result<Option<Quorum>, String> {
        if self.0.get(1).is_none_or(|word| word != "of") {
            return Ok(None);
        }
        let needed = self.number()?;
        self.next()?;
        Ok(Some(Quorum {
            needed,
            size: self.number()?,
        }))
    }
}

/// The words of a line, without quotes. None of an empty line or a comment.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    if line.starts_with('#') {
        return words;
    }
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}
