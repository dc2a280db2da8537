//! What a request takes of memory while it is decoded: at most `MEMORY_PER_BYTE` times its bytes. And what sources take:
//! little for what has ended, and nothing for whoever is gone.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail like tests")]

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use standoff_otlp::limits::MEMORY_PER_BYTE;
use standoff_otlp::{Decoded, Format, OPEN_SPANS_MAX, REMEMBERED_BYTES_MAX, Sources, Times, logs, traces};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Counts what is allocated.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One test at a time, and nothing beside it: the allocator counts for all.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What does not depend on the request: a few tables of a few entries, and an error.
const BASE: usize = 16 << 10;

/// A field of some bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend(bytes);
    field
}

/// The smallest span that is accepted, of the kind given unless it is 0.
fn span(n: u64, kind: u8, more: &[u8]) -> Vec<u8> {
    let mut span = field(1, &[1; 16]);
    span.extend(field(2, &(n + 1).to_be_bytes()));
    if kind > 0 {
        span.extend([6 << 3, kind]);
    }
    span.extend(more);
    field(2, &span)
}

/// So many spans in one scope of one resource.
fn one_resource(count: u64, span: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
    let spans: Vec<u8> = (0..count).flat_map(span).collect();
    field(1, &field(2, &spans))
}

fn attribute(key: &str, value: &[u8]) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, value)].concat()
}

/// What decoding has allocated in all, whether or not it was given back since, compared with the request; and what tables
/// have grown by once more, since one that moves is there twice for a moment. This is more than what was taken at any one
/// time.
#[expect(clippy::print_stdout, reason = "with --nocapture it says how near the limit is")]
fn check(name: &str, request: &[u8], decode: impl Fn(&[u8]) -> Option<Decoded>) {
    // What is done once and for all does not count.
    drop(decode(b""));
    let region = Region::new(ALLOCATOR);
    let decoded = decode(request);
    let change = region.change();
    let grown = usize::try_from(change.bytes_reallocated.max(0)).unwrap();
    let taken = change.bytes_allocated + grown;
    let multiple = taken as f64 / request.len() as f64;
    assert!(
        taken <= MEMORY_PER_BYTE * request.len() + BASE,
        "{name}: {taken} bytes for {}, {multiple:.1} times",
        request.len()
    );
    drop(decoded);
    println!("{name}: {multiple:.1} times");
}

fn check_traces(name: &str, request: &[u8]) {
    check(name, request, |bytes| traces(bytes, Format::Protobuf).ok());
}

const MANY: u64 = 20_000;

#[test]
fn spans_that_have_ended() {
    let _turn = turn();
    let end = [8 << 3 | 1, 1, 0, 0, 0, 0, 0, 0, 0];
    check_traces("spans", &one_resource(MANY, |n| span(n, 0, &end)));
    let conversation = field(9, &attribute("messaging.message.conversation_id", &field(1, b"c")));
    let end: Vec<u8> = [&end[..], &conversation].concat();
    check_traces("handles", &one_resource(MANY, |n| span(n, 2, &end)));
}

#[test]
fn spans_that_are_open() {
    let _turn = turn();
    check_traces("spans", &one_resource(MANY, |n| span(n, 0, &[])));
    check_traces("calls", &one_resource(MANY, |n| span(n, 3, &[])));
    check_traces("the same span", &one_resource(MANY, |_| span(1, 3, &[])));
    let group = field(9, &attribute("standoff.wait.group", &field(1, b"g")));
    check_traces("groups", &one_resource(MANY, |n| span(n, 3, &group)));
    let code = field(9, &attribute("code.function", &field(1, b"f")));
    check_traces("code", &one_resource(MANY, |n| span(n, 1, &code)));
}

