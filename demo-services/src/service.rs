//! A replica of a service: one consumer of the service's queue, which passes each request on to the server process of
//! its id and is blocked until that has replied. This is the serving side of the demo's instrumentation.
//!
//! What makes it ServiceA or ServiceB is a [`Definition`]. What the server processes do is in [`crate::service_a`] and
//! [`crate::service_b`]; where they run is the cluster's business.

use std::sync::Arc;
use std::time::Duration;

use standoff_agent::{OpenSpan, Outcome, Spans, propagation};
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::broker::{Broker, BrokerError, Consumer, Delivery};
use crate::cluster::{CallError, Factory, JoinError, Node, NodeConfig, ProcessName, Registry, Transport};
use crate::integer::{self, NotAnInteger};
use crate::process::{Server, Start};
use crate::rpc::Client;

/// What makes a service the one that it is.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The name of the service, of its queue, and of the pool of its consumers.
    pub name: &'static str,
    /// The kind of its server processes.
    pub process: &'static str,
    /// Makes the server process for an id.
    pub server: fn(i64, Client) -> Box<dyn Server>,
}

/// What a replica stands on.
pub struct Parts {
    /// Where its requests come from and its server processes ask other services.
    pub broker: Arc<dyn Broker>,
    /// The registry of the replicas of this service.
    pub registry: Arc<dyn Registry>,
    /// How the replicas of this service reach each other.
    pub transport: Arc<dyn Transport>,
    /// Its place among the replicas.
    pub node: NodeConfig,
    /// Starts the spans of this instance.
    pub spans: Spans,
    /// After this long a server process gives up a request to another service.
    pub request_timeout: Duration,
}

/// A running replica. Dropping it without [`Replica::stop`] looks like a crash to everybody else.
#[derive(Debug)]
pub struct Replica {
    node: Arc<Node>,
    stop: DropGuard,
    consumer: JoinHandle<()>,
}

/// Why a replica did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// It cannot be a node of the cluster.
    #[error("cannot join the cluster")]
    Join(#[from] JoinError),
    /// It cannot consume its queue.
    #[error("cannot consume the queue")]
    Consume(#[from] BrokerError),
}

impl Replica {
    /// Joins the cluster and starts to consume. Returns once requests can arrive.
    pub async fn start(definition: &Definition, parts: Parts) -> Result<Replica, StartError> {
        let Parts {
            broker,
            registry,
            transport,
            node,
            spans,
            request_timeout,
        } = parts;
        let client = Client::new(broker.clone(), spans.clone(), request_timeout);
        let processes = factory(*definition, client);
        let node = Arc::new(Node::join(node, registry, transport, processes, spans.clone()).await?);
        let consumer = broker.consume(definition.name).await?;
        let dispatcher = Dispatcher {
            definition: *definition,
            node: node.clone(),
            spans,
        };
        let stop = CancellationToken::new();
        let consumer = tokio::spawn(dispatcher.consume(consumer, stop.clone()));
        Ok(Replica {
            node,
            stop: stop.drop_guard(),
            consumer,
        })
    }

    /// How many server processes run here.
    pub fn processes(&self) -> usize {
        self.node.processes()
    }

    /// Stops consuming and leaves the cluster. A request that is being served goes back to the queue.
    pub async fn stop(self) {
        drop(self.stop);
        if self.consumer.await.is_err() {
            tracing::error!("the consumer had panicked");
        }
        self.node.leave().await;
    }
}

fn factory(definition: Definition, client: Client) -> Factory {
    Box::new(move |name: &ProcessName| {
        let (id, client) = (name.id, client.clone());
        let start: Start = Box::new(move || (definition.server)(id, client.clone()));
        (name.kind == definition.process).then_some(start)
    })
}

struct Dispatcher {
    definition: Definition,
    node: Arc<Node>,
    spans: Spans,
}

/// Why a request is refused. Its caller learns of it by its timeout.
#[derive(Debug, Error)]
enum Refusal {
    /// The replica that had it before did not survive it, and it shall not happen again.
    #[error("it was delivered before")]
    Redelivered,
    #[error("it is not an integer")]
    Malformed(#[from] NotAnInteger),
    #[error("its server process did not reply: {0}")]
    Failed(CallError),
}

impl Dispatcher {
    async fn consume(self, mut consumer: Box<dyn Consumer>, stop: CancellationToken) {
        // This consumer is one unit of the pool behind the queue, for as long as it means to consume. That a connection
        // is lost and made again does not end the span: the unit would seem to be gone for good.
        let membership = self.spans.member(self.definition.name).name("consumer").start();
        let consuming = async {
            while let Ok(delivery) = consumer.next().await {
                self.serve(delivery).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = consuming => {}
        }
        membership.end();
    }

    /// Serves one request from its delivery to its acknowledgement.
    async fn serve(&self, delivery: Delivery) {
        // All this time the request occupies the consumer. The parent is the caller's span, from the message's headers.
        let caller = propagation::extract(&delivery.headers);
        let name = self.definition.name;
        let handle = self
            .spans
            .handle(format!("serve {name}"))
            .resource(name)
            .parent(&caller);
        let handle = handle.conversation(&delivery.correlation_id).start();

        let (outcome, settled) = match self.answer(&handle, &delivery).await {
            Ok(answer) => (Outcome::Finished, delivery.reply(answer).await),
            Err(refusal) => {
                tracing::info!(service = name, %refusal, "refused a request");
                (Outcome::Error, delivery.refuse().await)
            }
        };
        if let Err(error) = settled {
            tracing::warn!(service = name, %error, "could not settle a request; the broker delivers it again");
        }
        handle.end_with(outcome);
    }

    async fn answer(&self, handle: &OpenSpan, delivery: &Delivery) -> Result<Vec<u8>, Refusal> {
        if delivery.redelivered {
            return Err(Refusal::Redelivered);
        }
        let process = ProcessName::new(self.definition.process, integer::decode(&delivery.body)?);

        // The consumer waits for the process without a timeout of its own. `run` makes the call the current span, which
        // the cluster carries to wherever the process lives.
        let call = self
            .spans
            .call(process.to_string())
            .name("dispatch")
            .parent(handle.context())
            .start();
        let reply = call.run(self.node.call(&process, delivery.body.clone())).await;
        call.end_with(if reply.is_ok() {
            Outcome::Finished
        } else {
            Outcome::Error
        });
        reply.map_err(Refusal::Failed)
    }
}
