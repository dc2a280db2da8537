//! Where the relay sends everything: one small trait, what stands behind it over gRPC, and the task that keeps one
//! connected.

use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use standoff_protocol::stream::wait_stream_client::WaitStreamClient;
use standoff_protocol::stream::{FromRelay, MESSAGE_BYTES_MAX, ToRelay};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use super::core::{Input, UpstreamId};
use super::owner::{Link, Message, Owner};
use crate::backoff::{self, Backoff};
use crate::reporter;
use crate::settings;

/// Messages that wait for a connection: 16 times 512 spans, 7 MB unless their texts are at their limits. What is due beyond
/// that is not made yet.
const OUTGOING_MAX: usize = 16;

/// How long an attempt to connect may take, for transports that set themselves no limit.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How often HTTP/2 asks a collector whether it is there, and how long it may take to answer: a dead link is found out within
/// the lease of instances, since what TCP sends again by itself comes ever later the longer the link was dead.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// See [`ALIVE_EVERY`].
const ALIVE_WITHIN: Duration = Duration::from_secs(2);

/// How long an attempt over gRPC may take. With the longest wait between two it makes one second, in which a collector that
/// can be reached again is to be told everything.
const GRPC_CONNECT_WITHIN: Duration = Duration::from_millis(500);

/// Why a connection to an upstream has ended, or did not come about.
pub type Lost = Box<dyn std::error::Error + Send + Sync>;

/// What an upstream says. The connection lasts until this ends, or is dropped.
pub type Incoming = Pin<Box<dyn Stream<Item = Result<ToRelay, Lost>> + Send>>;

/// Someone who is told everything: a collector, over whatever transport.
#[tonic::async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// What it is called in logs, on the status page and in metrics.
    fn name(&self) -> &str;

    /// Whether this is the address where the upstream listens, as far as that can be told.
    fn is_at(&self, address: SocketAddr) -> bool {
        let _ = address;
        false
    }

    /// Connects, and sends what comes from `outgoing`, in order, for as long as what is returned is not dropped. Takes
    /// nothing from it before there is a connection: what is taken is made at that moment, of what is so then.
    async fn connect(&self, outgoing: Outgoing) -> Result<Incoming, Lost>;
}

/// What an upstream is to be told. Ends when the relay has no more to say on this connection.
#[derive(Debug)]
pub struct Outgoing {
    messages: mpsc::Receiver<FromRelay>,
    /// Told of the first message that is asked for.
    begun: Option<oneshot::Sender<()>>,
    /// Told of the room that comes with each message taken.
    room: Arc<Notify>,
}

impl Stream for Outgoing {
    type Item = FromRelay;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<FromRelay>> {
        if let Some(begun) = self.begun.take() {
            // Nobody waits for it if the relay has given up meanwhile.
            begun.send(()).ok();
        }
        let message = ready!(self.messages.poll_recv(context));
        self.room.notify_one();
        Poll::Ready(message)
    }
}

/// A collector over gRPC.
#[derive(Debug)]
pub struct Grpc {
    url: String,
    endpoint: Endpoint,
}

/// The text is not the URL of a collector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form http://HOST:PORT")]
pub struct NotAUrl(pub String);

impl Grpc {
    /// The collector at this URL, such as `http://127.0.0.1:4381`.
    pub fn new(url: &str) -> Result<Self, NotAUrl> {
        let endpoint = settings::is_url(url).then(|| reporter::endpoint(url)).flatten();
        Ok(Self {
            endpoint: endpoint
                .ok_or_else(|| NotAUrl(url.to_owned()))?
                .connect_timeout(GRPC_CONNECT_WITHIN)
                .http2_keep_alive_interval(ALIVE_EVERY)
                .keep_alive_timeout(ALIVE_WITHIN),
            url: url.to_owned(),
        })
    }
}

#[tonic::async_trait]
impl Upstream for Grpc {
    fn name(&self) -> &str {
        &self.url
    }

