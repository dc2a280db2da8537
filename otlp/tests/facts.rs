//! What is read of a span: its role and what goes with it, in every way in which it may be said.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail like tests")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use standoff_otlp::{Batch, Finished, Format, Source, Started, traces};
use standoff_protocol::stream::{self, Outcome, Role, WaitGroup};

/// What is said of one span of one instance. Attributes are `name=value`, with values that are numbers or truths where
/// they look like it. Both formats say the same.
fn read(fields: &str, attributes: &[&str]) -> Batch {
    let attributes: Vec<String> = attributes.iter().map(|said| attribute(said)).collect();
    let json = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{}]}},"scopeSpans":[{{"spans":[{{
            "traceId":"0000000000000000000000000000000a","spanId":"000000000000000b","name":"name",
            "attributes":[{}]{}{fields}}}]}}]}}]}}"#,
        attribute("service.name=s"),
        attributes.join(","),
        if fields.is_empty() { "" } else { "," },
    );
    let decoded = traces(json.as_bytes(), Format::Json).unwrap();
    assert_eq!(decoded.reason, "");
    let reference: ExportTraceServiceRequest = serde_json::from_str(&json).unwrap();
    let protobuf = traces(&reference.encode_to_vec(), Format::Protobuf).unwrap();
    assert_eq!(protobuf.batch.started, decoded.batch.started);
    assert_eq!(protobuf.batch.finished, decoded.batch.finished);
    decoded.batch
}

