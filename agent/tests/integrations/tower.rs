//! Layers for HTTP and gRPC, between real servers and clients on the loopback interface.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::MatchedPath;
use axum::routing::get;
use futures_util::StreamExt as _;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::SpanKind;
use standoff_agent::Spans;
use standoff_agent::tower::{CallTimeout, Client, ClientLayer, ServerLayer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::{Layer as _, ServiceExt as _};

use crate::echo::{Echo, say};
use crate::recorder::{Log, recorded, within_deadline};

const METHOD: &str = "test.Echo/Say";

type HttpClient = Client<legacy::Client<HttpConnector, Body>>;

fn client(layer: &ClientLayer) -> HttpClient {
    layer.layer(legacy::Client::builder(TokioExecutor::new()).build(HttpConnector::new()))
}

fn server(spans: &Spans) -> ServerLayer {
    ServerLayer::new(spans).resource("stock").capacity(8).route(|request| {
        let route = request.extensions.get::<MatchedPath>()?;
        Some(route.as_str().to_owned())
    })
}

/// Serves until the test is over.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn serve_grpc(spans: &Spans, echo: Echo) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .layer(server(spans))
        .add_service(echo);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

fn request(address: SocketAddr, path: &str) -> Request<Body> {
    let uri = format!("http://{address}{path}");
    Request::builder().uri(uri).body(Body::empty()).unwrap()
}

/// The call and the handle of the only request.
fn outcomes(log: &Log) -> (String, String) {
    let of = |kind: SpanKind| {
        let span = log.started.iter().find(|span| span.kind() == kind).unwrap();
        log.outcome_of(span)
    };
    (of(SpanKind::Client), of(SpanKind::Server))
}

fn is_over(log: &Log) -> bool {
    !log.started.is_empty() && log.open().is_empty()
}

#[tokio::test]
async fn a_request_is_a_call_that_a_handle_answers() {
    let (spans, recorder) = recorded();
    let inside = spans.clone();
    let handler = async move || {
        inside.call("prices").name("inside").start().end();
        "7"
    };
    let app = Router::new().route("/books/{id}", get(handler)).layer(server(&spans));
    let address = serve(app).await;
    let client = client(&ClientLayer::new(&spans).target("stock").timeout(Duration::from_secs(5)));
    let asker = spans.handle("asker").start();

    let mut request = request(address, "/books/7?token=secret");
    request.extensions_mut().insert(CallTimeout(Duration::from_secs(2)));
    let response = within_deadline("the response", asker.run(client.oneshot(request)))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "7");
    asker.end();

    let log = recorder.until("the end", is_over).await;
    let (call, handle) = (log.span("GET"), log.span("GET /books/{id}"));
    assert_eq!((call.kind(), handle.kind()), (SpanKind::Client, SpanKind::Server));
    assert_eq!((call.parent(), handle.parent()), (log.span("asker").id(), call.id()));
    assert!(handle.parent_is_remote() && !call.parent_is_remote());
    assert_eq!(log.span("inside").parent(), handle.id());
    assert_eq!(call.text("standoff.target").as_deref(), Some("stock"));
    assert_eq!(call.number("standoff.timeout_ms"), Some(2000));
    assert_eq!(call.number("server.port"), Some(address.port().into()));
    assert_eq!(handle.text("standoff.resource").as_deref(), Some("stock"));
    assert_eq!(handle.number("standoff.capacity"), Some(8));
    assert_eq!(handle.text("url.path").as_deref(), Some("/books/7"));
    for name in ["GET", "GET /books/{id}"] {
        assert_eq!(log.outcome(name), "finished");
        assert_eq!(log.ended(name).number("http.response.status_code"), Some(200));
    }
}

