//! Every rule by itself, under simulated time.

use std::sync::Arc;
use std::time::Duration;

use standoff_protocol::stream::{
    self, ENDED_PER_MESSAGE_MAX, Ended, Outcome, Role, SPANS_PER_MESSAGE_MAX, check_spans,
};

use super::*;
use crate::signal::{self, InstanceIx};

mod instances;
mod limits;
mod model;
mod spans;

/// When the tests begin, since 1970.
const BEGIN: Duration = Duration::from_secs(1_795_247_863);

const TIMES: Times = Times {
    max_open: Duration::from_secs(600),
    forget_after: Duration::from_secs(300),
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Sources, and what they have said since somebody looked.
struct World {
    sources: Sources,
    now: Duration,
    said: Vec<Said>,
}

impl World {
    fn new() -> Self {
        World {
            sources: Sources::new(TIMES, 7),
            now: seconds(1000),
            said: Vec::new(),
        }
    }

    fn unix_now(&self) -> Duration {
        BEGIN + self.now
    }

    fn take(&mut self, batch: signal::Batch) -> Vec<String> {
        self.sources.take(self.now, self.unix_now(), batch, &mut self.said);
        self.heard()
    }

    fn wait(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.sources.expire(self.now, &mut self.said);
        self.heard()
    }

    /// What was said since the last time, in short.
    fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said).into_iter().map(short).collect()
    }

    /// A span that started so long ago by its host's clock.
    fn started(&self, span_id: u64, ago: Duration) -> signal::Started {
        signal::Started {
            instance: InstanceIx(0),
            span: stream::Started {
                span_id,
                role: Role::Call.into(),
                ..stream::Started::default()
            },
            start_time_unix_nano: (self.unix_now() - ago).as_nanos() as u64,
            source: signal::Source::OpenSpan,
            code: None,
        }
    }

    fn heartbeat(&self, span_id: u64, ago: Duration) -> signal::Started {
        signal::Started {
            source: signal::Source::PartialLog { heartbeat: seconds(5) },
            ..self.started(span_id, ago)
        }
    }

    fn with_timeout(&self, span_id: u64, ago: Duration, timeout_ms: u64) -> signal::Started {
        let mut started = self.started(span_id, ago);
        started.span.timeout_ms = timeout_ms;
        started
    }
}

fn finished(span_id: u64, parent_span_id: u64, role: Role) -> signal::Finished {
    signal::Finished {
        span_id,
        trace_id: 1,
        parent_span_id,
        parent_is_remote: false,
        instance: InstanceIx(0),
        role,
        outcome: Outcome::Error,
        conversation_id: None,
    }
}

fn instance(service: &str, id: &str) -> Arc<Instance> {
    Arc::new(Instance {
        service_name: service.to_owned(),
        instance_id: id.to_owned(),
        ..Instance::default()
    })
}

fn batch(finished: Vec<signal::Finished>, started: Vec<signal::Started>) -> signal::Batch {
    signal::Batch {
        instances: vec![instance("a", "a-1")],
        finished,
        started: started.into_iter().map(Box::new).collect(),
        held: None,
    }
}

fn starts(started: signal::Started) -> signal::Batch {
    batch(vec![], vec![started])
}

fn ends(span_id: u64) -> signal::Batch {
    batch(vec![finished(span_id, 99, Role::Call)], vec![])
}

/// `1: -3 error, .4 handle under 5, +6 2s`: of source 1 span 3, which was open, has ended; span 4, which was not, too;
/// and span 6, two seconds old, is open.
fn short(said: Said) -> String {
    match said {
        Said::Came { source, hello } => {
            let instance = hello.instance.expect("a hello names an instance");
            format!("{} is {}/{}", source.0, instance.service_name, instance.instance_id)
        }
        Said::Left { source } => format!("{} left", source.0),
        Said::Batch { source, batch } => {
            assert_eq!(batch.sequence, 0);
            let outcome = |it: &stream::Finished| it.outcome().as_str_name()["OUTCOME_".len()..].to_lowercase();
            let role = |it: &Ended| it.role().as_str_name()["ROLE_".len()..].to_lowercase();
            let finished = batch
                .finished
                .iter()
                .map(|it| format!("-{} {}", it.span_id, outcome(it)));
            let ended = batch.ended.iter().map(|it| {
                let remote = if it.parent_is_remote { " remote" } else { "" };
                let conversation = if it.conversation_id.is_empty() { "" } else { " of " };
                let conversation = format!("{conversation}{}", it.conversation_id);
                format!(
                    ".{} {} under{remote} {}{conversation}",
                    it.span_id,
                    role(it),
                    it.parent_span_id
                )
            });
            let started = batch
                .started
                .iter()
                .map(|it| format!("+{} {}s", it.span_id, it.age_ns / 1_000_000_000));
            let all: Vec<String> = finished.chain(ended).chain(started).collect();
            format!("{}: {}", source.0, all.join(", "))
        }
    }
}

/// A world in which source 1 has come already.
fn world() -> World {
    let mut world = World::new();
    assert_eq!(world.take(batch(vec![], vec![])), ["1 is a/a-1"]);
    world
}
