//! The systems that standoff demonstrates itself on.
//!
//! ServiceA and ServiceB ask each other over queues, and for one id, 42, they end up waiting for each other. They are
//! instrumented with `standoff-agent` as any service would be; read `rpc.rs` (calls), `service.rs` (consumers) and
//! `process.rs` (actors), in this order, to see how. Beneath them is a small cluster layer.
//!
//! | module | what it owns |
//! |---|---|
//! | [`rpc`], [`requester`] | asking a service over a queue, with a timeout; the test runner that does |
//! | [`service`], [`service_a`], [`service_b`] | the services |
//! | [`process`] | server processes: mailbox, one request at a time, restart |
//! | [`cluster`] | finding processes by name wherever they live |
//! | [`broker`], [`integer`] | remote calls over queues: RabbitMQ, or in process; what they carry |
//! | [`demo`] | putting it together, in one process or as roles of many |
//! | [`script`] | wait patterns of one line, run for real |
//!
//! Nothing here knows the collector or its graph.

mod backoff;
pub mod broker;
pub mod cluster;
pub mod demo;
pub mod integer;
pub mod process;
pub mod requester;
pub mod rpc;
pub mod script;
pub mod service;
pub mod service_a;
pub mod service_b;