#[test]
fn resources_of_short_names() {
    let _turn = turn();
    let names: Vec<u8> = (0..40_u8).flat_map(|n| field(1, &field(1, &[b'0' + n]))).collect();
    let resources = field(9, &attribute("standoff.resource", &field(5, &names)));
    check_traces("names", &one_resource(MANY / 10, |n| span(n, 2, &resources)));
    let nothing: Vec<u8> = [0x0a, 0x00].repeat(1_000_000);
    let resources = field(9, &attribute("standoff.resource", &field(5, &nothing)));
    check_traces("no names", &one_resource(1, |n| span(n, 2, &resources)));
}

#[test]
fn instances_of_one_span_each() {
    let _turn = turn();
    let request: Vec<u8> = (0..MANY).flat_map(|n| field(1, &field(2, &span(n, 0, &[])))).collect();
    check_traces("without attributes", &request);
    let attributes: Vec<u8> = ["service.name", "host.name", "k8s.a"]
        .iter()
        .flat_map(|key| field(1, &attribute(key, &field(1, b"x"))))
        .collect();
    let instance = |n| [field(1, &attributes), field(2, &span(n, 0, &[]))].concat();
    let request: Vec<u8> = (0..MANY).flat_map(|n| field(1, &instance(n))).collect();
    check_traces("with attributes", &request);
    check_traces("without spans", &field(1, &[]).repeat(MANY as usize));
}

