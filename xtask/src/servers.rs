//! Private servers for tests: RabbitMQ and Redis on free loopback ports, with all their state in a temporary folder.
//!
//! A server is here for as long as the value that stands for it: dropping the value stops the server, and so does the
//! death of the process that owns it, however it dies (`process.rs` says how). Tests that only need *a* server share the
//! one that the environment names ([`amqp()`], [`redis()`]); tests that stop, kill or restart one start their own
//! ([`RabbitMq::start`], [`Redis::start`]).
//!
//! This module knows how to start the servers and when they are ready, and nothing of what tests do with them. Where
//! the programs come from is the business of `programs.rs`.

mod container;
mod ports;
mod process;
mod programs;
mod rabbit_mq;
mod redis;
mod server;

use std::env;

use anyhow::Result;

pub use rabbit_mq::RabbitMq;
pub use redis::Redis;

/// The environment variable that names a running broker, for instance `amqp://guest:guest@127.0.0.1:5672/%2f`.
pub const AMQP_URL: &str = "STANDOFF_TEST_AMQP_URL";

/// The environment variable that names a running Redis, for instance `redis://127.0.0.1:6379/`.
pub const REDIS_URL: &str = "STANDOFF_TEST_REDIS_URL";

/// A server that its user leaves running: somebody else's, or a private one that stops when this is dropped.
#[derive(Debug)]
pub struct Shared<S> {
    url: String,
    own: Option<S>,
}

impl<S> Shared<S> {
    /// Where the server is reached.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it was started for this value, and stops with it.
    pub fn is_private(&self) -> bool {
        self.own.is_some()
    }

    /// An empty address counts as none, so that `VARIABLE= cargo xtask test` asks for a private server.
    fn new(running: Option<String>, start: fn() -> Result<S>, url: fn(&S) -> String) -> Result<Self> {
        match running.filter(|url| !url.is_empty()) {
            Some(url) => Ok(Self { url, own: None }),
            None => start().map(|own| Self {
                url: url(&own),
                own: Some(own),
            }),
        }
    }
}

/// The broker that [`AMQP_URL`] names, or else a private one. It may hold what other tests have left in it.
///
/// # Errors
///
/// If RabbitMQ is not to be had, or does not become ready.
pub fn amqp() -> Result<Shared<RabbitMq>> {
    amqp_at(env::var(AMQP_URL).ok())
}

/// The Redis that [`REDIS_URL`] names, or else a private one. It may hold what other tests have left in it.
///
/// # Errors
///
/// If Redis is not to be had, or does not become ready.
pub fn redis() -> Result<Shared<Redis>> {
    redis_at(env::var(REDIS_URL).ok())
}

pub(crate) fn amqp_at(running: Option<String>) -> Result<Shared<RabbitMq>> {
    Shared::new(running, RabbitMq::start, RabbitMq::url)
}

pub(crate) fn redis_at(running: Option<String>) -> Result<Shared<Redis>> {
    Shared::new(running, Redis::start, Redis::url)
}
