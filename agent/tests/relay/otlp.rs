//! Services that speak OTLP only, a real relay, and collectors of our own.

use standoff_protocol::stream::{LossCause, Outcome, Probe, ResyncRequest, Role, from_collector};

use crate::double::{Double, Mode};
use crate::world::World;

/// Kinds of spans, by OTLP's numbers.
const INTERNAL: u32 = 1;
const SERVER: u32 = 2;
const CLIENT: u32 = 3;

/// A span; one without an end is open.
struct Span {
    id: u64,
    parent: u64,
    kind: u32,
    has_ended: bool,
    /// An attribute.
    names: Option<(&'static str, &'static str)>,
}

fn open(id: u64, parent: u64, kind: u32) -> Span {
    Span {
        id,
        parent,
        kind,
        has_ended: false,
        names: None,
    }
}

fn ended(id: u64, parent: u64, kind: u32) -> Span {
    Span {
        has_ended: true,
        ..open(id, parent, kind)
    }
}

impl Span {
    fn json(&self) -> String {
        let parent = if self.parent == 0 {
            String::new()
        } else {
            format!("{:016x}", self.parent)
        };
        let attributes = self.names.map_or(String::new(), |(key, value)| {
            format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
        });
        let end = if self.has_ended { "2" } else { "0" };
        format!(
            r#"{{"traceId":"{:032x}","spanId":"{:016x}","parentSpanId":"{parent}","name":"s","kind":{},
            "startTimeUnixNano":"1","endTimeUnixNano":"{end}","attributes":[{attributes}]}}"#,
            7, self.id, self.kind
        )
    }
}

/// What a service sends of these spans.
fn body(service: &str, spans: &[Span]) -> String {
    let spans: Vec<String> = spans.iter().map(Span::json).collect();
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[
            {{"key":"service.name","value":{{"stringValue":"{service}"}}}},
            {{"key":"service.instance.id","value":{{"stringValue":"{service}-1"}}}}]}},
            "scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
        spans.join(",")
    )
}

fn send(world: &World, service: &str, spans: &[Span]) {
    let answer = world.post(&body(service, spans));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_source_is_an_instance_that_cannot_be_asked() {
    let collector = Double::new("collector");
    let world = World::with_otlp(vec![collector.upstream()]);
    let call = Span {
        names: Some(("standoff.target", "B")),
        ..open(1, 0, CLIENT)
    };
    send(&world, "a", &[call, ended(2, 1, INTERNAL)]);
    let (hello, started) = collector.wait_for("a-1", "the call", |it| {
        Some((it.hello.clone(), it.mirror.open.get(&1)?.clone()))
    });
    assert!(hello.cannot_be_asked);
    let instance = hello.instance.unwrap();
    assert_eq!((instance.service_name.as_str(), instance.process), ("a", None));
    assert_eq!((started.role(), started.target.as_str()), (Role::Call, "B"));
    let link = collector.wait_for("a-1", "the link", |it| it.ended.first().cloned());
    assert_eq!((link.span_id, link.parent_span_id), (2, 1));
    // It is never asked, and lives for as long as the relay does.
    let probe = Probe {
        probe_id: 9,
        still_open: vec![1],
        accepted: vec![],
    };
    collector.say("a-1", from_collector::Message::Probe(probe));
    collector.say("a-1", from_collector::Message::ResyncRequest(ResyncRequest {}));
    collector.wait_for("a-1", "the set, again", |it| {
        (it.mirror.sets_complete == 2).then_some(())
    });
    let before = collector.wait_for("a-1", "signs of life", |it| Some(it.mirror.heartbeats));
    let (answers, open) = collector.wait_for("a-1", "more of them", |it| {
        (it.mirror.heartbeats > before + 3).then(|| (it.mirror.answers.len(), it.mirror.open_ids()))
    });
    assert_eq!((answers, open), (0, vec![1]));
    send(&world, "a", &[ended(1, 0, CLIENT)]);
    let outcome = collector.wait_for("a-1", "the end", |it| it.mirror.outcome(1));
    assert_eq!(outcome, Outcome::Finished);
}

#[test]
fn a_collector_that_was_away_is_told_what_is_open_and_what_has_ended() {
    let collector = Double::new("collector");
    let other = Double::new("other");
    let world = World::with_otlp(vec![collector.upstream(), other.upstream()]);
    send(&world, "a", &[open(1, 0, CLIENT), open(2, 0, CLIENT)]);
    collector.wait_for("a-1", "the calls", |it| (it.mirror.open.len() == 2).then_some(()));
    collector.set_mode(Mode::Away);
    let sessions_before = collector.wait("sessions", |sessions| Some(sessions.len()));
    // One that is open is answered, by a handler that was never seen open.
    send(&world, "b", &[ended(3, 1, SERVER)]);
    send(&world, "a", &[ended(2, 0, CLIENT)]);
    other.wait_for("a-1", "the end", |it| it.mirror.outcome(2));
    other.wait_for("b-1", "the handler", |it| it.ended.first().cloned());
    collector.set_mode(Mode::Serve);
    let open = collector.wait("the call", |sessions| {
        let channel = sessions.get(sessions_before..)?.last()?.of("a-1")?;
        (channel.mirror.sets_complete == 1).then(|| channel.mirror.open_ids())
    });
    assert_eq!(open, [1]);
    let answer = collector.wait_for("b-1", "the handler", |it| it.ended.first().cloned());
    assert_eq!(
        (answer.span_id, answer.parent_span_id, answer.role()),
        (3, 1, Role::Handle)
    );
}

#[test]
fn what_cannot_be_taken_is_counted_and_told() {
    let collector = Double::new("collector");
    let world = World::with_otlp(vec![collector.upstream()]);
    send(&world, "a", &[open(0, 0, CLIENT), open(1, 0, CLIENT)]);
    let answer = world.post("{");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let lost = collector.wait("what was lost", |sessions| {
        let lost = &sessions.last()?.lost;
        lost.iter().find(|it| it.events == 2).cloned()
    });
    assert_eq!(lost.cause(), LossCause::OtlpRejected);
    collector.wait_for("a-1", "the call", |it| it.mirror.open.get(&1).map(drop));
    let metrics = world.get("/metrics");
    for line in [
        "standoff_relay_otlp_requests_total{result=\"invalid\"} 1",
        "standoff_relay_otlp_spans_total{kind=\"rejected\"} 1",
        "standoff_relay_otlp_spans_total{kind=\"started\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[test]
fn a_relay_that_is_started_again_does_not_speak_for_who_was_there_before() {
    let collector = Double::new("collector");
    let mut world = World::with_otlp(vec![collector.upstream()]);
    send(&world, "a", &[open(1, 0, CLIENT)]);
    let hello = collector.wait_for("a-1", "the call", |it| {
        it.mirror.open.contains_key(&1).then(|| it.hello.clone())
    });
    world.stop();
    let closed = collector.wait_for("a-1", "the end", |it| it.closed);
    assert!(!closed, "nobody has seen it die");
    world.start_again(vec![collector.upstream()]);
    send(&world, "a", &[open(2, 0, CLIENT)]);
    let again = collector.wait("another call", |sessions| {
        let channel = sessions.get(1)?.of("a-1")?;
        (channel.mirror.open_ids() == [2]).then(|| channel.hello.clone())
    });
    assert_ne!(hello, again, "what this relay has not heard of may still be open");
}
