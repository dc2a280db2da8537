//! Putting the services together: all in one process ([`Embedded`]), or as roles of many ([`run_service_a`],
//! [`run_service_b`], [`run_request`]).
//!
//! Either way each replica is an instance of its own: it has its own agent, its own tracer provider with its own
//! `service.instance.id`, and its own place in the cluster.

mod embedded;
mod roles;
mod telemetry;

use std::time::Duration;

use thiserror::Error;

pub use crate::service_b::DEADLOCK_ID;
pub use embedded::{Embedded, EmbeddedConfig, Servers};
pub use roles::{Config, ConfigError, RunError, Unreachable, reach_servers, run_request, run_service_a, run_service_b};
pub use telemetry::Telemetry;

use crate::cluster::Placement;

/// The name of the service that asks.
pub const REQUESTER: &str = "requester";

/// What all instances of the demo agree on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the agents find their collector or relay.
    pub upstream: String,
    /// The agents report a call once it is this old.
    pub report_after: Duration,
    /// After this long the requester and the server processes give up their requests.
    pub request_timeout: Duration,
    /// How long a replica is believed alive without news of it, and its names stay taken after it was killed.
    pub lease: Duration,
    /// A server process with nothing to do ends after this long.
    pub idle_after: Duration,
    /// Where server processes start.
    pub placement: Placement,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            upstream: "http://127.0.0.1:4381".to_owned(),
            report_after: Duration::from_millis(20),
            request_timeout: Duration::from_secs(5),
            lease: Duration::from_secs(3),
            idle_after: Duration::from_secs(60),
            placement: Placement::Random,
        }
    }
}

/// Why the demo did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An agent did not start.
    #[error("cannot start the agent of {instance}")]
    Agent {
        /// The instance that it was for.
        instance: String,
        /// Why.
        source: standoff_agent::StartError,
    },
    /// A replica did not start.
    #[error("cannot start {instance}")]
    Replica {
        /// The instance.
        instance: String,
        /// Why.
        source: crate::service::StartError,
    },
}
