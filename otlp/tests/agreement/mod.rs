//! What the reference decoder accepts is accepted here, and means the same.
//!
//! The reference is `opentelemetry-proto`, which builds the whole message. What follows from it is worked out as plainly
//! as can be, for spans without dialects; dialects have tests of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use standoff_otlp::limits::SPANS_PER_REQUEST_MAX;
use standoff_otlp::{DecodeError, Decoded, Format, Said, Sources, Times, logs, traces};
use standoff_protocol::stream::{MESSAGE_BYTES_MAX, TEXT_BYTES_MAX, check_ended, check_spans};

/// Any bytes as traces in protobuf.
pub(crate) fn protobuf_traces(bytes: &[u8]) {
    let ours = traces(bytes, Format::Protobuf);
    if let Ok(reference) = ExportTraceServiceRequest::decode(bytes) {
        agree(&reference, ours.as_ref().expect("the reference accepts it"));
    }
    pass_on(ours);
}

/// Any bytes as traces in JSON.
pub(crate) fn json_traces(bytes: &[u8]) {
    let ours = traces(bytes, Format::Json);
    // It takes more ids than there are, and so do we: those spans are rejected, by both counts.
    if let Ok(reference) = serde_json::from_slice::<ExportTraceServiceRequest>(bytes) {
        match &ours {
            Ok(ours) => agree(&reference, ours),
            Err(error) => assert!(is_message_as_list(error), "the reference accepts it: {error}"),
        }
    }
    pass_on(ours);
}

/// What is passed on of any request is as the native stream has it.
fn pass_on(decoded: Result<Decoded, DecodeError>) {
    let Ok(decoded) = decoded else {
        return;
    };
    let mut said = Vec::new();
    let (now, unix_now) = (Duration::from_secs(1), Duration::from_secs(1_795_247_863));
    let mut sources = Sources::new(Times::default(), 7);
    sources.take(now, unix_now, decoded.batch, &mut said);
    let mut open = sources.counts().open;
    for said in said {
        match said {
            Said::Came { hello, .. } => {
                let instance = hello.instance.expect("a hello names an instance");
                let names = [instance.instance_id, instance.service_name, instance.service_namespace];
                assert!(!names[0].is_empty() && names.iter().all(|name| name.len() <= TEXT_BYTES_MAX));
            }
            Said::Batch { batch, .. } => {
                assert_eq!(check_spans(&batch.started), Ok(()));
                assert_eq!(check_ended(&batch.ended), Ok(()));
                assert!(batch.finished.is_empty(), "nothing was open before");
                assert!(batch.encoded_len() <= MESSAGE_BYTES_MAX);
                open -= batch.started.len() as u64;
            }
            Said::Left { source } => unreachable!("{source:?} has just come"),
        }
    }
    assert_eq!(open, 0, "each was said once");
}

/// Whether a list stood where a message belongs. The reference takes it for the message's fields in their order, which is
/// what its derived code does with any structure and not a form that ProtoJSON knows.
fn is_message_as_list(error: &DecodeError) -> bool {
    matches!(error, DecodeError::Json(error) if error.to_string().starts_with("invalid type: sequence, expected an object"))
}

/// Any bytes as logs, in either format, and as the body of a partial span.
pub(crate) fn partial_spans(bytes: &[u8]) {
    let ours = logs(bytes, Format::Protobuf);
    if ExportLogsServiceRequest::decode(bytes).is_ok() {
        ours.as_ref().expect("the reference accepts it");
    }
    pass_on(ours);
    pass_on(logs(bytes, Format::Json));
    for event in ["heartbeat", "stop"] {
        let decoded = logs(&record(event, bytes), Format::Protobuf).expect("a record is one whatever its body");
        let signals = decoded.batch.started.len() + decoded.batch.finished.len();
        assert!(signals > 0 || decoded.rejected > 0, "nothing is dropped silently");
        assert!(
            event == "heartbeat" || decoded.batch.started.is_empty(),
            "it has stopped"
        );
        pass_on(Ok(decoded));
    }
}

