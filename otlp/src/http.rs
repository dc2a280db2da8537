//! OTLP over HTTP.

use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::post;

use crate::body::Incoming;
use crate::compression::Compression;
use crate::decode::Format;
use crate::failure::Failure;
use crate::receiver::{About, Receiver};
use crate::status::{self, Accepted};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// All routes.
pub(crate) fn router(receiver: Receiver) -> Router {
    let about = |about: About| {
        post(move |State(receiver): State<Receiver>, request: Request| async move {
            Ok::<_, Infallible>(export(&receiver, about, request).await)
        })
        .fallback(|request: Request| async move { refuse(request.headers(), &Failure::Method) })
    };
    Router::new()
        .route("/v1/traces", about(About::Traces))
        .route("/v1/logs", about(About::Logs))
        .route("/v1/metrics", about(About::Metrics))
        .fallback(|request: Request| async move {
            refuse(request.headers(), &Failure::NotFound(request.uri().path().to_owned()))
        })
        .with_state(receiver)
}

async fn export(receiver: &Receiver, about: About, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut incoming = Incoming::new(body, receiver.settings());
    let answer = take(receiver, about, &parts.headers, &mut incoming).await;
    receiver.count_answer(&answer);
    match answer {
        Ok((accepted, format)) => {
            let body = accepted.encode(format, about.rejected_name());
            respond(StatusCode::OK, format, body)
        }
        Err(failure) => {
            tracing::debug!(%failure, ?about, "request refused");
            // Who is still sending would find the connection closed, not see the answer, and come again.
            incoming.let_pass().await;
            refuse(&parts.headers, &failure)
        }
    }
}

async fn take(
    receiver: &Receiver,
    about: About,
    headers: &HeaderMap,
    incoming: &mut Incoming<'_>,
) -> Result<(Accepted, Format), Failure> {
    let header = |name| headers.get(name).map(HeaderValue::as_bytes);
    let format = format(headers)?;
    let compression = Compression::of(header(CONTENT_ENCODING))?;
    let mut held = receiver.hold();
    if about == About::Metrics {
        incoming.discard().await?;
        return Ok((Accepted::default(), format));
    }
    let announced = header(CONTENT_LENGTH).and_then(|len| std::str::from_utf8(len).ok()?.parse().ok());
    let bytes: Bytes = incoming.all(announced, &mut held).await?;
    let accepted = receiver.take(about, format, compression, bytes, held).await?;
    Ok((accepted, format))
}

/// The format of a request, in which it is also answered.
fn format(headers: &HeaderMap) -> Result<Format, Failure> {
    let said = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let media_type = said.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if media_type.eq_ignore_ascii_case(PROTOBUF.as_bytes()) {
        Ok(Format::Protobuf)
    } else if media_type.eq_ignore_ascii_case(JSON.as_bytes()) {
        Ok(Format::Json)
    } else {
        Err(Failure::MediaType(String::from_utf8_lossy(said).into_owned()))
    }
}

/// Refuses a request, in its own format; in JSON, which people can read, if it has none that we know.
fn refuse(headers: &HeaderMap, failure: &Failure) -> Response {
    let format = format(headers).unwrap_or(Format::Json);
    let body = status::encode(format, failure.code(), &failure.to_string(), failure.detail());
    let mut response = respond(failure.http_status(), format, body);
    response.headers_mut().extend(failure.http_header());
    response
}

fn respond(status: StatusCode, format: Format, body: Vec<u8>) -> Response {
    let content_type = match format {
        Format::Protobuf => PROTOBUF,
        Format::Json => JSON,
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
