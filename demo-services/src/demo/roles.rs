//! The services and the requester as processes of their own, with RabbitMQ and Redis between them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::{REQUESTER, Settings, StartError, Telemetry};
use crate::broker::{Broker, RabbitBroker};
use crate::cluster::{GrpcTransport, RedisRegistry};
use crate::requester::Requester;
use crate::rpc::AskError;
use crate::service::{Definition, Parts, Replica};
use crate::service_a::SERVICE_A;
use crate::service_b::SERVICE_B;

/// What a process of the demo needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where RabbitMQ is.
    pub amqp_url: String,
    /// Where Redis is. The requester needs none.
    pub redis_url: String,
    /// The name of this instance, unique among all. Empty means the service's name and a random number.
    pub instance: String,
    /// Where this replica takes calls from the other replicas of its service. Port 0 is any.
    pub listen: SocketAddr,
    /// Where the others find it, if not where it listens: `host:port`.
    pub advertise: Option<String>,
    /// Before each queue's and key's name, so that demos on the same servers do not meet.
    pub prefix: String,
    /// All the rest.
    pub settings: Settings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            amqp_url: "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned(),
            redis_url: "redis://127.0.0.1:6379/".to_owned(),
            instance: String::new(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: None,
            prefix: String::new(),
            settings: Settings::default(),
        }
    }
}

/// A setting that makes no sense.
#[derive(Debug, Error)]
#[error("{setting} is `{value}`: {reason}")]
pub struct ConfigError {
    /// Which setting, by its name in [`Config`] or [`Settings`].
    pub setting: &'static str,
    /// What it was set to.
    pub value: String,
    /// Why that cannot be, and what can.
    pub reason: String,
}

/// Why a role ended.
#[derive(Debug, Error)]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A server that it cannot do without does not answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// A server does not answer.
#[derive(Debug, Error)]
#[error("cannot reach {server} at {url} within {within:?}")]
pub struct Unreachable {
    /// Which server.
    pub server: &'static str,
    /// Where it was looked for, without its password.
    pub url: String,
    /// For how long.
    pub within: Duration,
}

impl From<ConfigError> for RunError {
    fn from(error: ConfigError) -> Self {
        Self::Start(error.into())
    }
}

/// Runs a replica of ServiceA until `stop`. Logs `ready` once it consumes.
pub async fn run_service_a(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    run_service(&SERVICE_A, config, stop).await
}

/// Runs a replica of ServiceB until `stop`. Logs `ready` once it consumes.
pub async fn run_service_b(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    run_service(&SERVICE_B, config, stop).await
}

/// Asks ServiceA for all `ids` at once, and returns the results in their order.
pub async fn run_request(config: Config, ids: Vec<i64>) -> Result<Vec<(i64, Result<i64, AskError>)>, RunError> {
    config.validate()?;
    let broker = Arc::new(amqp(&config.amqp_url, &config.prefix)?);
    let within = config.settings.request_timeout;
    reach("RabbitMQ", &config.amqp_url, within, broker.connected()).await?;
    let telemetry = Telemetry::start(REQUESTER, &config.instance_of(REQUESTER), &config.settings)?;
    let requester = Requester::new(broker.clone(), telemetry.spans(), config.settings.request_timeout);
    let results = requester.request_all(ids.iter().copied()).await;
    broker.close().await;
    telemetry.shutdown().await;
    Ok(ids.into_iter().zip(results).collect())
}

/// Makes sure that the demo's servers answer, which it would otherwise wait for.
pub async fn reach_servers(amqp_url: &str, redis_url: &str, within: Duration) -> Result<(), RunError> {
    let broker = amqp(amqp_url, "")?;
    let registry = redis(redis_url, "", &SERVICE_A)?;
    let reached = tokio::try_join!(
        reach("RabbitMQ", amqp_url, within, broker.connected()),
        reach("Redis", redis_url, within, registry.connected()),
    );
    broker.close().await;
    reached?;
    Ok(())
}

async fn reach<T>(
    server: &'static str,
    url: &str,
    within: Duration,
    connected: impl Future<Output = T>,
) -> Result<T, Unreachable> {
    let unreachable = |_| Unreachable {
        server,
        url: without_password(url),
        within,
    };
    tokio::time::timeout(within, connected).await.map_err(unreachable)
}

