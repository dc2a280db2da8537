//! What a span costs the receiver, beside a bare sink: tonic and prost that decode the same requests and drop them.
//!
//! `cargo bench -p standoff-otlp`. Two tables are printed, in which all columns of a row were measured in turns in one run:
//! the decoders alone, and ours with [`Sources`] behind it; and servers over gRPC on one thread each, of which the time on
//! the processor is counted. The third server is ours where it takes requests and does not decode them, which is what
//! HTTP/2 costs.

#![expect(clippy::unwrap_used, reason = "a benchmark may fail like a test")]

mod requests;
mod servers;

use std::hint::black_box;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use standoff_otlp::{Format, Said, Sources, Times, traces};

use crate::requests::Shape;
use crate::servers::{Bare, Ignoring, Ours, Server};

/// Each column of a row is measured so often, in turns, and the median counts.
const ROUNDS: usize = 7;
/// Each measurement takes so long.
const ROUND: Duration = Duration::from_millis(400);

const SHAPES: [Shape; 4] = [
    Shape { spans: 100, open: 0 },
    Shape { spans: 512, open: 0 },
    Shape { spans: 100, open: 1 },
    Shape { spans: 512, open: 5 },
];

fn main() {
    decoders();
    say("");
    servers();
}

fn decoders() {
    say("Decoders alone, and with what follows to the messages of the native stream; spans per CPU-second:");
    say("");
    say(
        "| batch | open spans | bytes per span | prost | ours | ratio | ours with sources | ratio | prost: ns per span | ours: ns per span | of sources |",
    );
    say("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for shape in SHAPES {
        let request = requests::request(shape);
        let mut measured = [Vec::new(), Vec::new(), Vec::new()];
        let mut passing_on = PassingOn::new();
        for _ in 0..ROUNDS {
            let [prost, ours, with_sources] = &mut measured;
            prost.push(time(&request, shape, |bytes| {
                black_box(ExportTraceServiceRequest::decode(bytes).unwrap());
            }));
            ours.push(time(&request, shape, |bytes| {
                black_box(traces(bytes, Format::Protobuf).unwrap());
            }));
            with_sources.push(time(&request, shape, |bytes| passing_on.take(bytes)));
        }
        let [prost, ours, with_sources] = measured.map(median);
        say(&format!(
            "| {} | {} | {} | {:.0} | {:.0} | {:.1} | {:.0} | {:.1} | {prost:.0} | {ours:.0} | {:.0} |",
            shape.spans,
            shape.open,
            request.len() / shape.spans,
            1e9 / prost,
            1e9 / ours,
            prost / ours,
            1e9 / with_sources,
            prost / with_sources,
            with_sources - ours,
        ));
    }
}

/// Decodes, and says what the native stream would.
struct PassingOn {
    sources: Sources,
    said: Vec<Said>,
    requests: u64,
}

impl PassingOn {
    fn new() -> Self {
        PassingOn {
            sources: Sources::new(Times::default(), 7),
            said: Vec::new(),
            requests: 0,
        }
    }

    fn take(&mut self, request: &[u8]) {
        let mut batch = traces(request, Format::Protobuf).unwrap().batch;
        // Other spans each time, so that what is remembered of them is spread as it is in life.
        self.requests += 1;
        for finished in &mut batch.finished {
            finished.span_id = finished.span_id.wrapping_add(self.requests << 20);
        }
        for started in &mut batch.started {
            started.span.span_id = started.span.span_id.wrapping_add(self.requests << 20);
        }
        let now = Duration::from_millis(self.requests);
        self.sources
            .take(now, Duration::from_nanos(requests::START), batch, &mut self.said);
        black_box(&self.said);
        self.said.clear();
    }
}

/// Nanoseconds on the processor for a span.
fn time(request: &[u8], shape: Shape, mut decode: impl FnMut(&[u8])) -> f64 {
    let begun = servers::on_processor();
    let mut spans = 0;
    loop {
        for _ in 0..16 {
            decode(black_box(request));
        }
        spans += 16 * shape.spans;
        let taken = servers::on_processor() - begun;
        if taken >= ROUND / 4 {
            return taken.as_nanos() as f64 / spans as f64;
        }
    }
}

fn servers() {
    let bare = Server::start::<Bare>();
    let ours = Server::start::<Ours>();
    let ignoring = Server::start::<Ignoring>();
    say("Servers over gRPC, spans per CPU-second of the server:");
    say("");
    say(
        "| batch | open spans | tonic + prost | ours | ratio | tonic + prost: ns per span | ours: ns per span | of it HTTP/2 |",
    );
    say("|--:|--:|--:|--:|--:|--:|--:|--:|");
    for shape in SHAPES {
        let request = requests::request(shape);
        let mut measured = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (server, results) in [&bare, &ours, &ignoring].into_iter().zip(&mut measured) {
                results.push(server.measure(&request, shape.spans, ROUND));
            }
        }
        let [bare, ours, ignoring] = measured.map(median);
        say(&format!(
            "| {} | {} | {:.0} | {:.0} | {:.1} | {bare:.0} | {ours:.0} | {:.0} % |",
            shape.spans,
            shape.open,
            1e9 / bare,
            1e9 / ours,
            bare / ours,
            100.0 * ignoring / ours,
        ));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints a line of the result.
#[expect(clippy::print_stdout, reason = "a benchmark is there to print")]
fn say(line: &str) {
    println!("{line}");
}