    fn is_at(&self, address: SocketAddr) -> bool {
        let uri = self.endpoint.uri();
        let host = uri.host().unwrap_or_default();
        let is_here = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => address.ip() == ip,
            Err(_) => host == "localhost" && address.ip().is_loopback(),
        };
        is_here && uri.port_u16() == Some(address.port())
    }

    async fn connect(&self, outgoing: Outgoing) -> Result<Incoming, Lost> {
        let channel = self.endpoint.connect().await?;
        let mut client = WaitStreamClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let incoming = client.relay(outgoing).await?.into_inner();
        Ok(Box::pin(Conversation {
            incoming: incoming.map(|message| message.map_err(Into::into)),
            _client: client,
        }))
    }
}

/// The client keeps the connection for as long as it lives.
struct Conversation<S, C> {
    incoming: S,
    _client: C,
}

impl<S: Stream + Unpin, C: Unpin> Stream for Conversation<S, C> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        Pin::new(&mut self.incoming).poll_next(context)
    }
}

/// Keeps an upstream connected until the relay shuts down, and then for as long as there is something to say.
pub(super) async fn keep(id: UpstreamId, upstream: Box<dyn Upstream>, owner: Owner, shutdown: CancellationToken) {
    let mut backoff = Backoff::default();
    let mut is_known_lost = false;
    while !shutdown.is_cancelled() {
        let began = Instant::now();
        let ended = session(id, upstream.as_ref(), &owner, &shutdown).await;
        // One that takes us only to hang up again is no success.
        if began.elapsed() > backoff::CAP {
            backoff.reset();
            is_known_lost = false;
        }
        if shutdown.is_cancelled() {
            return;
        }
        let reason = ended.map_or_else(describe, |()| "it hung up".to_owned());
        if std::mem::replace(&mut is_known_lost, true) {
            tracing::debug!(upstream = upstream.name(), reason, "the upstream is still away");
        } else {
            tracing::warn!(upstream = upstream.name(), reason, "the upstream is away; trying again");
        }
        tokio::select! {
            () = sleep(backoff.next(rand::random())) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// An error with its causes.
fn describe(error: Lost) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// One connection, from the attempt to its end.
async fn session(
    id: UpstreamId,
    upstream: &dyn Upstream,
    owner: &Owner,
    shutdown: &CancellationToken,
) -> Result<(), Lost> {
    let (sender, messages) = mpsc::channel(OUTGOING_MAX);
    let (begun, has_begun) = oneshot::channel();
    let connection = CancellationToken::new();
    let mut link = Some(Link {
        outgoing: sender,
        _connection: connection.clone().drop_guard(),
    });
    let outgoing = Outgoing {
        messages,
        begun: Some(begun),
        room: owner.room(),
    };
    let mut connecting = pin!(upstream.connect(outgoing));
    // The upstream may wait for the hello before it answers at all, so the owner is told as soon as messages are taken.
    let early = tokio::select! {
        connected = timeout(CONNECT_WITHIN, &mut connecting) => {
            Some(connected.map_err(|_| "no connection within its time")??)
        }
        _ = has_begun => None,
        () = shutdown.cancelled() => return Ok(()),
    };
    if let Some(link) = link.take() {
        let told = Message::UpstreamConnected { upstream: id, link };
        owner.tell(told).await?;
    }
    let conversation = async {
        let mut incoming = match early {
            Some(incoming) => incoming,
            None => connecting.await?,
        };
        tracing::info!(upstream = upstream.name(), "connected to the upstream");
        while let Some(message) = incoming.next().await {
            let input = Input::UpstreamMessage {
                upstream: id,
                message: message?,
            };
            // While the relay leaves, what is still to be said goes out; nobody listens any more.
            owner.tell(Message::Input(input)).await.ok();
        }
        Ok(())
    };
    let hung_up = async {
        connection.cancelled().await;
        if shutdown.is_cancelled() {
            // The owner has left: the end of what it had to say ends the conversation.
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = conversation => ended,
        () = hung_up => Ok(()),
    };
    owner
        .tell(Message::Input(Input::UpstreamDisconnected { upstream: id }))
        .await
        .ok();
    ended
}