async fn run_service(definition: &Definition, config: Config, stop: CancellationToken) -> Result<(), RunError> {
    config.validate()?;
    let instance = config.instance_of(definition.name);
    let broker = Arc::new(amqp(&config.amqp_url, &config.prefix)?);
    let registry = Arc::new(redis(&config.redis_url, &config.prefix, definition)?);
    let telemetry = Telemetry::start(definition.name, &instance, &config.settings)?;
    let parts = Parts {
        broker: broker.clone(),
        registry,
        transport: Arc::new(GrpcTransport::new(config.listen, config.advertise)),
        node: config.settings.node(&instance),
        spans: telemetry.spans(),
        request_timeout: config.settings.request_timeout,
    };
    // RabbitMQ and Redis may be yet to start, so this may take as long as it takes, but not longer than we are wanted.
    let started = tokio::select! {
        () = stop.cancelled() => None,
        started = Replica::start(definition, parts) => Some(started),
    };
    let outcome = match started {
        None => Ok(()),
        Some(Ok(replica)) => {
            tracing::info!(service = definition.name, instance, "ready");
            stop.cancelled().await;
            replica.stop().await;
            Ok(())
        }
        Some(Err(source)) => Err(StartError::Replica {
            instance: instance.clone(),
            source,
        }
        .into()),
    };
    broker.close().await;
    telemetry.shutdown().await;
    tracing::info!(service = definition.name, instance, "stopped");
    outcome
}

impl Config {
    /// Checks what no server needs to be asked about.
    fn validate(&self) -> Result<(), ConfigError> {
        let bad = |setting, value: String, reason: &str| {
            Err(ConfigError {
                setting,
                value,
                reason: reason.to_owned(),
            })
        };
        if self.listen.ip().is_unspecified() && self.advertise.is_none() {
            let reason = "others cannot call every address; say with --advertise where they find this replica";
            return bad("listen", self.listen.to_string(), reason);
        }
        let Settings {
            request_timeout, lease, ..
        } = &self.settings;
        for (setting, value) in [("request_timeout", request_timeout), ("lease", lease)] {
            if value.is_zero() {
                return bad(setting, format!("{value:?}"), "it must be longer than nothing");
            }
        }
        Ok(())
    }

    fn instance_of(&self, service: &str) -> String {
        if self.instance.is_empty() {
            format!("{service}-{:08x}", rand::random::<u32>())
        } else {
            self.instance.clone()
        }
    }
}

pub(super) fn amqp(url: &str, prefix: &str) -> Result<RabbitBroker, ConfigError> {
    RabbitBroker::connect(url, prefix).map_err(|error| ConfigError {
        setting: "amqp_url",
        value: without_password(url),
        reason: error.to_string(),
    })
}

/// The replicas of a service are a cluster of their own.
pub(super) fn redis(url: &str, prefix: &str, definition: &Definition) -> Result<RedisRegistry, ConfigError> {
    RedisRegistry::connect(url, &format!("{prefix}{}:", definition.name)).map_err(|error| ConfigError {
        setting: "redis_url",
        value: without_password(url),
        reason: error.to_string(),
    })
}

/// What may be shown of a URL that may hold a password: everything but what stands before its last `@`.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        (_, None) => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bad_settings_are_named() {
        type Spoil = fn(&mut Config);
        let cases: [(&str, Spoil); 6] = [
            ("amqp_url", |config| config.amqp_url = "http://127.0.0.1".into()),
            ("redis_url", |config| config.redis_url = "localhost".into()),
            ("listen", |config| config.listen = SocketAddr::from(([0, 0, 0, 0], 0))),
            ("request_timeout", |config| {
                config.settings.request_timeout = std::time::Duration::ZERO
            }),
            ("lease", |config| config.settings.lease = std::time::Duration::ZERO),
            ("upstream", |config| config.settings.upstream = "nowhere".into()),
        ];
        for (setting, spoil) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            let error = run_service_a(config, CancellationToken::new()).await.unwrap_err();
            match error {
                RunError::Start(StartError::Config(error)) => assert_eq!(error.setting, setting),
                RunError::Start(StartError::Agent { source, .. }) => {
                    assert_eq!(setting, "upstream");
                    assert!(source.to_string().contains("nowhere"), "{source}");
                }
                RunError::Unreachable(_) | RunError::Start(StartError::Replica { .. }) => panic!("{setting}: {error}"),
            }
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("amqp://me:se@cret@host:1/x"), "amqp://…@host:1/x");
        assert_eq!(without_password("me:secret@host"), "…@host");
        assert_eq!(without_password("redis://host"), "redis://host");
    }
}
