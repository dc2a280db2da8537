//! What a server says to a request.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::{Code, Status};

use crate::cli::Protocol;

/// What a server says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has taken all spans but so many.
    Accepted { rejected: u64 },
    /// It has no room now. The request is to be sent again after this time.
    ComeAgain(Duration),
    /// It will never take this request.
    Refused(String),
}

/// When to come again if the server does not say.
const COME_AGAIN_AFTER: Duration = Duration::from_millis(100);

impl Answer {
    /// Of gRPC. `body` is what came before the trailers, with its frame.
    pub(super) fn of_grpc(status: &Status, body: &[u8]) -> Self {
        match status.code() {
            Code::Ok => Self::accepted(body.get(5..).unwrap_or_default()),
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => Answer::ComeAgain(retry_delay(status).unwrap_or(COME_AGAIN_AFTER)),
            Code::ResourceExhausted => match retry_delay(status) {
                Some(delay) => Answer::ComeAgain(delay),
                None => Answer::Refused(status.to_string()),
            },
            Code::Unknown
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::Internal
            | Code::Unauthenticated => Answer::Refused(status.to_string()),
        }
    }

    /// Of HTTP.
    pub(super) fn of_http(status: StatusCode, headers: &HeaderMap, body: &Bytes, protocol: Protocol) -> Self {
        match status.as_u16() {
            200..=299 if protocol == Protocol::Json => Self::accepted_json(body),
            200..=299 => Self::accepted(body),
            429 | 502 | 503 | 504 => {
                let after = headers.get("retry-after").and_then(|it| it.to_str().ok()?.parse().ok());
                Answer::ComeAgain(after.map_or(COME_AGAIN_AFTER, Duration::from_secs))
            }
            _ => Answer::Refused(format!("{status}: {}", String::from_utf8_lossy(body))),
        }
    }

    fn accepted(message: &[u8]) -> Self {
        let rejected = match ExportTraceServiceResponse::decode(message) {
            Ok(response) => response.partial_success.map_or(0, |it| it.rejected_spans),
            Err(error) => return Answer::Refused(format!("the answer cannot be read: {error}")),
        };
        Answer::Accepted {
            rejected: rejected.try_into().unwrap_or(0),
        }
    }

    fn accepted_json(body: &[u8]) -> Self {
        let response: serde_json::Value = match serde_json::from_slice(body) {
            Ok(response) => response,
            Err(error) => return Answer::Refused(format!("the answer cannot be read: {error}")),
        };
        let rejected = response.pointer("/partialSuccess/rejectedSpans");
        // Numbers of 64 bits are texts, unless somebody writes them as numbers.
        let rejected = rejected.and_then(|it| it.as_u64().or_else(|| it.as_str()?.parse().ok()));
        Answer::Accepted {
            rejected: rejected.unwrap_or(0),
        }
    }
}

/// `google.rpc.Status`, as far as it matters here.
#[derive(Clone, PartialEq, Message)]
struct Details {
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

fn retry_delay(status: &Status) -> Option<Duration> {
    let details = Details::decode(status.details()).ok()?.details;
    let info = details
        .iter()
        .find(|it| it.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    Some(Duration::new(
        delay.seconds.try_into().ok()?,
        delay.nanos.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry_info() -> Bytes {
        let info = RetryInfo {
            retry_delay: Some(Delay { seconds: 2, nanos: 5 }),
        };
        let any = Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
            value: info.encode_to_vec(),
        };
        Details { details: vec![any] }.encode_to_vec().into()
    }

    #[test]
    fn who_is_full_says_when_to_come_again() {
        let delay = Duration::new(2, 5);
        for (code, expected) in [(Code::Unavailable, delay), (Code::ResourceExhausted, delay)] {
            let status = Status::with_details(code, "full", retry_info());
            assert_eq!(Answer::of_grpc(&status, &[]), Answer::ComeAgain(expected));
        }
        assert_eq!(
            Answer::of_grpc(&Status::unavailable("full"), &[]),
            Answer::ComeAgain(COME_AGAIN_AFTER)
        );
        let too_large = Answer::of_grpc(&Status::resource_exhausted("too large"), &[]);
        assert!(matches!(too_large, Answer::Refused(_)), "without RetryInfo it is final");
        let headers = HeaderMap::from_iter([("retry-after".parse().unwrap(), "7".parse().unwrap())]);
        assert_eq!(
            Answer::of_http(StatusCode::SERVICE_UNAVAILABLE, &headers, &Bytes::new(), Protocol::Http),
            Answer::ComeAgain(Duration::from_secs(7))
        );
    }

    #[test]
    fn what_is_rejected_is_counted() {
        let json = Bytes::from_static(br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}"#);
        let answer = |body: &Bytes| Answer::of_http(StatusCode::OK, &HeaderMap::new(), body, Protocol::Json);
        assert_eq!(answer(&json), Answer::Accepted { rejected: 3 });
        assert_eq!(answer(&Bytes::from_static(b"{}")), Answer::Accepted { rejected: 0 });
        assert!(matches!(answer(&Bytes::from_static(b"?")), Answer::Refused(_)));
        let framed = [0, 0, 0, 0, 4, 0x0a, 2, 0x08, 5];
        assert_eq!(
            Answer::of_grpc(&Status::ok(""), &framed),
            Answer::Accepted { rejected: 5 }
        );
    }
}
