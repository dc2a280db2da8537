//! The receiver: takes requests over gRPC and HTTP, and puts what they say into a queue.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::budget::{Budget, Held};
use crate::collect::Decoded;
use crate::compression::Compression;
use crate::decode::{self, DecodeError, Format};
use crate::failure::Failure;
use crate::limits;
use crate::signal::Batch;
use crate::status::Accepted;
use crate::{grpc, http};

/// What a receiver allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The largest request, on the wire and after decompression.
    pub request_bytes_max: usize,
    /// Bytes of all requests and signals together, from the first byte of a request until its batch is dropped. Who
    /// comes when they are taken is told to come again. Signals are counted when they are complete; until then each
    /// thread that decodes may take [`limits::MEMORY_PER_BYTE`] times its request on top.
    pub memory_bytes_max: usize,
    /// How long a sender may take to send a request.
    pub read_within: Duration,
    /// After how long a sender that is refused for want of room is asked to come again.
    pub retry_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            request_bytes_max: limits::REQUEST_BYTES_MAX,
            memory_bytes_max: limits::MEMORY_BYTES_MAX,
            read_within: limits::READ_WITHIN,
            retry_after: limits::RETRY_AFTER,
        }
    }
}

impl Settings {
    pub(crate) fn no_room(&self) -> Failure {
        Failure::NoRoom {
            retry_after: self.retry_after,
        }
    }
}

/// What a receiver has taken and refused since it was made. Counted for whole requests, except where said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were accepted, in full or in part.
    pub accepted: u64,
    /// Requests that were refused since there was no room; their senders come again.
    pub refused: u64,
    /// Requests that were too large, could not be read, or the like; their senders do not come again.
    pub invalid: u64,
    /// Spans of accepted requests that said that they are open.
    pub spans_started: u64,
    /// Spans of accepted requests that said that they have ended.
    pub spans_finished: u64,
    /// Spans and log records of accepted requests that were rejected, for example since their ids were invalid.
    pub spans_rejected: u64,
    /// Bytes that are taken now of [`Settings::memory_bytes_max`].
    pub memory_bytes: u64,
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    invalid: AtomicU64,
    spans_started: AtomicU64,
    spans_finished: AtomicU64,
    spans_rejected: AtomicU64,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Traces,
    Logs,
    /// Accepted, since those who send traces send these to the same place, and ignored.
    Metrics,
}

impl About {
    /// What is rejected of it, as JSON names it.
    pub(crate) fn rejected_name(self) -> &'static str {
        match self {
            About::Traces => "rejectedSpans",
            About::Logs => "rejectedLogRecords",
            About::Metrics => "rejectedDataPoints",
        }
    }
}

/// Takes requests, and puts what they say into a queue.
///
/// Clones are the same receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    queue: mpsc::Sender<Batch>,
    budget: Budget,
    /// Threads that may decode long requests at the same time.
    decoding: Arc<Semaphore>,
    counters: Counters,
}

impl Receiver {
    /// A receiver that fills this queue. While the queue is full, requests are refused with codes that make their
    /// senders come again; once it is closed, too, since a sender may then find somebody else.
    pub fn new(settings: Settings, queue: mpsc::Sender<Batch>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Receiver {
            shared: Arc::new(Shared {
                settings,
                queue,
                budget: Budget::new(settings.memory_bytes_max),
                decoding: Arc::new(Semaphore::new(threads)),
                counters: Counters::default(),
            }),
        }
    }

    /// Serves gRPC until told to stop, and then until the requests that have begun are answered, for
    /// [`limits::DRAIN_WITHIN`] at most.
    ///
    /// # Errors
    ///
    /// If the listener fails.
    pub async fn serve_grpc(&self, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
        tracing::info!(address = %address(&listener), "OTLP over gRPC");
        let serving = grpc::serve(self.clone(), listener, shutdown.clone());
        drained(serving, shutdown).await
    }

    /// Serves HTTP, as [`Receiver::serve_grpc`] does gRPC.
    ///
    /// # Errors
    ///
    /// If the listener fails.
    pub async fn serve_http(&self, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
        tracing::info!(address = %address(&listener), "OTLP over HTTP");
        let serving = axum::serve(listener, self.http()).with_graceful_shutdown(shutdown.clone().cancelled_owned());
        drained(serving.into_future(), shutdown).await
    }

    /// The routes of HTTP, for whoever serves them together with others.
    pub fn http(&self) -> axum::Router {
        http::router(self.clone())
    }

