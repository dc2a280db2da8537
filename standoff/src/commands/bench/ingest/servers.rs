//! What is measured: servers in processes of their own, and those that others have started.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::net::TcpStream;

use super::load::Path;
use crate::cli::{self, Compression, Ingest, Protocol};
use crate::commands::bench::{process, stats};

/// A server that does not listen by then will not.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// How often is looked whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Who takes what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// tonic and prost, which decode and drop.
    Bare,
    /// The receiver where it ignores what it receives.
    Answers,
    /// The receiver where it decodes, and what it says is dropped.
    Decodes,
    /// The same with the account of sources.
    Sources,
    Collector,
    Relay,
    /// A server that somebody else has started, and its process if it is known.
    Other {
        url: String,
        pid: Option<u32>,
    },
}

impl Who {
    /// All that is asked for, in the order of the table.
    pub(super) fn all(options: &Ingest, protocol: Protocol) -> Vec<Who> {
        let asked = |subject| options.subjects.contains(&subject);
        let mut all = Vec::new();
        // tonic would need one more library to take gzip, which nothing else needs.
        let bare_can = protocol != Protocol::Grpc || options.compression == Compression::None;
        if asked(cli::Subject::Bare) && bare_can {
            all.push(Who::Bare);
        }
        if options.shares && protocol != Protocol::Native {
            all.extend([Who::Answers, Who::Decodes, Who::Sources]);
        }
        if asked(cli::Subject::Collector) {
            all.push(Who::Collector);
        }
        if asked(cli::Subject::Relay) {
            all.push(Who::Relay);
        }
        let pids = options.pid.iter().copied().map(Some).chain(std::iter::repeat(None));
        all.extend(
            options
                .endpoint
                .iter()
                .zip(pids)
                .map(|(url, pid)| Who::Other { url: url.clone(), pid }),
        );
        all
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Who::Bare => "bare tonic + prost",
            Who::Answers => "answers only",
            Who::Decodes => "decodes",
            Who::Sources => "decodes, sources",
            Who::Collector => "collector",
            Who::Relay => "relay",
            Who::Other { url, .. } => url,
        }
    }

    /// Which method is called.
    pub(super) fn path(&self) -> Path {
        match self {
            Who::Answers => Path::Ignored,
            Who::Bare | Who::Decodes | Who::Sources | Who::Collector | Who::Relay | Who::Other { .. } => Path::Traces,
        }
    }
}

/// A server that listens.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: String,
    /// Where it tells about itself.
    told: Told,
    pid: Option<u32>,
    /// Its own process first, then those that it needs.
    _processes: Vec<Process>,
}

/// Where a server says how many spans it has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    ByCollector(String),
    ByRelay(String),
    Nowhere,
}

/// A process of ours that ends when nobody needs it any more.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Where a server listens.
struct Addresses {
    otlp_grpc: SocketAddr,
    otlp_http: SocketAddr,
    stream: SocketAddr,
    http: SocketAddr,
}

impl Addresses {
    /// Some on which nobody listens.
    fn free() -> anyhow::Result<Self> {
        // All at once, so that they differ.
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listeners = [listen()?, listen()?, listen()?, listen()?];
        let [otlp_grpc, otlp_http, stream, http] = listeners.each_ref().map(TcpListener::local_addr);
        Ok(Addresses {
            otlp_grpc: otlp_grpc?,
            otlp_http: otlp_http?,
            stream: stream?,
            http: http?,
        })
    }

    fn of(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::Grpc => self.otlp_grpc,
            Protocol::Http | Protocol::Json => self.otlp_http,
            Protocol::Native => self.stream,
        }
    }
}

impl Server {
    pub(super) async fn start(who: &Who, protocol: Protocol) -> anyhow::Result<Self> {
        if let Who::Other { url, pid } = who {
            return Ok(Server {
                url: url.clone(),
                told: Told::Nowhere,
                pid: *pid,
                _processes: Vec::new(),
            });
        }
        let addresses = Addresses::free()?;
        let api = format!("http://{}", addresses.http);
        let (args, told) = match who {
            Who::Collector => (&["collector", "--log", "error"][..], Told::ByCollector(api)),
            Who::Relay => (&["agent", "--log", "error"][..], Told::ByRelay(api)),
            Who::Decodes | Who::Answers => (&["ingest-sink", "--sink", "decode"][..], Told::Nowhere),
            Who::Sources => (&["ingest-sink", "--sink", "sources"][..], Told::Nowhere),
            Who::Bare | Who::Other { .. } => (&["ingest-sink", "--sink", "bare"][..], Told::Nowhere),
        };
        let mut command = this(args)?;
        command
            .args(["--otlp-grpc", &addresses.otlp_grpc.to_string()])
            .args(["--otlp-http", &addresses.otlp_http.to_string()])
            .args(["--stream", &addresses.stream.to_string()]);
        let has_api = told != Told::Nowhere;
        if has_api {
            command.args(["--http", &addresses.http.to_string()]);
        }
        let mut upstream = None;
        if *who == Who::Relay {
            let (collector, stream) = collector_without_otlp().await?;
            command.args(["--upstream", &format!("http://{stream}")]);
            upstream = Some(collector);
        }
        let process = Process(command.spawn().context("cannot start a server")?);
        let pid = process.0.id();
        listens(addresses.of(protocol)).await?;
        if has_api {
            listens(addresses.http).await?;
        }
        Ok(Server {
            url: format!("http://{}", addresses.of(protocol)),
            told,
            pid: Some(pid),
            _processes: [process].into_iter().chain(upstream).collect(),
        })
    }

    /// How long it has been on the processor, if its process is known.
    pub(super) fn on_processor(&self) -> anyhow::Result<Option<Duration>> {
        self.pid.map(process::on_processor).transpose()
    }

    /// How many spans it says that it has taken so far, if it says so.
    pub(super) async fn taken(&self) -> anyhow::Result<Option<u64>> {
        match &self.told {
            Told::Nowhere => Ok(None),
            Told::ByCollector(url) => Ok(Some(stats(url).await?.events_total)),
            Told::ByRelay(url) => {
                let status = reqwest::get(format!("{url}/status")).await?.error_for_status()?;
                let status: serde_json::Value = status.json().await?;
                let of = |name| status.pointer(name).and_then(serde_json::Value::as_u64);
                let (started, finished) = (of("/otlp/spans_started_total"), of("/otlp/spans_finished_total"));
                Ok(started.zip(finished).map(|(started, finished)| started + finished))
            }
        }
    }

    /// The most memory that it has had, in bytes.
    pub(super) fn memory(&self) -> anyhow::Result<Option<u64>> {
        self.pid.map(|pid| process::memory(pid, "VmHWM")).transpose()
    }
}

/// This program, with nothing of standoff in its environment.
fn this(args: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STANDOFF_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// What a relay needs.
async fn collector_without_otlp() -> anyhow::Result<(Process, SocketAddr)> {
    let addresses = Addresses::free()?;
    let mut command = this(&[
        "collector",
        "--log",
        "error",
        "--otlp-grpc",
        "off",
        "--otlp-http",
        "off",
    ])?;
    command
        .args(["--stream", &addresses.stream.to_string()])
        .args(["--http", &addresses.http.to_string()]);
    let process = Process(command.spawn().context("cannot start a collector")?);
    listens(addresses.stream).await?;
    Ok((process, addresses.stream))
}

async fn listens(address: SocketAddr) -> anyhow::Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        ensure!(begun.elapsed() < LISTENS_WITHIN, "nobody listens on {address}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
