//! Layers for HTTP and gRPC, servers and clients: for axum, hyper, tonic, and whatever else is a `tower` service of
//! `http` requests.
//!
//! [`ServerLayer`] makes a handle of each request that is served, [`ClientLayer`] a call of each that is sent; both pass
//! on who calls whom in W3C headers. Both last until the body of the response has ended, since it is only then that the
//! server is free and the client has its reply. The spans follow the current semantic conventions for HTTP and gRPC, so
//! they are good for whatever else exports them.
//!
//! Give the resource that a server is the same name as the target of its clients: that is how a request that has not been
//! accepted yet is known to wait for those that have.
//!
//! ```
//! # use opentelemetry_sdk::trace::SdkTracerProvider;
//! # use standoff_agent::Spans;
//! use axum::extract::MatchedPath;
//! use standoff_agent::tower::{ClientLayer, ServerLayer};
//! use tower::ServiceBuilder;
//! use tower::limit::GlobalConcurrencyLimitLayer;
//!
//! # let spans = Spans::new(&SdkTracerProvider::builder().build());
//! // A server that does eight things at once. The limit comes first: who waits for it is not served yet.
//! let server = ServerLayer::new(&spans)
//!     .resource("stock")
//!     .capacity(8)
//!     .route(|request| Some(request.extensions.get::<MatchedPath>()?.as_str().to_owned()));
//! let app: axum::Router = axum::Router::new()
//!     .route("/books/{id}", axum::routing::get(async || "7"))
//!     .layer(ServiceBuilder::new().layer(GlobalConcurrencyLimitLayer::new(8)).layer(server));
//!
//! // A client of another one.
//! let connector = hyper_util::client::legacy::connect::HttpConnector::new();
//! let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new());
//! let client = ServiceBuilder::new()
//!     .layer(ClientLayer::new(&spans).target("prices"))
//!     .service(client.build::<_, axum::body::Body>(connector));
//! # drop((app, client));
//! ```
//!
//! With tonic it is the same: `Server::builder().layer(server)`, and a client over
//! `ServiceBuilder::new().layer(client).service(channel)`. What the server's limit is applies to each request, not to each
//! connection, so use a `GlobalConcurrencyLimitLayer` rather than tonic's limit per connection.
//!
//! What a handler spawns and awaits is not within its handle by itself: carry the context over with
//! `opentelemetry::trace::FutureExt::with_current_context`.

mod body;
mod client;
mod conventions;
mod exchange;
mod headers;
mod server;

pub use body::TrackedBody;
pub use client::{CallTimeout, Client, ClientLayer};
pub use exchange::ResponseFuture;
pub use server::{Server, ServerLayer};
