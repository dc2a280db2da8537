//! Errors as `application/problem+json` (RFC 9457).

use std::convert::Infallible;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use standoff_protocol::api::Problem;

/// What was asked for, so that an error can name it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    path: String,
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            path: parts.uri.path().into(),
        })
    }
}

impl Asked {
    /// The request is wrong, and `detail` says what would mend it.
    pub(crate) fn bad_request(&self, detail: String) -> ProblemAnswer {
        self.problem(StatusCode::BAD_REQUEST, detail)
    }

    /// The collector cannot answer now.
    pub(crate) fn unavailable(&self, detail: String) -> ProblemAnswer {
        self.problem(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    pub(crate) fn problem(&self, status: StatusCode, detail: String) -> ProblemAnswer {
        ProblemAnswer(Problem {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or_default().into(),
            status: status.as_u16(),
            detail,
            instance: self.path.clone(),
        })
    }
}

/// An error on its way to the client.
#[derive(Debug)]
pub(crate) struct ProblemAnswer(Problem);

impl IntoResponse for ProblemAnswer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = HeaderValue::from_static("application/problem+json");
        (status, [(header::CONTENT_TYPE, kind)], Json(self.0)).into_response()
    }
}
