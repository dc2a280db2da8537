//! Runs every file of `tests/scenarios/`: a title, a drawing, lines of events, the expected deadlocks or silence.
//!
//! `tests/notation/` reads the notation and describes it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use standoff_wait_graph::{CallState, Capacity, Deadlock, InstanceId, Limits, SpanId, WaitGraph};

mod notation;

use notation::{Names, TICK, Words, words};

#[test]
fn every_scenario_ends_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut failures = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        if let Err(failure) = run(&text) {
            writeln!(failures, "{}:{failure}", file.display()).unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// Runs a scenario. The error begins with the number of the line that failed.
fn run(text: &str) -> Result<(), String> {
    let mut run = Run {
        graph: WaitGraph::new(Limits::default()),
        now: Duration::ZERO,
        names: Names::default(),
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
    names: Names,
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
                let mut expected: Vec<InstanceId> = rest(words).map(|name| self.names.instance(name)).collect();
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
        let event = self.names.event(self.now, keyword, words)?;
        for (instance, service) in self.names.to_describe.drain(..) {
            self.graph.describe_instance(instance, service);
        }
        self.now += TICK;
        self.graph.apply(self.now, &event);
        Ok(())
    }

    fn deadlock(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let summary = rest(words).collect::<Vec<_>>().join(" ");
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
        same(&victims, &rest(words).map(String::from).collect())
    }

    fn rests_on(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        words.next()?;
        let mut spans: Vec<SpanId> = rest(words).map(|name| self.names.id(name)).collect();
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
        let call = self.names.id(&words.next()?);
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
}

/// All the words that are left.
fn rest<'a>(words: &mut Words<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    std::mem::take(&mut words.0).iter().map(String::as_str)
}

fn same<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("expected {expected:?}, found {found:?}"))
    }
}
