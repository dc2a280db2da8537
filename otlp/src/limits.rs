//! How much is accepted.
//!
//! What one request makes us keep follows from these: signals take at most [`MEMORY_PER_BYTE`] times the bytes of the
//! request they were read from.

use std::time::Duration;

/// The largest request in bytes, on the wire and after decompression: what OTLP 1.11 recommends.
pub const REQUEST_BYTES_MAX: usize = 64 << 20;

/// The most spans of which one request may tell; further ones are rejected by `partial_success`. Thirty times the default
/// batch of the OpenTelemetry collector, and 16 MiB of signals.
pub const SPANS_PER_REQUEST_MAX: usize = 1 << 18;

/// Bytes of signals that one byte of a request can turn into, while they are being collected. The worst case is a
/// request of spans that say nothing but their ids and that they are open: 32 bytes on the wire, some 300 here, and a
/// table that doubles as it grows. A test measures it.
pub const MEMORY_PER_BYTE: usize = 16;

/// Bytes of all requests together that are being received, decoded, or wait to be taken, as far as they count towards
/// [`Settings::memory_bytes_max`](crate::Settings). Four of the largest requests.
pub const MEMORY_BYTES_MAX: usize = 256 << 20;

/// How long a sender may take to send one request. Exporters give up after 10 s unless told otherwise.
pub const READ_WITHIN: Duration = Duration::from_secs(30);

/// After how long a sender that was refused for want of room is asked to try again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long requests that have begun may take to end once the receiver is told to stop. Connections on which nothing has
/// been said yet would otherwise keep it for ever.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// The longest message in an answer, in bytes, so that no answer comes near the 4 MiB that OTLP allows for it.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024;

/// How much of a request that is refused is let pass before its connection is closed. Four of the largest requests: who
/// sends more has not set a batch size too high.
pub(crate) const PASSING_BYTES_MAX: usize = 256 << 20;

/// Requests that are decoded on the thread that received them: longer ones, which would keep it for more than about a
/// tenth of a millisecond, go to a thread for such work.
pub(crate) const DECODE_HERE_BYTES_MAX: usize = 256 << 10;

/// The largest window of a zstd frame that is accepted, as a power of two. 8 MiB is what every decoder must support
/// (RFC 8878), and as much memory as one request may make us take before its first byte is there.
pub(crate) const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Attributes of an instance that are kept for display. Kubernetes detectors set about ten.
pub(crate) const DISPLAY_ATTRIBUTES_MAX: usize = 16;

/// How long a source of heartbeats may ask to be believed between two of them. Silence beyond it helps nobody.
pub(crate) const HEARTBEAT_MAX: Duration = Duration::from_secs(300);

/// What is assumed of heartbeats that do not say how often they come: the default of those who send them.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);
