//! The requests that are sent: spans as HTTP servers make them.
//!
//! A request is encoded once. Each time it is sent, a copy gets new ids, written over those that it was encoded with; so
//! a server never sees a span twice, and making requests costs next to nothing. Compressed requests cannot be written
//! over: of those there are some, which are sent in turns.

use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::body::Bytes;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;

use super::ids::{Id, Number, Numbers};
use crate::cli::{Compression, Protocol};

/// What a request is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Spans in a request.
    pub(super) spans: u32,
    /// How many of them have not ended. As many more are the ends of those of the request before.
    pub(super) open: u32,
    /// How many attributes each has.
    pub(super) attributes: u32,
}

impl Shape {
    /// The spans that are neither open nor the end of such a one.
    pub(super) fn ordinary(self) -> Range<u32> {
        (self.open * 2).min(self.spans)..self.spans
    }
}

/// Compressed requests that are sent in turns: thirty thousand spans with batches of 512, and they are made in a moment.
const COMPRESSED: u32 = 64;

/// Eight texts, so that a span has about 350 bytes. Further attributes have the same values.
const ATTRIBUTES: [(&str, &str); 8] = [
    ("http.request.method", "POST"),
    ("http.route", "/api/v1/orders/{id}"),
    ("url.scheme", "https"),
    ("url.path", "/api/v1/orders/84213"),
    ("server.address", "orders.example"),
    ("client.address", "10.42.17.203"),
    ("network.protocol.version", "1.1"),
    ("user_agent.original", "okhttp/4"),
];

/// The tree that every five ordinary spans form, in the order of their ends: kind, and whose child it is.
const TREE: [(SpanKind, Above); 5] = [
    (SpanKind::Client, Above::Fellow(1)),
    (SpanKind::Internal, Above::Fellow(3)),
    (SpanKind::Producer, Above::Fellow(3)),
    (SpanKind::Server, Above::Caller),
    (SpanKind::Consumer, Above::Fellow(2)),
];

#[derive(Clone, Copy)]
enum Above {
    /// A call in a service of which nothing is sent.
    Caller,
    /// The span at this place of the same tree.
    Fellow(u32),
}

/// Requests of one shape, of which there are always more.
#[derive(Debug)]
pub(super) enum Requests {
    /// Of this pattern, with new ids.
    New { pattern: Pattern, numbers: Numbers },
    /// These in turns.
    Again { bodies: Vec<Bytes>, next: AtomicUsize },
}

impl Requests {
    pub(super) fn new(shape: Shape, protocol: Protocol, compression: Compression) -> anyhow::Result<Self> {
        let pattern = Pattern::new(shape, protocol)?;
        let numbers = Numbers::new(u64::from(shape.spans));
        if compression == Compression::None {
            return Ok(Requests::New { pattern, numbers });
        }
        let mut previous = numbers.take();
        let bodies = (0..COMPRESSED).map(|_| {
            let this = numbers.take();
            let body = pattern.request(this, previous);
            previous = this;
            compressed(&body, protocol)
        });
        Ok(Requests::Again {
            bodies: bodies.collect::<Result<_, _>>()?,
            next: AtomicUsize::new(0),
        })
    }

    /// The next request of a sender. `previous` is the sender's own, and names the request before.
    pub(super) fn next(&self, previous: &mut Option<u64>) -> Bytes {
        match self {
            Requests::New { pattern, numbers } => {
                let this = numbers.take();
                let before = previous.replace(this).unwrap_or_else(|| numbers.take());
                pattern.request(this, before).into()
            }
            Requests::Again { bodies, next } => {
                let next = next.fetch_add(1, Ordering::Relaxed);
                bodies.get(next % bodies.len().max(1)).cloned().unwrap_or_default()
            }
        }
    }

    /// Bytes on the wire for a span, without what HTTP adds.
    pub(super) fn bytes_per_span(&self, shape: Shape) -> usize {
        let bytes = match self {
            Requests::New { pattern, .. } => pattern.bytes.len(),
            Requests::Again { bodies, .. } => bodies.iter().map(Bytes::len).sum::<usize>() / bodies.len().max(1),
        };
        bytes / shape.spans.max(1) as usize
    }
}

/// A request, and where its ids are.
#[derive(Debug)]
pub(super) struct Pattern {
    bytes: Vec<u8>,
    ids: Vec<(usize, Id)>,
    is_text: bool,
}

/// What the ids of a pattern are found by.
const MARKS: [u64; 2] = [1 << 40, 1 << 41];