/// A request of one log record that carries a span.
pub(crate) fn record(event: &str, body: &[u8]) -> Vec<u8> {
    let event = field(1, event.as_bytes());
    let attribute = [field(1, b"partial.event"), field(2, &event)].concat();
    let record = [field(5, &field(1, body)), field(6, &attribute)].concat();
    field(1, &field(2, &field(2, &record)))
}

/// A field of some bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend(bytes);
    field
}

/// The id of a parent, and whether it is remote.
type Parent = (u64, bool);

/// The ids of one span.
type Facts = (u128, u64, Parent);

fn agree(reference: &ExportTraceServiceRequest, ours: &Decoded) {
    let spans: Vec<&Span> = reference
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .collect();
    if spans.len() > SPANS_PER_REQUEST_MAX || spans.iter().any(|span| is_dialect(span)) {
        return;
    }
    let mut rejected = 0;
    let mut ended: Vec<Facts> = Vec::new();
    let mut open: BTreeMap<(u128, u64), (&Span, Parent)> = BTreeMap::new();
    for span in spans {
        let trace = <[u8; 16]>::try_from(span.trace_id.as_slice()).map_or(0, u128::from_be_bytes);
        let id = <[u8; 8]>::try_from(span.span_id.as_slice()).map_or(0, u64::from_be_bytes);
        let parent = match span.parent_span_id.as_slice() {
            [] => Some(0),
            bytes => bytes.try_into().map(u64::from_be_bytes).ok(),
        };
        let Some(parent) = parent.filter(|_| trace != 0 && id != 0) else {
            rejected += 1;
            continue;
        };
        let parent = match linked(span) {
            Some(linked) if parent == 0 => (linked, true),
            _ => (parent, is_remote(span, parent)),
        };
        if span.end_time_unix_nano != 0 {
            ended.push((trace, id, parent));
        } else {
            open.entry((trace, id)).or_insert((span, parent));
        }
    }
    for (trace, id, _) in &ended {
        open.remove(&(*trace, *id));
    }
    assert_eq!(ours.rejected, rejected);
    let finished: Vec<Facts> = ours
        .batch
        .finished
        .iter()
        .map(|span| {
            (
                span.trace_id,
                span.span_id,
                (span.parent_span_id, span.parent_is_remote),
            )
        })
        .collect();
    assert_eq!(finished, ended);
    assert_eq!(ours.batch.started.len(), open.len());
    for started in &ours.batch.started {
        let trace = started
            .span
            .trace_id
            .as_slice()
            .try_into()
            .map(u128::from_be_bytes)
            .expect("16 bytes");
        let (span, parent) = open[&(trace, started.span.span_id)];
        assert_eq!(started.start_time_unix_nano, span.start_time_unix_nano);
        assert_eq!((started.span.parent_span_id, started.span.parent_is_remote), parent);
        let name = &span.name[..span.name.floor_char_boundary(1024)];
        assert_eq!(started.span.name, name);
        assert!(ours.batch.instance(started.instance).is_some());
    }
}

fn is_remote(span: &Span, parent: u64) -> bool {
    let is_remote = if span.flags & 0x100 != 0 {
        span.flags & 0x200 != 0
    } else {
        span.kind == 2 || span.kind == 5
    };
    parent != 0 && is_remote
}

/// What stands for the parent of a server or consumer span without one: the only span that it links to, unless that is in
/// the same process.
fn linked(span: &Span) -> Option<u64> {
    let [link] = span.links.as_slice() else {
        return None;
    };
    let linked = <[u8; 8]>::try_from(link.span_id.as_slice()).map_or(0, u64::from_be_bytes);
    let is_local = link.flags & 0x300 == 0x100;
    (matches!(span.kind, 2 | 5) && !is_local && linked != 0).then_some(linked)
}

fn is_dialect(span: &Span) -> bool {
    span.attributes
        .iter()
        .any(|attribute| matches!(attribute.key.as_str(), "$span.partial" | "logfire.span_type"))
}
