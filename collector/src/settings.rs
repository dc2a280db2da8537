//! What can be set about a collector, with its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How a collector is to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the HTTP API listens.
    pub http: SocketAddr,
    /// Where the native stream listens.
    pub stream: SocketAddr,
    /// Where OTLP over gRPC listens. `None` if nowhere.
    pub otlp_grpc: Option<SocketAddr>,
    /// Where OTLP over HTTP listens. `None` if nowhere.
    pub otlp_http: Option<SocketAddr>,
    /// Where the collector keeps what must survive it. Without it, a restarted collector does not know whom to wait
    /// for, and only gives everyone time to connect before it believes a pool exhausted.
    pub data_dir: Option<PathBuf>,
    /// The times that detection works with.
    pub times: Times,
}

/// The times that detection works with.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How often instances are asked to give a sign of life.
    pub heartbeat: Duration,
    /// How long an instance that does not say so itself is believed alive without news.
    pub lease: Duration,
    /// How old the queued calls of a core must be if a member that could serve them may just be joining.
    pub pool_settle: Duration,
    /// How long a core must have rested on the same waits and units if an instance is concerned that cannot be asked: what
    /// would refute it may still be on its way.
    pub settle: Duration,
    /// After how long an unanswered probe is asked again.
    pub probe_timeout: Duration,
    /// After how long a silent instance is taken to be gone.
    pub forget_after: Duration,
    /// How long a span is believed open of which OTLP told the start, if nothing is said of it any more and it has no
    /// timeout of its own.
    pub max_open: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            lease: Duration::from_secs(3),
            pool_settle: Duration::from_millis(250),
            settle: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            forget_after: Duration::from_secs(600),
            max_open: Duration::from_secs(600),
        }
    }
}