fn attribute(said: &str) -> String {
    let (key, value) = said.split_once('=').unwrap();
    let value = if value.parse::<i64>().is_ok_and(|number| number.to_string() == value) {
        format!(r#"{{"intValue":{value}}}"#)
    } else if matches!(value, "true" | "false") {
        format!(r#"{{"boolValue":{value}}}"#)
    } else if let Some(names) = value.strip_prefix('[') {
        let names = names.trim_end_matches(']').split('|');
        let names: Vec<String> = names.map(|name| format!(r#"{{"stringValue":"{name}"}}"#)).collect();
        format!(r#"{{"arrayValue":{{"values":[{}]}}}}"#, names.join(","))
    } else {
        format!(r#"{{"stringValue":"{value}"}}"#)
    };
    format!(r#"{{"key":"{key}","value":{value}}}"#)
}

fn open(fields: &str, attributes: &[&str]) -> Started {
    *read(fields, attributes).started.pop().unwrap()
}

fn ended(fields: &str, attributes: &[&str]) -> Finished {
    let fields = format!(r#""endTimeUnixNano":"9",{fields}"#);
    read(&fields, attributes).finished.pop().unwrap()
}

/// What is said of every span here.
fn span(role: Role) -> stream::Started {
    stream::Started {
        span_id: 11,
        trace_id: 10_u128.to_be_bytes().to_vec(),
        name: "name".to_owned(),
        role: role.into(),
        ..stream::Started::default()
    }
}

#[test]
fn roles_follow_from_kinds_unless_the_attribute_says_otherwise() {
    let kinds = [
        (0, Role::Structural),
        (1, Role::Structural),
        (2, Role::Handle),
        (3, Role::Call),
        (4, Role::Structural),
        (5, Role::Handle),
    ];
    for (kind, role) in kinds {
        let kind = format!(r#""kind":{kind}"#);
        assert_eq!(open(&kind, &[]).span.role(), role, "{kind}");
        assert_eq!(ended(&kind, &[]).role, role, "{kind}");
        for (said, role) in [
            ("call", Role::Call),
            ("handle", Role::Handle),
            ("hold", Role::Hold),
            ("member", Role::Member),
            ("none", Role::Structural),
            ("nonsense", role),
            ("7", role),
        ] {
            let said = format!("standoff.role={said}");
            assert_eq!(open(&kind, &[&said]).span.role(), role, "{kind} {said}");
            assert_eq!(ended(&kind, &[&said]).role, role, "{kind} {said}");
        }
    }
}

const EVERYTHING: [&str; 12] = [
    "standoff.resource=[a|b|a]",
    "standoff.capacity=3",
    "standoff.units=2",
    "standoff.target={:server_a, 42}",
    "standoff.timeout_ms=5000",
    "standoff.wait.group=g",
    "standoff.wait.needed=1",
    "standoff.wait.size=3",
    "standoff.detached=true",
    "standoff.task=00000000000000ff",
    "messaging.message.conversation_id=c",
    "server.address=not read",
];

#[test]
fn a_call_is_read_in_full() {
    let read = open(
        r#""kind":3,"startTimeUnixNano":"7","parentSpanId":"000000000000000c""#,
        &EVERYTHING,
    );
    let expected = stream::Started {
        parent_span_id: 12,
        target: "{:server_a, 42}".to_owned(),
        timeout_ms: 5000,
        units: 2,
        wait_group: Some(WaitGroup {
            name: "g".to_owned(),
            needed: 1,
            size: 3,
        }),
        detached: true,
        task_span_id: 255,
        conversation_id: "c".to_owned(),
        ..span(Role::Call)
    };
    assert_eq!(read.span, expected);
    assert_eq!((read.start_time_unix_nano, read.source), (7, Source::OpenSpan));
    assert_eq!((read.lease(), read.code), (None, None));
}

#[test]
fn what_occupies_resources_is_read_in_full() {
    let resources = vec!["a".to_owned(), "b".to_owned()];
    let common = |role| stream::Started {
        resources: resources.clone(),
        task_span_id: 255,
        conversation_id: "c".to_owned(),
        ..span(role)
    };
    let handle = stream::Started {
        capacity: 3,
        ..common(Role::Handle)
    };
    assert_eq!(open(r#""kind":2"#, &EVERYTHING).span, handle);
    let read = |role: &str| {
        let role = format!("standoff.role={role}");
        open("", &[&EVERYTHING[..], &[&role]].concat()).span
    };
    let hold = stream::Started {
        capacity: 3,
        units: 2,
        ..common(Role::Hold)
    };
    assert_eq!(read("hold"), hold);
    let member = stream::Started {
        units: 2,
        ..common(Role::Member)
    };
    assert_eq!(read("member"), member);
}

#[test]
fn of_a_structural_span_only_what_keeps_the_chain_is_read() {
    let expected = stream::Started {
        task_span_id: 255,
        ..span(Role::Structural)
    };
    assert_eq!(open(r#""kind":4"#, &EVERYTHING).span, expected);
}

#[test]
fn where_it_began_is_read_by_current_and_older_names() {
    let current = open(
        "",
        &["code.function.name=a.b", "code.file.path=f", "code.line.number=7"],
    );
    let older = open(
        "",
        &[
            "code.function=b",
            "code.namespace=a",
            "code.filepath=f",
            "code.lineno=7",
        ],
    );
    for read in [current, older] {
        let code = read.code.unwrap();
        assert_eq!((code.function.as_str(), code.file.as_str(), code.line), ("a.b", "f", 7));
    }
}

#[test]
fn how_it_ended_follows_from_status_and_error_type() {
    let cases = [
        (0, None, Outcome::Finished),
        (1, Some("timeout"), Outcome::Finished),
        (2, None, Outcome::Error),
        (2, Some("500"), Outcome::Error),
        (2, Some("java.io.IOException"), Outcome::Error),
        (2, Some("timeout"), Outcome::Timeout),
        (2, Some("DEADLINE_EXCEEDED"), Outcome::Timeout),
        (2, Some("cancelled"), Outcome::Cancelled),
        (2, Some("CANCELLED"), Outcome::Cancelled),
        (0, Some("timeout"), Outcome::Timeout),
    ];
    for (status, error_type, outcome) in cases {
        let status = format!(r#""kind":3,"status":{{"code":{status}}}"#);
        let said: Vec<String> = error_type.iter().map(|it| format!("error.type={it}")).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        assert_eq!(ended(&status, &said).outcome, outcome, "{status} {error_type:?}");
    }
}

#[test]
fn only_handles_that_have_ended_may_have_answered_by_conversation() {
    for name in ["messaging.message.conversation_id=c", "messaging.conversation_id=c"] {
        assert_eq!(ended(r#""kind":5"#, &[name]).conversation_id.as_deref(), Some("c"));
        assert_eq!(ended(r#""kind":3"#, &[name]).conversation_id, None);
        assert_eq!(open(r#""kind":3"#, &[name]).span.conversation_id, "c");
    }
}

#[test]
fn a_pending_span_speaks_of_its_parent() {
    let pending = "logfire.span_type=pending_span";
    let fields = |kind: u8| {
        format!(
            r#""kind":{kind},"parentSpanId":"000000000000000c","startTimeUnixNano":"7","endTimeUnixNano":"7","flags":256"#
        )
    };
    let root = open(&fields(1), &[pending, "logfire.pending_parent_id=0000000000000000"]);
    assert_eq!((root.span.span_id, root.span.parent_span_id), (12, 0));
    let child = open(
        &fields(3),
        &[pending, "logfire.pending_parent_id=000000000000000d", "peer.service=p"],
    );
    assert_eq!((child.span.span_id, child.span.parent_span_id), (12, 13));
    assert_eq!((child.span.target.as_str(), child.source), ("p", Source::PendingSpan));
    assert!(!child.span.parent_is_remote);
    // Its flags are about the pending span itself.
    let served = open(&fields(2), &[pending, "logfire.pending_parent_id=000000000000000d"]);
    assert!(served.span.parent_is_remote);
    // In Rust the attribute is left out of a root, and any other span of Logfire is what it seems.
    assert_eq!(open(&fields(1), &[pending]).span.parent_span_id, 0);
    assert_eq!(ended(r#""kind":1"#, &["logfire.span_type=span"]).span_id, 11);
}

#[test]
fn a_twin_speaks_of_its_sibling() {
    let twin = ["$span.partial=true", "$span.span_id=000000000000000c", "peer.service=p"];
    let read = read(
        r#""kind":3,"parentSpanId":"000000000000000d","endTimeUnixNano":"8""#,
        &twin,
    );
    assert!(read.finished.is_empty());
    let started = &read.started[0];
    assert_eq!((started.span.span_id, started.span.parent_span_id), (12, 13));
    assert_eq!(
        (started.span.target.as_str(), started.source),
        ("p", Source::PartialTwin)
    );
    assert_eq!(ended(r#""kind":3"#, &["$span.partial=false"]).span_id, 11);
}

#[test]
fn an_instance_is_shared_by_the_signals_of_a_resource() {
    let batch = read("", &[]);
    let instance = batch.instance(batch.started[0].instance).unwrap();
    assert_eq!((instance.service_name.as_str(), batch.instances.len()), ("s", 1));
}

#[test]
fn of_an_attribute_that_is_said_twice_the_last_counts_that_is_not_empty() {
    let twice = |first: &str, second: &str| {
        let said = [
            format!("error.type={first}"),
            format!("standoff.role={first}"),
            format!("error.type={second}"),
            format!("standoff.role={second}"),
        ];
        ended("\"kind\":1", &said.each_ref().map(String::as_str))
    };
    let outcomes = |said: Finished| (said.role, said.outcome);
    assert_eq!(outcomes(twice("timeout", "call")), (Role::Call, Outcome::Error));
    assert_eq!(outcomes(twice("call", "timeout")), (Role::Structural, Outcome::Timeout));
    assert_eq!(outcomes(twice("0", "")), (Role::Structural, Outcome::Finished));
    assert_eq!(outcomes(twice("", "handle")), (Role::Handle, Outcome::Error));
    assert_eq!(outcomes(twice("handle", "")), (Role::Handle, Outcome::Error));

    let names = ["messaging.conversation_id=older", "messaging.message.conversation_id="];
    assert_eq!(ended("\"kind\":5", &names).conversation_id.as_deref(), Some("older"));
    assert_eq!(open("\"kind\":5", &names).span.conversation_id, "older");
    let units = ["standoff.units=2", "standoff.units=3"];
    assert_eq!(open("\"kind\":3", &units).span.units, 3);
}

#[test]
fn the_only_link_of_a_consumer_stands_for_its_parent() {
    let link = |span: &str, flags: u32| {
        format!(r#"{{"traceId":"000000000000000000000000000000ee","spanId":"{span}","flags":{flags}}}"#)
    };
    let parent = |fields: &str, links: &[&str]| {
        let fields = format!(r#"{fields},"links":[{}]"#, links.join(","));
        let (open, ended) = (open(&fields, &[]), ended(&fields, &[]));
        let parent = (open.span.parent_span_id, open.span.parent_is_remote);
        assert_eq!((ended.parent_span_id, ended.parent_is_remote), parent);
        parent
    };
    let (one, other) = (&link("00000000000000aa", 0), &link("00000000000000bb", 0));
    for kind in [2, 5] {
        let kind = format!(r#""kind":{kind}"#);
        assert_eq!(parent(&kind, &[one]), (0xaa, true));
        let flags = format!(r#"{kind},"flags":256"#);
        assert_eq!(parent(&flags, &[one]), (0xaa, true), "they speak of a parent");
        let with_parent = format!(r#"{kind},"parentSpanId":"00000000000000cc""#);
        assert_eq!(parent(&with_parent, &[one]), (0xcc, true));
        assert_eq!(parent(&kind, &[one, other]), (0, false), "which of them?");
        assert_eq!(parent(&kind, &[&link("00000000000000aa", 0x300)]), (0xaa, true));
        assert_eq!(
            parent(&kind, &[&link("00000000000000aa", 0x100)]),
            (0, false),
            "in the same process"
        );
        assert_eq!(parent(&kind, &[&link("0000000000000000", 0)]), (0, false));
    }
    for kind in [0, 1, 3, 4] {
        assert_eq!(parent(&format!(r#""kind":{kind}"#), &[one]), (0, false));
    }
}

#[test]
fn whoever_polls_a_queue_waits_for_nobody_that_is_known() {
    for operation in ["receive", "process", "settle"] {
        for name in ["messaging.operation.type", "messaging.operation"] {
            let said = [
                "messaging.system=rabbitmq",
                "messaging.destination.name=q",
                &format!("{name}={operation}"),
            ];
            let span = open("\"kind\":3", &said).span;
            assert_eq!((span.role(), span.target.as_str()), (Role::Call, ""), "{operation}");
            let said = [&said[..], &["standoff.target=q"]].concat();
            assert_eq!(open("\"kind\":3", &said).span.target, "q", "unless it says so");
        }
    }
}
