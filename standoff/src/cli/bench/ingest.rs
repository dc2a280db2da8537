//! The options of the load generator, and of what it is compared with.

use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

use crate::cli::Config;
use crate::cli::values::{address, positive};

/// How requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, in protobuf.
    Http,
    /// OTLP over HTTP, in JSON.
    Json,
    /// The native stream.
    Native,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::Http => "http",
            Protocol::Json => "json",
            Protocol::Native => "native",
        }
    }
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
}

/// What is measured beside other endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// tonic and prost, as anybody would write it, which decode a request and drop it. It takes no gzip over gRPC.
    Bare,
    /// `standoff collector`.
    Collector,
    /// `standoff agent`, with a collector behind it.
    Relay,
}

#[derive(Debug, Args)]
pub(crate) struct Ingest {
    #[command(flatten)]
    pub(crate) _config: Config,
    /// How spans are sent. Several, with commas between them, are measured one after the other.
    #[arg(
        long,
        value_name = "PROTOCOL",
        env = "STANDOFF_PROTOCOL",
        value_delimiter = ',',
        default_value = "grpc"
    )]
    pub(crate) protocol: Vec<Protocol>,
    /// How requests are compressed. Such requests are made once and sent again and again, others have new ids each time.
    #[arg(
        long,
        value_name = "COMPRESSION",
        env = "STANDOFF_COMPRESSION",
        default_value = "none"
    )]
    pub(crate) compression: Compression,
    /// Spans in a request. Several, with commas between them, are measured one after the other.
    #[arg(long, value_name = "N", env = "STANDOFF_BATCH", value_delimiter = ',', default_values = ["100", "512"], value_parser = clap::value_parser!(u32).range(1..=8192))]
    pub(crate) batch: Vec<u32>,
    /// How many connections there are.
    #[arg(long, value_name = "N", env = "STANDOFF_CONNECTIONS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) connections: u32,
    /// Requests that are on their way on each connection at the same time. Over HTTP it is always one.
    #[arg(long, value_name = "N", env = "STANDOFF_IN_FLIGHT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) in_flight: u32,
    /// How many of a hundred spans are said to be open. As many more are the ends of those.
    #[arg(long, value_name = "PERCENT", env = "STANDOFF_OPEN", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=50))]
    pub(crate) open: u32,
    /// How many attributes a span has, all of them texts. With eight it takes about 350 bytes.
    #[arg(long, value_name = "N", env = "STANDOFF_ATTRIBUTES", default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) attributes: u32,
    /// How long each measurement takes.
    #[arg(long = "for", value_name = "TIME", env = "STANDOFF_FOR", default_value = "2s", value_parser = positive)]
    pub(crate) time: Duration,
    /// How many spans are sent in each measurement, instead of a time.
    #[arg(long, value_name = "N", env = "STANDOFF_SPANS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) spans: Option<u64>,
    /// How often each is measured, in turns; the medians count. One more at the beginning does not.
    #[arg(long, value_name = "N", env = "STANDOFF_ROUNDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// What is started and measured, each in a process of its own.
    #[arg(long, value_name = "SUBJECT", env = "STANDOFF_SUBJECTS", value_delimiter = ',', default_values = ["bare", "collector"])]
    pub(crate) subjects: Vec<Subject>,
    /// Another server to measure beside them, by the address at which it takes the protocol. May be given several times.
    #[arg(long, value_name = "URL", env = "STANDOFF_ENDPOINT", value_delimiter = ',')]
    pub(crate) endpoint: Vec<String>,
    /// The process id of that server, if it is on this host, for its time on the processor. In the order of --endpoint.
    #[arg(long, value_name = "PID", env = "STANDOFF_PID", value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,
    /// Measure the collector's parts, too: a server that only answers, one that decodes, one that keeps account of sources.
    #[arg(long, env = "STANDOFF_SHARES", value_parser = BoolishValueParser::new())]
    pub(crate) shares: bool,
    /// Print everything that was measured as JSON.
    #[arg(long, env = "STANDOFF_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

/// What becomes of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sink {
    /// tonic, axum and prost decode them, and they are dropped.
    Bare,
    /// The collector's receiver reads them, and what they say is dropped.
    Decode,
    /// What they say is applied to the account of sources, and dropped after it.
    Sources,
}

#[derive(Debug, Args)]
pub(crate) struct IngestSink {
    #[command(flatten)]
    pub(crate) _config: Config,
    /// What becomes of requests.
    #[arg(long, value_name = "SINK", env = "STANDOFF_SINK")]
    pub(crate) sink: Sink,
    /// Where to listen for OTLP over gRPC.
    #[arg(long, value_name = "ADDRESS", env = "STANDOFF_OTLP_GRPC", value_parser = address)]
    pub(crate) otlp_grpc: SocketAddr,
    /// Where to listen for OTLP over HTTP.
    #[arg(long, value_name = "ADDRESS", env = "STANDOFF_OTLP_HTTP", value_parser = address)]
    pub(crate) otlp_http: SocketAddr,
    /// Where to listen for the native stream.
    #[arg(long, value_name = "ADDRESS", env = "STANDOFF_STREAM", value_parser = address)]
    pub(crate) stream: SocketAddr,
}