impl Pattern {
    fn new(shape: Shape, protocol: Protocol) -> anyhow::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut ids = Vec::new();
        let mut spans = Vec::new();
        for index in 0..shape.spans {
            let (span, its_ids) = span(shape, index, now);
            spans.push(span);
            ids.extend(its_ids);
        }
        let request = request(spans);
        let is_text = protocol == Protocol::Json;
        let mut bytes = if protocol == Protocol::Grpc {
            vec![0; FRAME]
        } else {
            Vec::new()
        };
        if is_text {
            serde_json::to_writer(&mut bytes, &request)?;
        } else {
            request.encode(&mut bytes)?;
        }
        if protocol == Protocol::Grpc {
            frame(&mut bytes, false)?;
        }
        let ids = places(&bytes, ids, is_text)?;
        Ok(Pattern { bytes, ids, is_text })
    }

    fn request(&self, this: u64, previous: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for (at, id) in &self.ids {
            let value = id.value(this, previous);
            if let Some(place) = bytes.get_mut(*at..*at + id.len(self.is_text)) {
                id.write(value, self.is_text, place);
            }
        }
        bytes
    }
}

/// Finds the ids, which are encoded in this order.
fn places(bytes: &[u8], ids: Vec<Id>, is_text: bool) -> anyhow::Result<Vec<(usize, Id)>> {
    let [this, previous] = MARKS;
    let mut from = 0;
    let mut placed = Vec::with_capacity(ids.len());
    for id in ids {
        let mut mark = vec![0; id.len(is_text)];
        id.write(id.value(this, previous), is_text, &mut mark);
        let rest = bytes.get(from..).unwrap_or_default();
        let at = rest.windows(mark.len()).position(|it| it == mark);
        let at = from + at.context("an id is not where it was encoded")?;
        from = at + mark.len();
        placed.push((at, id));
    }
    Ok(placed)
}

/// Where a span of a request stands among the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) number: Number,
    /// The span whose number its trace has.
    root: Number,
    pub(super) kind: SpanKind,
    pub(super) above: Id,
}

impl Place {
    pub(super) fn of(shape: Shape, index: u32) -> Self {
        let ordinary = shape.ordinary();
        if index < ordinary.start {
            let number = match index.checked_sub(shape.open) {
                None => Number::This(index),
                Some(index) => Number::Previous(index),
            };
            return Place {
                number,
                root: number,
                kind: SpanKind::Client,
                above: Id::Caller(number),
            };
        }
        let at = (index - ordinary.start) % 5;
        let (kind, above) = TREE
            .get(at as usize)
            .copied()
            .unwrap_or((SpanKind::Internal, Above::Caller));
        let (number, root) = (Number::This(index), Number::This(index - at));
        let above = match above {
            Above::Caller => Id::Caller(number),
            Above::Fellow(fellow) => Id::Span(Number::This(index - at + fellow)),
        };
        Place {
            number,
            root,
            kind,
            above,
        }
    }

    pub(super) fn is_remote(self) -> bool {
        matches!(self.kind, SpanKind::Server | SpanKind::Consumer)
    }
}

fn span(shape: Shape, index: u32, now: Duration) -> (Span, [Id; 3]) {
    let place = Place::of(shape, index);
    let ids = [Id::Trace(place.root), Id::Span(place.number), place.above];
    let [trace, this, parent] = ids.map(|id| {
        let mut bytes = vec![0; id.len(false)];
        id.write(id.value(MARKS[0], MARKS[1]), false, &mut bytes);
        bytes
    });
    let start = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX) + u64::from(index);
    let attributes = ATTRIBUTES.iter().cycle().take(shape.attributes as usize).enumerate();
    let span = Span {
        trace_id: trace,
        span_id: this,
        parent_span_id: parent,
        name: "POST /orders".to_owned(),
        kind: place.kind.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: if index < shape.open { 0 } else { start + 3_000_000 },
        attributes: attributes
            .map(|(number, (key, value))| match number / ATTRIBUTES.len() {
                0 => attribute(key, value),
                again => attribute(&format!("{key}.{again}"), value),
            })
            .collect(),
        status: Some(Status::default()),
        flags: if place.is_remote() { 0x301 } else { 0x101 },
        ..Span::default()
    };
    (span, ids)
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: "io.opentelemetry.tomcat-10.0".to_owned(),
        version: "2.12.0".to_owned(),
        ..InstrumentationScope::default()
    };
    let resource = Resource {
        attributes: vec![
            attribute("service.name", "orders"),
            attribute("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09"),
            attribute("host.name", "ip-10-42-17-203"),
            attribute("telemetry.sdk.language", "java"),
        ],
        ..Resource::default()
    };
    let scope_spans = ScopeSpans {
        scope: Some(scope),
        spans,
        ..ScopeSpans::default()
    };
    let resource_spans = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![resource_spans],
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

