//! The messages of answers: success, partial success, and `google.rpc.Status`.
//!
//! Written by hand since there are six of them; the numbers are those of the `.proto` files of OpenTelemetry and of
//! `google/rpc`.

use std::time::Duration;

use prost::Message;
use serde_json::{Value, json};

use crate::decode::Format;
use crate::limits::MESSAGE_BYTES_MAX;

/// `ExportTraceServiceResponse`, and those of logs and metrics, which differ in nothing but a name.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.BadRequest`.
#[derive(Clone, PartialEq, Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<FieldViolation>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldViolation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// What has been accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Spans or records that were not.
    pub(crate) rejected: u64,
    /// Why.
    pub(crate) reason: String,
}

impl Accepted {
    /// The answer to a request, which names what was rejected `rejected_name` in JSON. If nothing was, it is empty.
    pub(crate) fn encode(&self, format: Format, rejected_name: &str) -> Vec<u8> {
        let reason = cut(&self.reason);
        match (format, self.rejected) {
            (Format::Protobuf, 0) => Vec::new(),
            (Format::Protobuf, rejected) => ExportResponse {
                partial_success: Some(PartialSuccess {
                    rejected: i64::try_from(rejected).unwrap_or(i64::MAX),
                    error_message: reason.to_owned(),
                }),
            }
            .encode_to_vec(),
            (Format::Json, 0) => b"{}".to_vec(),
            // Numbers of 64 bits are texts.
            (Format::Json, rejected) => {
                let partial = json!({ rejected_name: rejected.to_string(), "errorMessage": reason });
                json!({ "partialSuccess": partial }).to_string().into_bytes()
            }
        }
    }
}

/// What a `google.rpc.Status` says beside code and message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Nothing,
    /// The request is at fault, as the message says.
    BadRequest,
    /// Try again.
    RetryAfter(Duration),
}

/// A `google.rpc.Status`.
pub(crate) fn encode(format: Format, code: tonic::Code, message: &str, detail: Detail) -> Vec<u8> {
    let message = cut(message);
    match format {
        Format::Protobuf => Status {
            code: code as i32,
            message: message.to_owned(),
            details: any(message, detail).into_iter().collect(),
        }
        .encode_to_vec(),
        Format::Json => {
            let details: Vec<Value> = match detail {
                Detail::Nothing => Vec::new(),
                Detail::BadRequest => vec![json!({
                    "@type": BAD_REQUEST,
                    "fieldViolations": [{ "field": "", "description": message }],
                })],
                Detail::RetryAfter(delay) => vec![json!({
                    "@type": RETRY_INFO,
                    "retryDelay": format!("{}s", delay.as_secs_f64()),
                })],
            };
            json!({ "code": code as i32, "message": message, "details": details })
                .to_string()
                .into_bytes()
        }
    }
}

fn any(message: &str, detail: Detail) -> Option<Any> {
    let (type_url, value) = match detail {
        Detail::Nothing => return None,
        Detail::BadRequest => {
            let violation = FieldViolation {
                field: String::new(),
                description: message.to_owned(),
            };
            let bad_request = BadRequest {
                field_violations: vec![violation],
            };
            (BAD_REQUEST, bad_request.encode_to_vec())
        }
        Detail::RetryAfter(delay) => {
            let retry_delay = Some(Delay {
                seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(delay.subsec_nanos()).unwrap_or(0),
            });
            (RETRY_INFO, RetryInfo { retry_delay }.encode_to_vec())
        }
    };
    Some(Any {
        type_url: type_url.to_owned(),
        value,
    })
}

fn cut(message: &str) -> &str {
    let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
    message.get(..end).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_an_empty_message() {
        let accepted = Accepted::default();
        assert_eq!(accepted.encode(Format::Protobuf, "rejectedSpans"), b"");
        assert_eq!(accepted.encode(Format::Json, "rejectedSpans"), b"{}");
    }

    #[test]
    fn no_answer_is_long() {
        let accepted = Accepted {
            rejected: u64::MAX,
            reason: "ä".repeat(1 << 20),
        };
        let status = |format| encode(format, tonic::Code::Internal, &accepted.reason, Detail::BadRequest);
        for format in [Format::Protobuf, Format::Json] {
            assert!(accepted.encode(format, "rejectedSpans").len() < 4096);
            assert!(status(format).len() < 8192);
        }
    }
}