#[tokio::test]
async fn a_response_that_streams_occupies_both_until_it_ends() {
    let (spans, recorder) = recorded();
    let (chunks, stream) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let stream = Arc::new(std::sync::Mutex::new(Some(stream)));
    let handler = get(async move || {
        let stream = stream.lock().unwrap().take().unwrap();
        Body::from_stream(ReceiverStream::new(stream))
    });
    let address = serve(Router::new().route("/", handler).layer(server(&spans))).await;
    let client = client(&ClientLayer::new(&spans));
    let response = within_deadline("the head", client.oneshot(request(address, "/")))
        .await
        .unwrap();
    let mut body = response.into_body().into_data_stream();
    for chunk in ["one", "two"] {
        chunks.send(Ok(Bytes::from(chunk))).await.unwrap();
        assert_eq!(within_deadline("a chunk", body.next()).await.unwrap().unwrap(), chunk);
        assert_eq!(recorder.open(), ["GET", "GET /"]);
    }
    drop(chunks);
    assert!(within_deadline("the end", body.next()).await.is_none());
    let log = recorder.until("the end", is_over).await;
    assert_eq!(outcomes(&log), ("finished".into(), "finished".into()));
}

#[tokio::test]
async fn who_drops_the_body_frees_the_server() {
    let (spans, recorder) = recorded();
    let handler = get(async || Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>()));
    let address = serve(Router::new().route("/", handler).layer(server(&spans))).await;
    let client = client(&ClientLayer::new(&spans));
    let response = within_deadline("the head", client.oneshot(request(address, "/")))
        .await
        .unwrap();
    assert_eq!(recorder.open(), ["GET", "GET /"]);
    drop(response);
    let log = recorder.until("the end", is_over).await;
    // It had the head, which was well.
    assert_eq!(outcomes(&log).0, "finished");
}

#[tokio::test]
async fn a_call_to_a_stream_that_nobody_waits_for_ends_with_the_head() {
    let (spans, recorder) = recorded();
    let handler = get(async || Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>()));
    let address = serve(Router::new().route("/events", handler).layer(server(&spans))).await;
    let client = client(&ClientLayer::new(&spans).streams(|request| request.uri.path() == "/events"));
    let response = within_deadline("the head", client.oneshot(request(address, "/events")))
        .await
        .unwrap();
    assert_eq!(recorder.open(), ["GET /events"]);
    assert_eq!(recorder.log().outcome("GET"), "finished");
    drop(response);
    recorder.until("the end", is_over).await;
}

#[tokio::test]
async fn a_request_that_is_dropped_is_cancelled_on_both_sides() {
    let (spans, recorder) = recorded();
    let handler = get(async || pending::<&str>().await);
    let address = serve(Router::new().route("/", handler).layer(server(&spans))).await;
    let client = client(&ClientLayer::new(&spans));
    let asking = tokio::spawn(client.oneshot(request(address, "/")));
    recorder.until("the handle", |log| log.open() == ["GET", "GET /"]).await;
    asking.abort();
    let log = recorder.until("the end", is_over).await;
    assert_eq!(outcomes(&log), ("cancelled".into(), "cancelled".into()));
}

#[tokio::test]
async fn a_request_that_is_dropped_when_its_time_is_over_has_timed_out() {
    let (spans, recorder) = recorded();
    let handler = get(async || pending::<&str>().await);
    let address = serve(Router::new().route("/", handler).layer(server(&spans))).await;
    let moment = Duration::from_millis(20);
    let client = client(&ClientLayer::new(&spans).timeout(moment));
    let limited = tokio::time::timeout(moment * 2, client.oneshot(request(address, "/")));
    assert!(within_deadline("the timeout", limited).await.is_err());
    recorder.until("the call", |log| !log.ended.is_empty()).await;
    assert_eq!(recorder.log().outcome("GET"), "timeout");
}

#[tokio::test]
async fn a_handler_that_panics_leaves_nothing_open() {
    let (spans, recorder) = recorded();
    let handler = get(async || -> &str { panic!("on purpose") });
    let address = serve(Router::new().route("/", handler).layer(server(&spans))).await;
    let client = client(&ClientLayer::new(&spans));
    let response = within_deadline("the failure", client.oneshot(request(address, "/"))).await;
    assert!(response.is_err());
    let log = recorder.until("the end", is_over).await;
    assert_eq!(outcomes(&log), ("_OTHER".into(), "panic".into()));
}

