//! Requests that are sent.

use std::fmt;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use http::request::Parts;
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::ResponseFuture;
use super::body::TrackedBody;
use super::conventions::{self, Protocol, Side};
use super::exchange::Exchange;
use super::headers::Outgoing;
use crate::{Spans, Text, propagation};

type Target = dyn Fn(&Parts) -> Option<Text> + Send + Sync;
type IsStream = dyn Fn(&Parts) -> bool + Send + Sync;

/// Says of one request, as an extension of it, when its caller gives up.
///
/// Whoever enforces the limit still has to do so: this only says that it is there. gRPC requests say it in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTimeout(pub Duration);

/// Makes a call of each request, and tells the server in the headers which. The call is open until the body of the
/// response has ended. A request that is dropped before ends as cancelled, or, if its time was over by then, as timeout.
///
/// What it needs is what [`target`](ClientLayer::target) says. Without that it is the address and the port of the server,
/// if the request has them: those of a client of tonic have not, unless it was made `with_origin`.
///
/// Put it outside of `Buffer`, which sends requests from another task than the caller's. What the client waits for before it
/// is ready to send at all, a limit of its own for instance, is not part of the call; the
/// semaphore of the feature `sync` is seen.
#[derive(Clone)]
pub struct ClientLayer {
    spans: Spans,
    target: Option<Arc<Target>>,
    timeout: Option<Duration>,
    is_stream: Option<Arc<IsStream>>,
}

impl ClientLayer {
    /// A layer whose calls need a unit of whatever listens where they are sent.
    pub fn new(spans: &Spans) -> Self {
        ClientLayer {
            spans: spans.clone(),
            target: None,
            timeout: None,
            is_stream: None,
        }
    }

    /// Each request needs a unit of this resource, which the server names as its own.
    pub fn target(self, name: impl Into<Text>) -> Self {
        let name = name.into();
        self.target_of(move |_| Some(name.clone()))
    }

    /// Finds for each request the resource a unit of which it needs.
    pub fn target_of(mut self, target: impl Fn(&Parts) -> Option<Text> + Send + Sync + 'static) -> Self {
        self.target = Some(Arc::new(target));
        self
    }

    /// The caller of each request gives up after this long, unless the request itself says otherwise. Whoever enforces it,
    /// a timeout layer outside of this one for instance, still has to do so.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Which requests are answered with a stream that nobody waits for, such as a subscription: their calls end with the
    /// head of the response. Otherwise their callers would seem to wait for as long as the stream lasts.
    pub fn streams(mut self, is_stream: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.is_stream = Some(Arc::new(is_stream));
        self
    }

    fn begin(&self, request: &mut Parts) -> Exchange {
        let protocol = Protocol::of(request);
        let target = self.target.as_ref().and_then(|target| target(request));
        let mut call = self
            .spans
            .call(target.unwrap_or_else(|| "".into()))
            .name(conventions::name(protocol, request, None));
        if let Some((host, Some(port))) = conventions::authority(Side::Client, request) {
            call = call.address(host, port);
        }
        for attribute in conventions::attributes(Side::Client, protocol, request, None) {
            call = call.attribute(attribute);
        }
        let said = request.extensions.get().map(|CallTimeout(timeout)| *timeout);
        let timeout = said.or_else(|| protocol.timeout(request)).or(self.timeout);
        if let Some(timeout) = timeout {
            call = call.timeout(timeout);
        }
        let mut exchange = Exchange::new(Side::Client, protocol, call.start());
        exchange.gives_up_after(timeout);
        if self.is_stream.as_ref().is_some_and(|is_stream| is_stream(request)) {
            exchange.ends_with_head();
        }
        propagation::inject(&exchange.context(), &mut Outgoing(&mut request.headers));
        exchange
    }
}

impl fmt::Debug for ClientLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLayer")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = Client<S>;

    fn layer(&self, inner: S) -> Client<S> {
        Client {
            layer: Arc::new(self.clone()),
            inner,
        }
    }
}

/// A service whose requests are calls. See [`ClientLayer`].
#[derive(Clone, Debug)]
pub struct Client<S> {
    // Shared, since services are cloned for each request or connection.
    layer: Arc<ClientLayer>,
    inner: S,
}

impl<S, B, R> Service<http::Request<B>> for Client<S>
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
        let (mut parts, body) = request.into_parts();
        let mut exchange = self.layer.begin(&mut parts);
        let request = http::Request::from_parts(parts, body);
        let future = exchange.run(|| self.inner.call(request));
        ResponseFuture::new(future, exchange)
    }
}
