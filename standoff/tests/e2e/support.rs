//! Processes of the standoff binary, and what can be waited for about them.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use standoff_protocol::api::{Alert, AlertList, AlertState, Snapshot, Stats};
use tempfile::TempDir;

/// How long anything may take that should happen at once. Generous, since machines may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until there is something, and fails if it takes too long.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    within(SOON, what, look).await
}

async fn within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < patience, "waited {patience:?} in vain for: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// An address on which nobody listens. Another process could take it before it is used, which no test has seen.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

/// The standoff binary with these arguments, and nothing of standoff in its environment.
pub(crate) fn standoff(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standoff"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STANDOFF_") {
            command.env_remove(name);
        }
    }
    // Its ports are the same everywhere, and tests run side by side. Who needs them gives a flag, which wins.
    command
        .env("STANDOFF_OTLP_GRPC", "off")
        .env("STANDOFF_OTLP_HTTP", "off");
    command
}

/// A process that is killed when the test is done with it.
pub(crate) struct Running {
    name: String,
    child: Child,
    folder: TempDir,
}

impl Running {
    /// Starts a process whose output goes to files.
    pub(crate) fn start(name: &str, mut command: Command) -> Self {
        let folder = TempDir::new().unwrap();
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let child = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
        Self {
            name: name.into(),
            child,
            folder,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn out(&self) -> String {
        read(&self.folder.path().join("out"))
    }

    pub(crate) fn log(&self) -> String {
        read(&self.folder.path().join("err"))
    }

    /// Waits until the log has all of these texts.
    pub(crate) async fn logs(&self, texts: &[&str]) {
        let what = format!("{texts:?} in the log of {}", self.name);
        eventually(&what, async || {
            let log = self.log();
            texts.iter().all(|text| log.contains(text)).then_some(())
        })
        .await;
    }

    /// Waits until the process has ended.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        self.ends_within(SOON).await
    }

    pub(crate) async fn ends_within(&mut self, patience: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        within(patience, &what, async || self.child.try_wait().unwrap()).await
    }

    /// Asks it to end, as Ctrl-C would.
    pub(crate) fn terminate(&self) {
        signal(self.pid(), rustix::process::Signal::TERM);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            // What it said is the best explanation of why the test failed.
            let mut err = std::io::stderr().lock();
            writeln!(err, "── {}\n{}\n{}", self.name, self.out(), self.log()).ok();
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Where a collector takes OTLP.
#[derive(Clone, Copy)]
struct Otlp {
    grpc: SocketAddr,
    http: SocketAddr,
}

/// A collector in a process of its own, which keeps its addresses and its data over restarts.
pub(crate) struct Collector {
    process: Running,
    http: SocketAddr,
    stream: SocketAddr,
    otlp: Option<Otlp>,
    data: PathBuf,
    more: &'static [&'static str],
    _folder: TempDir,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more options.
    pub(crate) async fn start_with(more: &'static [&'static str]) -> Self {
        Self::start_at(None, more).await
    }

    /// One that takes OTLP, too.
    pub(crate) async fn start_with_otlp() -> Self {
        let otlp = Otlp {
            grpc: free_address(),
            http: free_address(),
        };
        Self::start_at(Some(otlp), &[]).await
    }

    async fn start_at(otlp: Option<Otlp>, more: &'static [&'static str]) -> Self {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        let (http, stream) = (free_address(), free_address());
        let process = spawn_collector(http, stream, otlp, &data, more);
        let collector = Self {
            process,
            http,
            stream,
            otlp,
            data,
            more,
            _folder: folder,
        };
        collector.listens().await;
        collector
    }