#[tokio::test]
async fn statuses_are_errors_where_they_are() {
    for (status, call, handle) in [
        (StatusCode::NOT_FOUND, "404", "finished"),
        (StatusCode::SERVICE_UNAVAILABLE, "503", "503"),
        (StatusCode::NO_CONTENT, "finished", "finished"),
    ] {
        let (spans, recorder) = recorded();
        let app = Router::new()
            .route("/", get(async move || status))
            .layer(server(&spans));
        let address = serve(app).await;
        let client = client(&ClientLayer::new(&spans));
        let response = within_deadline("the response", client.oneshot(request(address, "/")))
            .await
            .unwrap();
        assert_eq!(response.status(), status);
        // Its body is empty, so nobody need read it.
        let log = recorder.until("the end", is_over).await;
        assert_eq!(outcomes(&log), (call.into(), handle.into()));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error() {
    let (spans, recorder) = recorded();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = client(&ClientLayer::new(&spans));
    let response = within_deadline("the refusal", client.oneshot(request(address, "/"))).await;
    assert!(response.is_err());
    assert_eq!(recorder.log().outcome("GET"), "_OTHER");
}

#[tokio::test]
async fn a_grpc_request_ends_with_its_status() {
    let (spans, recorder) = recorded();
    let echo = Echo::new(async |text: String| match text.as_str() {
        "missing" => Err(Status::not_found("there is none")),
        "broken" => Err(Status::internal("broken")),
        _ => Ok(text),
    });
    let address = serve_grpc(&spans, echo).await;
    let client = ClientLayer::new(&spans).target("stock").layer(channel(address));
    for (text, code, call, handle) in [
        ("well", Code::Ok, "finished", "finished"),
        ("missing", Code::NotFound, "NOT_FOUND", "finished"),
        ("broken", Code::Internal, "INTERNAL", "INTERNAL"),
    ] {
        let before = recorder.log().started.len();
        let said = within_deadline("the reply", say(client.clone(), tonic::Request::new(text.to_owned()))).await;
        assert_eq!(said.map_or_else(|status| status.code(), |_| Code::Ok), code);
        let log = recorder.until("the end", is_over).await;
        let [asked, served] = &log.started[before..] else {
            panic!("a call and a handle")
        };
        assert_eq!((asked.name(), served.name()), (METHOD, METHOD));
        assert_eq!((asked.kind(), served.kind()), (SpanKind::Client, SpanKind::Server));
        assert_eq!(served.parent(), asked.id());
        assert_eq!(served.text("standoff.resource").as_deref(), Some("stock"));
        assert_eq!(asked.text("standoff.target").as_deref(), Some("stock"));
        assert_eq!(
            (log.outcome_of(asked).as_str(), log.outcome_of(served).as_str()),
            (call, handle)
        );
    }
    let statuses: Vec<_> = {
        let ended = recorder.log().ended;
        ended
            .iter()
            .filter(|span| span.kind() == SpanKind::Client)
            .map(|span| span.text("rpc.response.status_code").unwrap())
            .collect()
    };
    assert_eq!(statuses, ["OK", "NOT_FOUND", "INTERNAL"]);
}

#[tokio::test]
async fn a_grpc_request_says_when_it_will_be_over() {
    let (spans, recorder) = recorded();
    let echo = Echo::new(async |_| pending().await);
    let address = serve_grpc(&spans, echo).await;
    let client = ClientLayer::new(&spans).layer(channel(address));
    let mut request = tonic::Request::new("late".to_owned());
    request.set_timeout(Duration::from_millis(50));
    let said = within_deadline("the timeout", say(client, request)).await;
    assert!(matches!(
        said.unwrap_err().code(),
        Code::DeadlineExceeded | Code::Cancelled
    ));
    let log = recorder.until("the end", is_over).await;
    let call = log.started.iter().find(|span| span.kind() == SpanKind::Client).unwrap();
    assert_eq!(call.number("standoff.timeout_ms"), Some(50));
    let outcome = log.outcome_of(call);
    assert!(
        ["timeout", "DEADLINE_EXCEEDED", "CANCELLED"].contains(&outcome.as_str()),
        "{outcome}"
    );
}
