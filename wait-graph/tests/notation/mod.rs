//! The notation of scenarios. A line each, words apart by spaces, `"quoted"` where a word has spaces itself:
//!
//! ```text
//! # A title, then a drawing, then what there is to explain.
//!
//! call   ID at INSTANCE [under ID | from ID] [target NAME] [units N] [group NAME [K of N]] [detached] [timeout MS]
//! handle ID at INSTANCE [under ID | from ID] [resource NAME]… [capacity N]
//! hold   ID at INSTANCE [under ID | from ID] [resource NAME]… [capacity N] [units N]
//! member ID at INSTANCE [resource NAME]… [units N]
//! span   ID at INSTANCE [under ID | from ID]           a structural span
//!                                                      any span also: [task ID] [conversation NAME] [name NAME]
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
//! instance's name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use standoff_wait_graph::{
    Call, CallState, Capacity, Deadlock, Event, Handle, Hold, InstanceId, Limits, Member, Parent, Quorum, Role, Span,
    SpanId, TraceId, WaitGraph, WaitGroup,
};

/// Runs a scenario. The error begins with the number of the line that failed.
pub(crate) fn run(text: &str) -> Result<(), String> {
    let mut run = Run {
        graph: WaitGraph::new(Limits::default()),
        now: Duration::ZERO,
        ids: BTreeMap::new(),
        instances: BTreeMap::new(),
        expected: None,
    };
    let mut has_expectation = false;
    for (number, line) in text.lines().enumerate() {
        let words = words(line);
        let Some((first, rest)) = words.split_first() else {
            continue;
        };
        let keyword = first.as_str();
        has_expectation |= matches!(keyword, "silence" | "deadlock");
        run.line(keyword, &mut Words(rest))
            .map_err(|failure| format!("{}: {failure}", number + 1))?;
    }
    run.no_more_deadlocks()
        .map_err(|failure| format!("{}: {failure}", text.lines().count()))?;
    if !text.starts_with("# ") || !has_expectation {
        return Err("1: a scenario has a title and an expectation".into());
    }
    Ok(())
}

struct Run {
    graph: WaitGraph,
    now: Duration,
    ids: BTreeMap<String, SpanId>,
    instances: BTreeMap<String, InstanceId>,
    /// While deadlocks are being compared: all there are, and how many have been named.
    expected: Option<(Vec<Deadlock>, usize)>,
}

impl Run {
    fn line(&mut self, keyword: &str, words: &mut Words<'_>) -> Result<(), String> {
        match keyword {
            "deadlock" => return self.deadlock(words),
            "victims" => return self.victims(words),
            "rests" => return self.rests_on(words),
            _ => self.no_more_deadlocks()?,
        }
        match keyword {
            "silence" => return same(&self.summaries(), &Vec::new()),
            "state" => return self.state(words),
            "resource" => return self.resource(words),
            "servers" => {
                let servers = self.graph.servers(&words.next()?);
                let mut expected: Vec<InstanceId> = words.rest().map(|name| self.instance(name)).collect();
                expected.sort();
                return same(&servers, &expected);
            }
            "undecided" => return same(&self.graph.undecided_waits(), &words.number()?),
            "anomaly" => {
                let kind = words.next()?;
                let anomalies = self.graph.anomalies();
                let found = anomalies.by_kind().into_iter().find(|(name, _)| *name == kind);
                return same(&found.map(|(_, count)| count), &Some(words.number()?));
            }
            "after" => {
                self.now += Duration::from_secs(words.number()?);
                self.graph.expire(self.now);
                return Ok(());
            }
            _ => {}
        }
        let event = self.event(keyword, words)?;
        self.now += Duration::from_millis(1);
        self.graph.apply(self.now, event);
        Ok(())
    }

    fn event(&mut self, keyword: &str, words: &mut Words<'_>) -> Result<Event, String> {
        let name = words.next()?;
        Ok(match keyword {
            "finish" => Event::Finished(self.id(&name)),
            "answered" => Event::Answered(self.id(&name)),
            "silent" => Event::InstanceSilent(self.instance(&name)),
            "back" => Event::InstanceBack(self.instance(&name)),
            "gone" => Event::InstanceGone(self.instance(&name)),
            _ => Event::Started(self.span(keyword, &name, words)?),
        })
    }

