//! What OTLP 1.11 asks of a receiver, point by point. The table in the documentation of the crate names these tests.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail like tests")]

mod answers;
mod json;
mod requests;
mod spans;
#[path = "../support/mod.rs"]
mod support;

use opentelemetry_proto::tonic::trace::v1::Span;
use standoff_otlp::Settings;
use standoff_protocol::stream::Role;

use support::{Answer, json_span, open_span, serve};

const JSON: (&str, &str) = ("content-type", "application/json");
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

/// A limit that a request of a few thousand bytes exceeds.
fn small() -> Settings {
    Settings {
        request_bytes_max: 4096,
        ..Settings::default()
    }
}

fn long_span() -> Span {
    Span {
        name: "x".repeat(5000),
        ..open_span()
    }
}

/// What is said of one span in JSON: its kind and times, if it is accepted at all.
async fn json_said(fields: &str) -> Result<(u16, Role, u64, bool), Answer> {
    let mut served = serve().await;
    let answer = served.post_json(json_span(fields)).await;
    if answer.status != 200 || answer.body != "{}" {
        return Err(answer);
    }
    let batch = served.batch().await;
    Ok(match (batch.started.first(), batch.finished.first()) {
        (Some(open), None) => (answer.status, open.span.role(), open.start_time_unix_nano, true),
        (None, Some(ended)) => (answer.status, ended.role, 0, false),
        _ => panic!("one span, one signal: {batch:?}"),
    })
}
