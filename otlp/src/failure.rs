//! Why a request is refused, and how that is said: over gRPC by a code, over HTTP by another one, and in both by a
//! `google.rpc.Status`. Which of them a client may repeat is what the codes are for.

use std::time::Duration;

use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use tonic::Code;

use crate::compression::NAMES;
use crate::decode::DecodeError;
use crate::status::Detail;

/// A request that is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the request is longer than {bytes_max} bytes{}", if *decompressed { ", decompressed" } else { "" })]
    TooLarge { bytes_max: usize, decompressed: bool },
    #[error("{}", chain(.0))]
    Undecodable(#[from] DecodeError),
    #[error("the request cannot be decompressed: {0}")]
    Compressed(std::io::Error),
    #[error("{0}")]
    Framing(&'static str),
    #[error("there is no room now for another request")]
    NoRoom { retry_after: Duration },
    #[error("the receiver is shutting down")]
    ShuttingDown { retry_after: Duration },
    #[error("content encoding \"{0}\" is not understood; {NAMES} are")]
    Encoding(String),
    #[error("content type \"{0}\" is not understood; application/x-protobuf and application/json are")]
    MediaType(String),
    #[error("the request did not arrive within {0:?}")]
    Slow(Duration),
    #[error("the request broke off")]
    Broken,
    #[error("there is nothing at {0}")]
    NotFound(String),
    #[error("only POST is understood here")]
    Method,
}

/// An error with its causes, in one line.
fn chain(error: &DecodeError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

impl Failure {
    /// The code over gRPC. Of these, clients repeat a request for `Unavailable`, `DeadlineExceeded` and `Cancelled`
    /// alone; `ResourceExhausted` they would with a `RetryInfo`, which it has not.
    pub(crate) fn code(&self) -> Code {
        match self {
            Failure::TooLarge { .. } => Code::ResourceExhausted,
            Failure::Undecodable(_) | Failure::Compressed(_) | Failure::Framing(_) | Failure::MediaType(_) => {
                Code::InvalidArgument
            }
            Failure::NoRoom { .. } | Failure::ShuttingDown { .. } => Code::Unavailable,
            Failure::Encoding(_) | Failure::NotFound(_) | Failure::Method => Code::Unimplemented,
            Failure::Slow(_) => Code::DeadlineExceeded,
            Failure::Broken => Code::Cancelled,
        }
    }

    /// The same over HTTP, where 503 alone is repeated.
    pub(crate) fn http_status(&self) -> StatusCode {
        match self {
            Failure::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::Undecodable(_) | Failure::Compressed(_) | Failure::Framing(_) | Failure::Broken => {
                StatusCode::BAD_REQUEST
            }
            Failure::NoRoom { .. } | Failure::ShuttingDown { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Encoding(_) | Failure::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Failure::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Failure::NotFound(_) => StatusCode::NOT_FOUND,
            Failure::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// What the status says beside code and message.
    pub(crate) fn detail(&self) -> Detail {
        match self {
            Failure::Undecodable(_) | Failure::Compressed(_) | Failure::Framing(_) => Detail::BadRequest,
            Failure::NoRoom { retry_after } | Failure::ShuttingDown { retry_after } => Detail::RetryAfter(*retry_after),
            Failure::TooLarge { .. }
            | Failure::Encoding(_)
            | Failure::MediaType(_)
            | Failure::Slow(_)
            | Failure::Broken
            | Failure::NotFound(_)
            | Failure::Method => Detail::Nothing,
        }
    }

    /// The header that goes with it over HTTP.
    pub(crate) fn http_header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Failure::NoRoom { retry_after } | Failure::ShuttingDown { retry_after } => {
                // Whole seconds, and 0 would be at once.
                let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
                Some((header::RETRY_AFTER, seconds.max(1).into()))
            }
            Failure::Encoding(_) => Some((header::ACCEPT_ENCODING, HeaderValue::from_static(NAMES))),
            Failure::Method => Some((header::ALLOW, HeaderValue::from_static("POST"))),
            Failure::TooLarge { .. }
            | Failure::Undecodable(_)
            | Failure::Compressed(_)
            | Failure::Framing(_)
            | Failure::MediaType(_)
            | Failure::Slow(_)
            | Failure::Broken
            | Failure::NotFound(_) => None,
        }
    }
}