    fn span(&mut self, keyword: &str, id: &str, words: &mut Words<'_>) -> Result<Span, String> {
        let mut span = Span {
            id: self.id(id),
            trace: TraceId::default(),
            instance: InstanceId(0),
            parent: None,
            task: None,
            name: id.into(),
            conversation: None,
            role: Role::Structural,
            started_at: self.now,
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

    fn deadlock(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let summary = words.rest().collect::<Vec<_>>().join(" ");
        let (found, named) = self.expected.get_or_insert_with(|| (self.graph.deadlocks(), 0));
        let Some(deadlock) = found.get(*named) else {
            return Err(format!("no deadlock {summary}"));
        };
        *named += 1;
        same(&deadlock.summary(), &summary)
    }

    fn victims(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let victims: Vec<_> = self
            .named()?
            .victims
            .iter()
            .map(|task| task.canonical_name().into_owned())
            .collect();
        same(&victims, &words.rest().map(String::from).collect())
    }

    fn rests_on(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        words.next()?;
        let mut spans: Vec<SpanId> = words.rest().map(|name| self.id(name)).collect();
        spans.sort();
        same(&self.named()?.spans(), &spans)
    }

    /// The deadlock named last.
    fn named(&self) -> Result<&Deadlock, String> {
        let named = self
            .expected
            .as_ref()
            .and_then(|(found, named)| found.get(named.checked_sub(1)?));
        named.ok_or_else(|| "no deadlock above".into())
    }

    fn no_more_deadlocks(&mut self) -> Result<(), String> {
        match self.expected.take() {
            Some((found, named)) if named < found.len() => Err(format!("also a deadlock: {}", found[named].summary())),
            Some(_) | None => Ok(()),
        }
    }

    fn summaries(&self) -> Vec<String> {
        self.graph.deadlocks().iter().map(Deadlock::summary).collect()
    }

    fn state(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let call = self.id(&words.next()?);
        let state = match words.next()?.as_str() {
            "queued" => CallState::Queued,
            "accepted" => CallState::Accepted,
            "answered" => CallState::Answered,
            "orphaned" => CallState::Orphaned,
            other => return Err(format!("unknown state {other}")),
        };
        same(&self.graph.call_state(call), &Some(state))
    }

    fn resource(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let name = words.next()?;
        let capacity = match words.next()?.as_str() {
            "unknown" => Capacity::Unknown,
            "declared" => Capacity::Declared(words.number()?),
            "counted" => Capacity::Counted(words.number()?),
            other => return Err(format!("unknown capacity {other}")),
        };
        same(&self.graph.resource(&name).map(|it| it.capacity), &Some(capacity))
    }

    fn id(&mut self, name: &str) -> SpanId {
        let next = SpanId(self.ids.len() as u64 + 1);
        *self.ids.entry(name.into()).or_insert(next)
    }

    fn instance(&mut self, name: &str) -> InstanceId {
        let next = InstanceId(self.instances.len() as u64 + 1);
        let id = *self.instances.entry(name.into()).or_insert(next);
        self.graph.describe_instance(id, name.into());
        id
    }
}

fn same<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("expected {expected:?}, found {found:?}"))
    }
}

struct Words<'a>(&'a [String]);

impl Words<'_> {
    fn next(&mut self) -> Result<String, String> {
        let (first, rest) = self.0.split_first().ok_or("a word is missing")?;
        self.0 = rest;
        Ok(first.clone())
    }

    fn number<N: std::str::FromStr>(&mut self) -> Result<N, String> {
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

    fn rest(&mut self) -> impl Iterator<Item = &str> {
        std::mem::take(&mut self.0).iter().map(String::as_str)
    }
}

/// The words of a line, without quotes. None of an empty line or a comment.
fn words(line: &str) -> Vec<String> {
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
