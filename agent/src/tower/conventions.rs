//! What OpenTelemetry's semantic conventions want to know of a request and its response.
//!
//! HTTP as in their stable version; gRPC as in 1.39, where `rpc.method` is the whole name. Queries are left out, since they
//! may hold what is nobody's business.

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri, Version, header};
use opentelemetry::KeyValue;
use standoff_protocol::attributes::semconv;

use super::headers::grpc_timeout;

/// The names of gRPC's status codes.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// Those that say that the server has failed. The others are its answer.
const GRPC_SERVER_FAILED: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

/// Who looks at the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Grpc,
}

impl Protocol {
    pub(super) fn of(request: &Parts) -> Self {
        let content_type = request.headers.get(header::CONTENT_TYPE);
        let is_grpc = content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"));
        if is_grpc { Protocol::Grpc } else { Protocol::Http }
    }

    /// The limit that the request itself has.
    pub(super) fn timeout(self, request: &Parts) -> Option<std::time::Duration> {
        match self {
            Protocol::Http => None,
            Protocol::Grpc => grpc_timeout(&request.headers),
        }
    }
}

/// The name of the span, which has few values.
pub(super) fn name(protocol: Protocol, request: &Parts, route: Option<&str>) -> String {
    match (protocol, route) {
        (Protocol::Grpc, _) => grpc_method(&request.uri).to_owned(),
        (Protocol::Http, Some(route)) => format!("{} {route}", method(&request.method).unwrap_or("HTTP")),
        (Protocol::Http, None) => method(&request.method).unwrap_or("HTTP").to_owned(),
    }
}

pub(super) fn attributes(side: Side, protocol: Protocol, request: &Parts, route: Option<&str>) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(8);
    match protocol {
        Protocol::Grpc => {
            attributes.push(KeyValue::new("rpc.system.name", "grpc"));
            attributes.push(KeyValue::new("rpc.method", grpc_method(&request.uri).to_owned()));
        }
        Protocol::Http => http(side, request, route, &mut attributes),
    }
    if let Some((host, port)) = authority(side, request) {
        attributes.push(KeyValue::new(semconv::SERVER_ADDRESS, host));
        if let Some(port) = port {
            attributes.push(KeyValue::new(semconv::SERVER_PORT, i64::from(port)));
        }
    }
    attributes
}

fn http(side: Side, request: &Parts, route: Option<&str>, attributes: &mut Vec<KeyValue>) {
    let known = method(&request.method);
    attributes.push(KeyValue::new("http.request.method", known.unwrap_or("_OTHER")));
    if known.is_none() {
        let original = request.method.to_string();
        attributes.push(KeyValue::new("http.request.method_original", original));
    }
    let version = version(request.version);
    attributes.extend(version.map(|version| KeyValue::new("network.protocol.version", version)));
    let scheme = request.uri.scheme_str();
    match side {
        Side::Client => {
            if let (Some(scheme), Some(authority)) = (scheme, request.uri.authority()) {
                // Without what stands before an @: it may be a password.
                let host = authority.as_str().rsplit('@').next().unwrap_or_default();
                let url = format!("{scheme}://{host}{}", request.uri.path());
                attributes.push(KeyValue::new("url.full", url));
            }
        }
        Side::Server => {
            attributes.push(KeyValue::new("url.path", request.uri.path().to_owned()));
            attributes.push(KeyValue::new("url.scheme", scheme.unwrap_or("http").to_owned()));
            attributes.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
        }
    }
}

/// The service and the method, as they stand in the path.
fn grpc_method(uri: &Uri) -> &str {
    uri.path().trim_start_matches('/')
}

/// The methods that the conventions know; any other may be anything.
fn method(method: &Method) -> Option<&'static str> {
    Some(match method.as_str() {
        "CONNECT" => "CONNECT",
        "DELETE" => "DELETE",
        "GET" => "GET",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "POST" => "POST",
        "PUT" => "PUT",
        "QUERY" => "QUERY",
        "TRACE" => "TRACE",
        _ => return None,
    })
}

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_09 => Some("0.9"),
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        Version::HTTP_3 => Some("3"),
        _ => None,
    }
}

/// Whom the request is for. A client's is complete, so that it can stand for the target.
pub(super) fn authority(side: Side, request: &Parts) -> Option<(String, Option<u16>)> {
    let authority = match request.uri.authority() {
        Some(authority) => authority.clone(),
        None => request.headers.get(header::HOST)?.as_bytes().try_into().ok()?,
    };
    let default = match (side, request.uri.scheme_str()) {
        (Side::Client, Some("http")) => Some(80),
        (Side::Client, Some("https")) => Some(443),
        (Side::Client | Side::Server, _) => None,
    };
    let host = authority.host().trim_matches(['[', ']']);
    Some((host.to_owned(), authority.port_u16().or(default)))
}

