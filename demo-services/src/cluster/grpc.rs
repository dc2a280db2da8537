//! Calls between nodes over gRPC.

use std::collections::HashMap;
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::propagation::{Extractor, Injector};
use standoff_agent::propagation;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{KeyRef, MetadataKey, MetadataMap};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{ConnectError, Request, Response, Status};

use self::generated::node_client::NodeClient;
use self::generated::node_server::{Node, NodeServer};
use self::generated::{CallReply, CallRequest, Failure, call_reply::Outcome};
use super::{CallError, Endpoint, Inbox, ProcessName, RemoteCall, Transport};

#[expect(
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
#[rustfmt::skip]
mod generated;

/// How long a connection to another node may take to establish.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A peer is asked this often whether it is still there, because a call itself has no timeout …
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// … and has this long to answer: as long as a lease.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// The most calls that one node may have open on another. The default of 200 would be a pool that nobody sees; callers
/// are consumers of queues, which are far fewer than this.
const CALLS_PER_CONNECTION_MAX: u32 = 10_000;
/// The most connections kept. Members are a handful; addresses of those that went are forgotten when this is reached.
const CONNECTIONS_MAX: usize = 256;

/// The transport between nodes in different processes.
#[derive(Debug)]
pub struct GrpcTransport {
    listen: SocketAddr,
    advertise: Option<String>,
    connections: Mutex<HashMap<String, Channel>>,
}

impl GrpcTransport {
    /// The node will listen on `listen`, where port 0 means any. The others find it at `advertise`, or at the address
    /// that it listens on.
    pub fn new(listen: SocketAddr, advertise: Option<String>) -> Self {
        Self {
            listen,
            advertise,
            connections: Mutex::default(),
        }
    }

    fn connection(&self, address: &str) -> Result<Channel, CallError> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connections.get(address) {
            return Ok(connection.clone());
        }
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| CallError::Unreachable)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        if connections.len() >= CONNECTIONS_MAX {
            connections.clear();
        }
        // It connects with the first call, and again whenever the connection has been lost.
        let connection = endpoint.connect_lazy();
        connections.insert(address.to_owned(), connection.clone());
        Ok(connection)
    }
}

#[async_trait]
impl Transport for GrpcTransport {
    async fn bind(&self) -> std::io::Result<Box<dyn Endpoint>> {
        let incoming = TcpIncoming::bind(self.listen)?.with_nodelay(Some(true));
        let address = match &self.advertise {
            Some(advertise) => advertise.clone(),
            None => incoming.local_addr()?.to_string(),
        };
        Ok(Box::new(GrpcEndpoint { incoming, address }))
    }

    async fn call(&self, address: &str, call: RemoteCall) -> Result<Vec<u8>, CallError> {
        let RemoteCall {
            name: ProcessName { kind, id },
            caller,
            body,
        } = call;
        let mut request = Request::new(CallRequest { kind, id, body });
        propagation::inject(&caller, &mut Metadata(request.metadata_mut()));
        let answer = NodeClient::new(self.connection(address)?).call(request).await;
        match answer.map(|answer| answer.into_inner().outcome) {
            Ok(Some(Outcome::Reply(reply))) => Ok(reply),
            Ok(Some(Outcome::Failure(failure))) => Err(error_of(failure)),
            Ok(None) => Err(CallError::Lost),
            Err(status) if was_never_sent(&status) => Err(CallError::Unreachable),
            Err(status) => {
                tracing::debug!(address, %status, "a call to another node failed");
                Err(CallError::Lost)
            }
        }
    }
}

/// Whether a call failed because there was no connection at all.
fn was_never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

struct GrpcEndpoint {
    incoming: TcpIncoming,
    address: String,
}

impl Endpoint for GrpcEndpoint {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn serve(self: Box<Self>, inbox: Weak<dyn Inbox>, stop: CancellationToken) {
        let server = Server::builder()
            .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
            .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
            .add_service(NodeServer::new(Service { inbox }));
        tokio::spawn(async move {
            let GrpcEndpoint { incoming, address } = *self;
            if let Err(error) = server.serve_with_incoming_shutdown(incoming, stop.cancelled()).await {
                tracing::error!(address, %error, "the node takes no more calls");
            }
        });
    }
}

struct Service {
    inbox: Weak<dyn Inbox>,
}

#[async_trait]
impl Node for Service {
    async fn call(&self, mut request: Request<CallRequest>) -> Result<Response<CallReply>, Status> {
        let caller = propagation::extract(&Metadata(request.metadata_mut()));
        let CallRequest { kind, id, body } = request.into_inner();
        let call = RemoteCall {
            name: ProcessName { kind, id },
            caller,
            body,
        };
        let outcome = match self.inbox.upgrade() {
            Some(inbox) => inbox.accept(call).await,
            None => Err(CallError::NotRunning),
        };
        let outcome = match outcome {
            Ok(reply) => Outcome::Reply(reply),
            Err(error) => Outcome::Failure(failure_of(&error).into()),
        };
        Ok(Response::new(CallReply { outcome: Some(outcome) }))
    }
}

fn failure_of(error: &CallError) -> Failure {
    match error {
        CallError::Exited | CallError::Lost => Failure::Exited,
        CallError::Refused => Failure::Refused,
        CallError::Overloaded => Failure::Overloaded,
        CallError::Unknown => Failure::Unknown,
        CallError::NotRunning | CallError::Unreachable => Failure::NotRunning,
    }
}

fn error_of(failure: i32) -> CallError {
    match Failure::try_from(failure) {
        Ok(Failure::NotRunning) => CallError::NotRunning,
        Ok(Failure::Exited) => CallError::Exited,
        Ok(Failure::Refused) => CallError::Refused,
        Ok(Failure::Overloaded) => CallError::Overloaded,
        Ok(Failure::Unknown) => CallError::Unknown,
        // From a node that knows more reasons than we do.
        Ok(Failure::Unspecified) | Err(_) => CallError::Lost,
    }
}

/// gRPC metadata as a carrier of trace context.
struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            self.0.insert(key, value);
        }
    }
}

impl Extractor for Metadata<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        let text = |key| match key {
            KeyRef::Ascii(key) => Some(key.as_str()),
            KeyRef::Binary(_) => None,
        };
        self.0.keys().filter_map(text).collect()
    }
}