    /// Where services report.
    pub(crate) fn upstream(&self) -> String {
        format!("http://{}", self.stream)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Where sources of OTLP send to over HTTP.
    pub(crate) fn otlp_http(&self) -> String {
        format!("http://{}", self.otlp.unwrap().http)
    }

    /// The same over gRPC.
    pub(crate) fn otlp_grpc(&self) -> String {
        format!("http://{}", self.otlp.unwrap().grpc)
    }

    /// How much memory its process has.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let mut ps = Command::new("ps");
        ps.args(["-o", "rss=", "-p", &self.process.pid().to_string()]);
        let kibibytes = String::from_utf8(ps.output().unwrap().stdout).unwrap();
        kibibytes.trim().parse::<u64>().unwrap() << 10
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    pub(crate) fn stream(&self) -> SocketAddr {
        self.stream
    }

    pub(crate) async fn start_again(&mut self) {
        self.process = spawn_collector(self.http, self.stream, self.otlp, &self.data, self.more);
        self.listens().await;
    }

    async fn listens(&self) {
        self.process.logs(&["collector listens"]).await;
    }

    async fn get(&self, path: &str) -> String {
        let answer = reqwest::get(format!("{}{path}", self.url())).await.unwrap();
        answer.error_for_status().unwrap().text().await.unwrap()
    }

    /// What it sees just now, and what fires.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        use eventsource_stream::Eventsource;
        use futures_util::StreamExt;

        let answer = reqwest::get(format!("{}/api/v1/events", self.url())).await.unwrap();
        let first = answer.bytes_stream().eventsource().next().await.unwrap().unwrap();
        serde_json::from_str(&first.data).unwrap()
    }

    /// All alerts, also those that are only suspected.
    pub(crate) async fn all_alerts(&self) -> Vec<Alert> {
        let list: AlertList = serde_json::from_str(&self.get("/api/v1/alerts?state=all").await).unwrap();
        list.alerts
    }

    /// All alerts that anybody has been told of.
    pub(crate) async fn alerts(&self) -> Vec<Alert> {
        let alerts = self.all_alerts().await;
        alerts
            .into_iter()
            .filter(|it| it.state != AlertState::Suspected)
            .collect()
    }

    /// Waits for an alert in this state.
    pub(crate) async fn alert(&self, state: AlertState) -> Alert {
        let what = format!("an alert that is {state:?}");
        self.alert_that(&what, |it| it.state == state).await
    }

    /// Waits until an alert is so.
    pub(crate) async fn alert_that(&self, what: &str, is: impl Fn(&Alert) -> bool) -> Alert {
        eventually(what, async || self.alerts().await.into_iter().find(&is)).await
    }

    /// Waits until nothing fires any more.
    pub(crate) async fn all_over(&self) {
        eventually("all alerts to be resolved", async || {
            let alerts = self.alerts().await;
            alerts.iter().all(|it| it.state == AlertState::Resolved).then_some(())
        })
        .await;
    }

    /// Waits until its statistics are so.
    pub(crate) async fn stats(&self, what: &str, are: impl Fn(&Stats) -> bool) -> Stats {
        use eventsource_stream::Eventsource;
        use futures_util::StreamExt;

        let answer = reqwest::get(format!("{}/api/v1/events", self.url())).await.unwrap();
        let mut events = answer.bytes_stream().eventsource();
        let wait = async {
            loop {
                let event = events.next().await.unwrap().unwrap();
                if event.event == "stats" {
                    let stats: Stats = serde_json::from_str(&event.data).unwrap();
                    if are(&stats) {
                        return stats;
                    }
                }
            }
        };
        tokio::time::timeout(SOON, wait)
            .await
            .unwrap_or_else(|_| panic!("waited {SOON:?} in vain for: {what}"))
    }
}

fn spawn_collector(http: SocketAddr, stream: SocketAddr, otlp: Option<Otlp>, data: &Path, more: &[&str]) -> Running {
    let (http, stream) = (http.to_string(), stream.to_string());
    let address = |of: fn(Otlp) -> SocketAddr| otlp.map_or("off".to_owned(), |it| of(it).to_string());
    let (otlp_grpc, otlp_http) = (address(|it| it.grpc), address(|it| it.http));
    let data = data.to_str().unwrap();
    let args = [
        "collector",
        "--http",
        &http,
        "--stream",
        &stream,
        "--otlp-grpc",
        &otlp_grpc,
        "--otlp-http",
        &otlp_http,
        "--data-dir",
        data,
        "--log",
        "debug",
    ];
    Running::start("collector", standoff(&[&args, more].concat()))
}

/// The names of the resources that the core of an alert occupies.
pub(crate) fn held(alert: &Alert) -> Vec<&str> {
    alert
        .core
        .iter()
        .flat_map(|task| &task.resources)
        .map(String::as_str)
        .collect()
}