/// What gRPC puts before a message: whether it is compressed, and its length.
const FRAME: usize = 5;

/// Writes the frame into the bytes that were left for it.
fn frame(bytes: &mut [u8], is_compressed: bool) -> anyhow::Result<()> {
    let len = u32::try_from(bytes.len().saturating_sub(FRAME))?.to_be_bytes();
    let [compressed, rest @ ..] = bytes else {
        anyhow::bail!("there is no room for a frame");
    };
    *compressed = u8::from(is_compressed);
    rest.get_mut(..4)
        .context("there is no room for a frame")?
        .copy_from_slice(&len);
    Ok(())
}

fn compressed(request: &[u8], protocol: Protocol) -> anyhow::Result<Bytes> {
    let is_framed = protocol == Protocol::Grpc;
    let (before, message) = request
        .split_at_checked(if is_framed { FRAME } else { 0 })
        .unwrap_or_default();
    let mut encoder = GzEncoder::new(before.to_vec(), flate2::Compression::default());
    encoder.write_all(message)?;
    let mut bytes = encoder.finish()?;
    if is_framed {
        frame(&mut bytes, true)?;
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SHAPE: Shape = Shape {
        spans: 20,
        open: 3,
        attributes: 8,
    };

    fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
        let spans = request.resource_spans.into_iter().flat_map(|it| it.scope_spans);
        spans.flat_map(|it| it.spans).collect()
    }

    fn ids<'a>(spans: impl IntoIterator<Item = &'a Span>) -> BTreeSet<Vec<u8>> {
        spans.into_iter().map(|span| span.span_id.clone()).collect()
    }

    #[test]
    fn each_request_has_ids_of_its_own_and_the_ends_of_the_one_before() {
        let requests = Requests::new(SHAPE, Protocol::Http, Compression::None).unwrap();
        let mut previous = None;
        let [first, second] = [(), ()].map(|()| {
            let body = requests.next(&mut previous);
            spans(ExportTraceServiceRequest::decode(body).unwrap())
        });
        assert_eq!((first.len(), second.len()), (20, 20));
        let is_open = |span: &&Span| span.end_time_unix_nano == 0;
        let open = ids(first.iter().filter(is_open));
        assert_eq!(open.len(), 3);
        let repeated: BTreeSet<Vec<u8>> = ids(&first).intersection(&ids(&second)).cloned().collect();
        assert_eq!(repeated, open);
        assert_eq!(ids(second.iter().filter(is_open)).intersection(&open).count(), 0);
        let with_parent_here = |spans: &[Span]| {
            let here = ids(spans);
            spans.iter().filter(|span| here.contains(&span.parent_span_id)).count()
        };
        assert_eq!(
            with_parent_here(&first),
            11,
            "of two trees four each, and three of the four that are left"
        );
    }

    #[test]
    fn protobuf_and_json_say_the_same() {
        let [protobuf, json] = [Protocol::Http, Protocol::Json].map(|it| Pattern::new(SHAPE, it).unwrap());
        let protobuf = spans(ExportTraceServiceRequest::decode(&protobuf.request(7, 8)[..]).unwrap());
        let json = spans(serde_json::from_slice(&json.request(7, 8)).unwrap());
        assert_eq!(ids(&protobuf), ids(&json));
        assert_eq!(protobuf.len(), json.len());
    }

    #[test]
    fn a_span_has_the_bytes_that_are_promised() {
        let shape = Shape {
            spans: 100,
            open: 0,
            attributes: 8,
        };
        let requests = Requests::new(shape, Protocol::Grpc, Compression::None).unwrap();
        assert!(
            (340..=360).contains(&requests.bytes_per_span(shape)),
            "{}",
            requests.bytes_per_span(shape)
        );
    }

    #[test]
    fn compressed_requests_are_framed_anew() {
        let requests = Requests::new(SHAPE, Protocol::Grpc, Compression::Gzip).unwrap();
        let body = requests.next(&mut None);
        assert_eq!(body[0], 1);
        let len = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        assert_eq!(len, body.len() - 5);
        let mut message = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[5..]), &mut message).unwrap();
        assert_eq!(
            spans(ExportTraceServiceRequest::decode(&message[..]).unwrap()).len(),
            20
        );
    }
}
