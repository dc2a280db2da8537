//! Remote calls over RabbitMQ with lapin: a client that waits for replies, and a consumer that gives them.
//!
//! A `PRODUCER` span ends when a message has been sent, so it is no wait. [`RpcClient::call`] is one call around sending
//! the request and waiting for its reply; a [`Consumer`] is a member of the pool behind its queue for as long as it
//! consumes, and handles each delivery within a handle that answers the call. The resource is the queue; its capacity is
//! how many deliveries its consumers take at once.
//!
//! ```no_run
//! # use opentelemetry_sdk::trace::SdkTracerProvider;
//! # use standoff_agent::Spans;
//! use std::time::Duration;
//! use lapin::{Connection, ConnectionProperties};
//! use standoff_agent::lapin::{Answer, Consumer, Request, RpcClient};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let spans = Spans::new(&SdkTracerProvider::builder().build());
//! let connection = Connection::connect("amqp://127.0.0.1:5672/%2f", ConnectionProperties::default()).await?;
//!
//! // Two deliveries at once.
//! let consumer = Consumer::builder(&spans, "double").prefetch(2).start(&connection).await?;
//! tokio::spawn(consumer.serve(async |message| Answer::Reply([message.data.clone(), message.data].concat())));
//!
//! let client = RpcClient::new(&spans, &connection).await?;
//! let reply = client.call(Request::to("double").body("ab").timeout(Duration::from_secs(5))).await?;
//! assert_eq!(reply.data, b"abab");
//! # Ok(())
//! # }
//! ```
//!
//! Declaring queues, and connecting anew, are left to you: when the connection is lost, the client ends its calls as
//! failed, and the consumer stops; make new ones of the next connection.
//!
//! With code of your own around lapin, [`inject`] and [`extract`] carry the trace context in message headers.

mod client;
mod consumer;
mod headers;
mod pending;

pub use client::{CallError, Reply, Request, RpcClient};
pub use consumer::{Answer, Consumer, ConsumerBuilder, Message, ServeError, StartError};
pub use headers::{extract, inject};