#[test]
fn json_and_its_attributes() {
    let _turn = turn();
    let json = |spans: String| format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
    let check_json = |name, request: String| check(name, request.as_bytes(), |bytes| traces(bytes, Format::Json).ok());
    let span = |n: u64| {
        format!(
            r#"{{"traceId":"01010101010101010101010101010101","spanId":"{:016x}"}}"#,
            n + 1
        )
    };
    check_json("spans", json((0..MANY).map(span).collect::<Vec<_>>().join(",")));
    check_json("nothing", json("{}".to_owned() + &",{}".repeat(MANY as usize)));
    let escapes = format!(r#"{{"name":"{}"}}"#, r"\n".repeat(100_000));
    check_json("escapes", json(escapes));
    let attributes = format!(r#"{{"attributes":[{{}}{}]}}"#, ",{}".repeat(MANY as usize));
    check_json("attributes", json(attributes));
    let values = format!("{{}}{}", r#",{"stringValue":""}"#.repeat(MANY as usize));
    let array =
        format!(r#"{{"attributes":[{{"key":"standoff.resource","value":{{"arrayValue":{{"values":[{values}]}}}}}}]}}"#);
    check_json("values", json(array));
    check_json("depth", "[".repeat(100_000));
}

#[test]
fn partial_spans_and_what_is_none() {
    let _turn = turn();
    let check_logs = |name, request: &[u8]| check(name, request, |bytes| logs(bytes, Format::Protobuf).ok());
    let record = |body: &[u8]| {
        let event = field(6, &attribute("partial.event", &field(1, b"heartbeat")));
        field(2, &[field(5, &field(1, body)), event].concat())
    };
    let many = |body: &[u8]| field(1, &field(2, &record(body).repeat(1000)));
    let span = r#"{"traceId":"01010101010101010101010101010101","spanId":"0202020202020202"}"#;
    let service = r#"{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]}"#;
    let body = format!(r#"{{"resourceSpans":[{{"resource":{service},"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
    check_logs("JSON", &many(body.as_bytes()));
    check_logs(
        "snake case",
        &many(body.replace("resourceSpans", "resource_spans").as_bytes()),
    );
    check_logs("no base64", &many(b"body"));
    check_logs("base64 of nothing much", &many("CgA=".repeat(100).as_bytes()));
    check_logs("no body", &many(b""));
}

/// The request of a service.
fn of_service(service: &str, count: u64, span: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
    let named = field(1, &attribute("service.name", &field(1, service.as_bytes())));
    let spans: Vec<u8> = (0..count).flat_map(span).collect();
    field(1, &[field(1, &named), field(2, &spans)].concat())
}

/// A span that has ended, beneath another one.
fn ended(n: u64) -> Vec<u8> {
    let end = [8 << 3 | 1, 1, 0, 0, 0, 0, 0, 0, 0];
    let parent = field(4, &(n + 7).to_be_bytes());
    span(n, 2, &[&end[..], &parent].concat())
}

/// Sources, and the bytes that they hold.
struct Held {
    sources: Sources,
    region: Region<'static, System>,
    now: Duration,
}

impl Held {
    fn new() -> Self {
        let region = Region::new(ALLOCATOR);
        Held {
            sources: Sources::new(Times::default(), 7),
            region,
            now: Duration::from_secs(1),
        }
    }

    /// Takes a request, and drops what is said of it.
    fn take(&mut self, request: &[u8]) {
        let batch = traces(request, Format::Protobuf).unwrap().batch;
        let mut said = Vec::new();
        self.sources
            .take(self.now, Duration::from_secs(1_795_000_000), batch, &mut said);
        assert!(!said.is_empty());
    }

    /// Lets time pass until there is nothing to be waited for.
    fn wait_until_silent(&mut self) {
        while let Some(next) = self.sources.next_expiry() {
            self.now = next;
            self.sources.expire(self.now, &mut Vec::new());
        }
    }

    fn bytes(&self) -> usize {
        let change = self.region.change();
        change.bytes_allocated.checked_sub(change.bytes_deallocated).unwrap()
    }
}

/// What holds no spans: the tables of sources with a few of them.
const SOURCES_BASE: usize = 16 << 10;

#[test]
fn ordinary_spans_of_a_minute_leave_little_behind() {
    let _turn = turn();
    // Three hundred spans a second of each of three services.
    let mut held = Held::new();
    let mut ids = 0;
    for _second in 0..60 {
        for service in ["a", "b", "c"] {
            held.take(&of_service(service, 300, |n| ended(ids + n)));
            ids += 300;
        }
        held.now += Duration::from_secs(1);
        held.sources.expire(held.now, &mut Vec::new());
        let most = 64 * usize::try_from(ids).unwrap() + SOURCES_BASE;
        assert!(held.bytes() <= most, "{} bytes for {ids} spans", held.bytes());
    }
    // However many they are.
    for _second in 0..6 {
        held.take(&of_service("a", 50_000, |n| ended(ids + n)));
        ids += 50_000;
        assert!(held.bytes() <= REMEMBERED_BYTES_MAX + SOURCES_BASE, "{}", held.bytes());
    }
    assert!(held.bytes() > REMEMBERED_BYTES_MAX, "as much as it may");
    held.wait_until_silent();
    assert!(held.bytes() <= SOURCES_BASE, "{}", held.bytes());
}

#[test]
fn whoever_is_gone_leaves_nothing_behind() {
    let _turn = turn();
    let mut held = Held::new();
    for source in 0..1000 {
        let spans = of_service(&format!("service {source}"), 40, |n| span(40 * source + n, 3, &[]));
        held.take(&spans);
    }
    let counts = held.sources.counts();
    assert_eq!((counts.sources, counts.open), (1000, 40_000));
    let each = held.bytes() / 40_000;
    assert!(each <= 130, "{each} bytes for each span and its share of a source");
    assert!(OPEN_SPANS_MAX * each <= 130 << 20);
    held.take(&one_resource(40_000, ended));
    assert_eq!(held.sources.counts().open, 0);
    held.wait_until_silent();
    assert_eq!(held.sources.counts().sources, 0);
    assert!(held.bytes() <= SOURCES_BASE, "{}", held.bytes());

    // Those that never end are forgotten, too.
    held.take(&one_resource(40_000, |n| span(n, 3, &[])));
    assert_eq!(held.sources.counts().open, 40_000);
    held.wait_until_silent();
    assert!(held.bytes() <= SOURCES_BASE, "{}", held.bytes());
}