/// What a response says of how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What was answered, for the span.
    pub(super) attribute: KeyValue,
    /// The value of `error.type`, if it is an error for this side.
    pub(super) error_type: Option<String>,
}

pub(super) fn http_verdict(side: Side, status: StatusCode) -> Verdict {
    let is_error = status.is_server_error() || (side == Side::Client && status.is_client_error());
    Verdict {
        attribute: KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
        error_type: is_error.then(|| status.as_str().to_owned()),
    }
}

/// The status of gRPC, if it is in these headers or trailers.
pub(super) fn grpc_verdict(side: Side, headers: &HeaderMap) -> Option<Verdict> {
    let code = headers.get("grpc-status")?.to_str().ok()?;
    let code = code.parse().ok().and_then(|code: usize| GRPC_CODES.get(code));
    let code = *code.unwrap_or(&"UNKNOWN");
    let is_error = match side {
        Side::Client => code != "OK",
        Side::Server => GRPC_SERVER_FAILED.contains(&code),
    };
    Some(Verdict {
        attribute: KeyValue::new("rpc.response.status_code", code),
        error_type: is_error.then(|| code.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn told(side: Side, request: &Parts, route: Option<&str>) -> Vec<String> {
        attributes(side, Protocol::of(request), request, route)
            .iter()
            .map(|attribute| format!("{}={}", attribute.key, attribute.value))
            .collect()
    }

    #[test]
    fn a_client_tells_the_url_without_secrets() {
        let request = request("GET", "http://user:secret@host/books/7?token=secret", &[]);
        assert_eq!(
            told(Side::Client, &request, None),
            [
                "http.request.method=GET",
                "network.protocol.version=1.1",
                "url.full=http://host/books/7",
                "server.address=host",
                "server.port=80",
            ]
        );
        assert_eq!(name(Protocol::Http, &request, None), "GET");
    }

    #[test]
    fn a_server_tells_the_route() {
        let request = request("GET", "/books/7?token=secret", &[("host", "[::1]:8080")]);
        assert_eq!(
            told(Side::Server, &request, Some("/books/{id}")),
            [
                "http.request.method=GET",
                "network.protocol.version=1.1",
                "url.path=/books/7",
                "url.scheme=http",
                "http.route=/books/{id}",
                "server.address=::1",
                "server.port=8080",
            ]
        );
        assert_eq!(name(Protocol::Http, &request, Some("/books/{id}")), "GET /books/{id}");
    }

    #[test]
    fn unknown_methods_do_not_become_names() {
        let request = request("BREW", "/pot", &[("host", "not a host")]);
        assert_eq!(name(Protocol::Http, &request, None), "HTTP");
        let told = told(Side::Server, &request, None);
        assert_eq!(
            told[..2],
            ["http.request.method=_OTHER", "http.request.method_original=BREW"]
        );
        assert!(!told.iter().any(|it| it.starts_with("server.")));
    }

    #[test]
    fn grpc_tells_the_whole_method() {
        let request = request(
            "POST",
            "https://host/shop.v1.Stock/Take",
            &[("content-type", "application/grpc+proto"), ("grpc-timeout", "5S")],
        );
        assert_eq!(
            told(Side::Client, &request, None),
            [
                "rpc.system.name=grpc",
                "rpc.method=shop.v1.Stock/Take",
                "server.address=host",
                "server.port=443"
            ]
        );
        assert_eq!(name(Protocol::Grpc, &request, None), "shop.v1.Stock/Take");
        assert_eq!(
            Protocol::Grpc.timeout(&request),
            Some(std::time::Duration::from_secs(5))
        );
    }

    #[test]
    fn what_is_an_error_depends_on_the_side() {
        let http = |side, status: u16| http_verdict(side, StatusCode::from_u16(status).unwrap()).error_type;
        assert_eq!(http(Side::Client, 404).as_deref(), Some("404"));
        assert_eq!(http(Side::Server, 404), None);
        assert_eq!(http(Side::Server, 503).as_deref(), Some("503"));
        assert_eq!(http(Side::Client, 302), None);

        let grpc = |side, code: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", code.parse().unwrap());
            let verdict = grpc_verdict(side, &headers).unwrap();
            (verdict.attribute.value.to_string(), verdict.error_type.is_some())
        };
        assert_eq!(grpc(Side::Client, "0"), ("OK".into(), false));
        assert_eq!(grpc(Side::Client, "5"), ("NOT_FOUND".into(), true));
        assert_eq!(grpc(Side::Server, "5"), ("NOT_FOUND".into(), false));
        assert_eq!(grpc(Side::Server, "4"), ("DEADLINE_EXCEEDED".into(), true));
        for nonsense in ["17", "-1", "x"] {
            assert_eq!(grpc(Side::Server, nonsense), ("UNKNOWN".into(), true));
        }
        assert_eq!(grpc_verdict(Side::Client, &HeaderMap::new()), None);
    }
}
