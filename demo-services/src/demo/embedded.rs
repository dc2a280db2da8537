//! Everything in one process: replicas of both services, and a requester.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures_util::future::join_all;

use super::roles::{amqp, redis};
use super::{REQUESTER, Settings, StartError, Telemetry};
use crate::broker::{Broker, InProcessBroker};
use crate::cluster::{GrpcTransport, InProcessRegistry, InProcessTransport, NodeConfig, Registry, Transport};
use crate::demo::DEADLOCK_ID;
use crate::requester::Requester;
use crate::rpc::AskError;
use crate::service::{Definition, Parts, Replica};
use crate::service_a::SERVICE_A;
use crate::service_b::SERVICE_B;

/// What the embedded demo is to be.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// Replicas of each service.
    pub replicas: usize,
    /// What broker and registry it stands on.
    pub servers: Servers,
    /// All the rest.
    pub settings: Settings,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            replicas: 2,
            servers: Servers::InProcess,
            settings: Settings::default(),
        }
    }
}

/// What broker and registry the embedded demo stands on.
#[derive(Clone, Debug)]
pub enum Servers {
    /// None outside this process.
    InProcess,
    /// RabbitMQ, Redis, and gRPC over loopback.
    Real {
        /// Where RabbitMQ is.
        amqp_url: String,
        /// Where Redis is.
        redis_url: String,
        /// Before each queue's and key's name.
        prefix: String,
    },
}

/// The running demo. It sends nothing by itself.
pub struct Embedded {
    requester: Requester,
    instances: Vec<Instance>,
}

struct Instance {
    name: String,
    telemetry: Telemetry,
    broker: Arc<dyn Broker>,
    /// `None` for the requester.
    replica: Option<Replica>,
}

impl Embedded {
    /// Starts all replicas and the requester. Returns once all consume, so that deterministic placement holds.
    pub async fn start(config: EmbeddedConfig) -> Result<Embedded, StartError> {
        let EmbeddedConfig {
            replicas,
            servers,
            settings,
        } = config;
        let environment = Environment::new(servers);

        let telemetry = Telemetry::start(REQUESTER, REQUESTER, &settings)?;
        let broker = environment.broker()?;
        let requester = Requester::new(broker.clone(), telemetry.spans(), settings.request_timeout);
        let mut instances = vec![Instance {
            name: REQUESTER.to_owned(),
            telemetry,
            broker,
            replica: None,
        }];
        for definition in [SERVICE_A, SERVICE_B] {
            let cluster = environment.cluster(&definition)?;
            for number in 1..=replicas {
                let name = format!("{}-{number}", definition.name);
                instances.push(Instance::start(&definition, name, &environment, &cluster, &settings).await?);
            }
        }
        Ok(Embedded { requester, instances })
    }

    /// The requester, for requests of any kind.
    pub fn requester(&self) -> &Requester {
        &self.requester
    }

    /// Asks ServiceA for the id that deadlocks. It times out.
    pub async fn deadlock(&self) -> Result<i64, AskError> {
        self.requester.request(DEADLOCK_ID).await
    }

    /// The names of all instances, with what instruments them.
    pub fn telemetry(&self) -> impl Iterator<Item = (&str, &Telemetry)> {
        self.instances
            .iter()
            .map(|instance| (instance.name.as_str(), &instance.telemetry))
    }

    /// Stops everything and says goodbye to the collector.
    pub async fn shutdown(self) {
        let brokers: Vec<_> = self.instances.iter().map(|instance| instance.broker.clone()).collect();
        // All at once, since each waits for a while if there is no collector to say goodbye to.
        join_all(self.instances.into_iter().map(Instance::shutdown)).await;
        // Last, because the one in process is the same for all.
        join_all(brokers.iter().map(|broker| broker.close())).await;
    }
}

impl Instance {
    async fn start(
        definition: &Definition,
        name: String,
        environment: &Environment,
        cluster: &Cluster,
        settings: &Settings,
    ) -> Result<Instance, StartError> {
        let telemetry = Telemetry::start(definition.name, &name, settings)?;
        let broker = environment.broker()?;
        let parts = Parts {
            broker: broker.clone(),
            registry: cluster.registry.clone(),
            transport: cluster.transport(),
            node: settings.node(&name),
            spans: telemetry.spans(),
            request_timeout: settings.request_timeout,
        };
        let replica = Replica::start(definition, parts)
            .await
            .map_err(|source| StartError::Replica {
                instance: name.clone(),
                source,
            })?;
        Ok(Instance {
            name,
            telemetry,
            broker,
            replica: Some(replica),
        })
    }

    async fn shutdown(self) {
        if let Some(replica) = self.replica {
            replica.stop().await;
        }
        self.telemetry.shutdown().await;
    }
}

/// What the instances share.
enum Environment {
    InProcess(InProcessBroker),
    Real {
        amqp_url: String,
        redis_url: String,
        prefix: String,
    },
}

/// What the replicas of one service share.
struct Cluster {
    registry: Arc<dyn Registry>,
    /// `None` if each has its own.
    transport: Option<InProcessTransport>,
}

impl Environment {
    fn new(servers: Servers) -> Self {
        match servers {
            Servers::InProcess => Self::InProcess(InProcessBroker::new()),
            Servers::Real {
                amqp_url,
                redis_url,
                prefix,
            } => Self::Real {
                amqp_url,
                redis_url,
                prefix,
            },
        }
    }

    /// A broker as a new instance sees it: with RabbitMQ, each has a connection of its own.
    fn broker(&self) -> Result<Arc<dyn Broker>, StartError> {
        match self {
            Self::InProcess(broker) => Ok(Arc::new(broker.clone())),
            Self::Real { amqp_url, prefix, .. } => Ok(Arc::new(amqp(amqp_url, prefix)?)),
        }
    }

    fn cluster(&self, definition: &Definition) -> Result<Cluster, StartError> {
        match self {
            Self::InProcess(_) => Ok(Cluster {
                registry: Arc::new(InProcessRegistry::default()),
                transport: Some(InProcessTransport::default()),
            }),
            Self::Real { redis_url, prefix, .. } => Ok(Cluster {
                registry: Arc::new(redis(redis_url, prefix, definition)?),
                transport: None,
            }),
        }
    }
}

impl Cluster {
    fn transport(&self) -> Arc<dyn Transport> {
        match &self.transport {
            Some(transport) => Arc::new(transport.clone()),
            None => Arc::new(GrpcTransport::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None)),
        }
    }
}

impl Settings {
    pub(super) fn node(&self, name: &str) -> NodeConfig {
        NodeConfig {
            name: name.to_owned(),
            lease: self.lease,
            idle_after: self.idle_after,
            placement: self.placement,
        }
    }
}