    /// The services of gRPC, for whoever serves them together with others.
    pub fn grpc(&self) -> tonic::service::Routes {
        grpc::routes(self.clone())
    }

    /// What has been taken and refused so far.
    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            accepted: get(&counters.accepted),
            refused: get(&counters.refused),
            invalid: get(&counters.invalid),
            spans_started: get(&counters.spans_started),
            spans_finished: get(&counters.spans_finished),
            spans_rejected: get(&counters.spans_rejected),
            memory_bytes: self.shared.budget.taken() as u64,
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// A part of the memory, for one request.
    pub(crate) fn hold(&self) -> Held {
        self.shared.budget.hold()
    }

    /// Takes a request that has arrived. `held` is what it takes of the memory.
    pub(crate) async fn take(
        &self,
        about: About,
        format: Format,
        compression: Compression,
        bytes: Bytes,
        mut held: Held,
    ) -> Result<Accepted, Failure> {
        if about == About::Metrics {
            return Ok(Accepted::default());
        }
        let retry_after = self.shared.settings.retry_after;
        let place = self
            .shared
            .queue
            .clone()
            .try_reserve_owned()
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Failure::NoRoom { retry_after },
                mpsc::error::TrySendError::Closed(_) => Failure::ShuttingDown { retry_after },
            })?;
        let settings = self.shared.settings;
        let is_short = bytes.len() <= limits::DECODE_HERE_BYTES_MAX && compression == Compression::None;
        let read = move || {
            let decoded = decode(about, format, compression, bytes, &settings, &mut held);
            decoded.map(|decoded| (decoded, held))
        };
        let (mut decoded, held) = if is_short { read()? } else { self.elsewhere(read).await? };
        self.count(&decoded);
        decoded.batch.held = Some(held);
        if !decoded.batch.is_empty() {
            place.send(decoded.batch);
        }
        Ok(Accepted {
            rejected: decoded.rejected,
            reason: decoded.reason,
        })
    }
}

impl Receiver {
    /// Does what takes long on a thread for such work, so that whoever shares the runtime is served meanwhile.
    async fn elsewhere<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let shutting_down = Failure::ShuttingDown {
            retry_after: self.shared.settings.retry_after,
        };
        let Ok(turn) = self.shared.decoding.clone().acquire_owned().await else {
            return Err(shutting_down);
        };
        let work = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        // It fails only if the runtime ends.
        work.await.unwrap_or(Err(shutting_down))
    }

    fn count(&self, decoded: &Decoded) {
        let counters = &self.shared.counters;
        let add = |counter: &AtomicU64, count: usize| counter.fetch_add(count as u64, Ordering::Relaxed);
        add(&counters.spans_started, decoded.batch.started.len());
        add(&counters.spans_finished, decoded.batch.finished.len());
        counters.spans_rejected.fetch_add(decoded.rejected, Ordering::Relaxed);
    }

    /// Counts how a request has ended.
    pub(crate) fn count_answer<T>(&self, answer: &Result<T, Failure>) {
        let counters = &self.shared.counters;
        let counter = match answer {
            Ok(_) => &counters.accepted,
            Err(Failure::NoRoom { .. } | Failure::ShuttingDown { .. }) => &counters.refused,
            Err(_) => &counters.invalid,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads a request. Afterwards `held` is what its signals take.
fn decode(
    about: About,
    format: Format,
    compression: Compression,
    bytes: Bytes,
    settings: &Settings,
    held: &mut Held,
) -> Result<Decoded, Failure> {
    let request = compression.undo(bytes, settings, held)?;
    let decoded: Result<Decoded, DecodeError> = match about {
        About::Traces => decode::traces(&request, format),
        About::Logs => decode::logs(&request, format),
        About::Metrics => Ok(Decoded::default()),
    };
    let decoded = decoded?;
    drop(request);
    let bytes = decoded.batch.bytes();
    held.shrink_to(0);
    held.grow(bytes).map_err(|_| settings.no_room())?;
    Ok(decoded)
}

/// Serves, but not for ever once told to stop.
async fn drained(
    serving: impl Future<Output = std::io::Result<()>>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    tokio::select! {
        served = serving => served,
        () = async {
            shutdown.cancelled().await;
            tokio::time::sleep(limits::DRAIN_WITHIN).await;
        } => Ok(()),
    }
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener
        .local_addr()
        .unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
}
