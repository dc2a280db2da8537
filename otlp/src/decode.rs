//! From the bytes of a request to signals.

use crate::collect::{Collector, Decoded};
use crate::json::{self, Strictness};
use crate::protobuf;
use crate::wire::WireError;

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `application/x-protobuf`, and always over gRPC.
    Protobuf,
    /// `application/json`.
    Json,
}

/// A request that cannot be read. None of it counts.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is no protobuf message, or not of the kind that was expected.
    #[error("the request is not a protobuf message of its kind")]
    Protobuf(#[from] WireError),
    /// It is no JSON, or not of the shape that was expected.
    #[error("the request is not JSON of its kind")]
    Json(#[from] serde_json::Error),
}

/// Reads a request to export traces.
///
/// # Errors
///
/// If it cannot be read. Spans that make no sense are no error but are counted as rejected.
pub fn traces(request: &[u8], format: Format) -> Result<Decoded, DecodeError> {
    let mut out = Collector::new(request.len());
    match format {
        Format::Protobuf => protobuf::traces(request, &mut out)?,
        Format::Json => json::traces(request, Strictness::Otlp, &mut out)?,
    }
    Ok(out.finish())
}

/// Reads a request to export logs. Those that do not carry a span say nothing.
///
/// # Errors
///
/// If it cannot be read. A record that should carry a span and does not is no error but is counted as rejected.
pub fn logs(request: &[u8], format: Format) -> Result<Decoded, DecodeError> {
    let mut out = Collector::new(0);
    match format {
        Format::Protobuf => protobuf::logs(request, &mut out)?,
        Format::Json => json::logs(request, &mut out)?,
    }
    Ok(out.finish())
}
