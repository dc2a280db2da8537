//! Requests that are served.

use std::fmt;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use http::request::Parts;
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::ResponseFuture;
use super::body::TrackedBody;
use super::conventions::{self, Protocol, Side};
use super::exchange::Exchange;
use super::headers::Incoming;
use crate::{Spans, Text, propagation};

type Route = dyn Fn(&Parts) -> Option<String> + Send + Sync;

/// Makes a handle of each request: it answers the call that the request's headers name, and is open until the body of the
/// response has ended or is dropped, since a response that is still being written still occupies the handler.
///
/// Put it inside of whatever limits how many requests are served at once: a request that waits for the limit is not served
/// yet. Tower's `ConcurrencyLimit` gives its permit back with the head of the response, so while long bodies are written
/// more may be served than it says; standoff then takes the capacity to be what it sees.
#[derive(Clone)]
pub struct ServerLayer {
    spans: Spans,
    resources: Vec<Text>,
    capacity: Option<u32>,
    route: Option<Arc<Route>>,
}

impl ServerLayer {
    /// A layer whose handles occupy nothing.
    pub fn new(spans: &Spans) -> Self {
        ServerLayer {
            spans: spans.clone(),
            resources: Vec::new(),
            capacity: None,
            route: None,
        }
    }

    /// Each request occupies a unit of this resource. Clients name it as their target. May be called several times.
    pub fn resource(mut self, name: impl Into<Text>) -> Self {
        self.resources.push(name.into());
        self
    }

    /// How many requests this instance serves at once: the concurrency limit. Without it, and without
    /// [members](Spans::member), one.
    pub fn capacity(mut self, requests: u32) -> Self {
        self.capacity = Some(requests);
        self
    }

    /// Where a request's route is found, such as `/books/{id}`. It names the span; without it the method does.
    pub fn route(mut self, route: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.route = Some(Arc::new(route));
        self
    }

    fn begin(&self, request: &Parts) -> Exchange {
        let protocol = Protocol::of(request);
        let route = self.route.as_ref().and_then(|route| route(request));
        let route = route.as_deref();
        let mut handle = self.spans.handle(conventions::name(protocol, request, route)).server();
        for resource in &self.resources {
            handle = handle.resource(resource);
        }
        if let Some(capacity) = self.capacity {
            handle = handle.capacity(capacity);
        }
        for attribute in conventions::attributes(Side::Server, protocol, request, route) {
            handle = handle.attribute(attribute);
        }
        let caller = propagation::extract(&Incoming(&request.headers));
        Exchange::new(Side::Server, protocol, handle.parent(&caller).start())
    }
}

impl fmt::Debug for ServerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLayer")
            .field("resources", &self.resources)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = Server<S>;

    fn layer(&self, inner: S) -> Server<S> {
        Server {
            layer: Arc::new(self.clone()),
            inner,
        }
    }
}

/// A service whose requests are handles. See [`ServerLayer`].
#[derive(Clone, Debug)]
pub struct Server<S> {
    // Shared, since services are cloned for each request or connection.
    layer: Arc<ServerLayer>,
    inner: S,
}

impl<S, B, R> Service<http::Request<B>> for Server<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    R: Body,
{
    type Response = http::Response<TrackedBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let mut exchange = self.layer.begin(&parts);
        let request = http::Request::from_parts(parts, body);
        let future = exchange.run(|| self.inner.call(request));
        ResponseFuture::new(future, exchange)
    }
}
