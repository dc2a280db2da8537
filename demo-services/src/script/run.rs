//! A run: all participants of a script, connected and ready.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use standoff_script::Script;
use standoff_script::program::{ClientProgram, Op, Program, ServerIndex};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::exchange::Exchange;
use super::message::{Heard, Said};
use super::participant::{Event, Line, OUTBOX_MAX, Participant};
use super::pipe::{self, Process};
use super::tasks::Worker;
use crate::demo::{Settings, Telemetry};

/// Servers and kinds of clients that a run may have. Each is an instance with a thread of its own, and some are processes.
pub const INSTANCES_MAX: usize = 256;

/// Messages that wait for one participant. At any time each call and each wait for a unit has at most one message on its
/// way, so that this many are open at once before one is dropped; a call whose message was dropped times out.
const INBOX_MAX: usize = 64 * 1024;

/// How long the upstream may take to welcome an instance, and all servers to be ready.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// What is to run, and how.
pub struct Config {
    /// What runs.
    pub script: Script,
    /// Where and how instances report.
    pub settings: Settings,
    /// Which servers are processes of their own.
    pub processes: Processes,
    /// Makes the command that runs [`run_server`] for the server of this name.
    pub command: Box<dyn Fn(&str) -> Command + Send + Sync>,
}

/// Which servers are processes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processes {
    /// Those that crash, since only a process can die without a word. The others share this one.
    Crashing,
    /// All.
    All,
}

/// Why a script did not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// More than [`INSTANCES_MAX`].
    #[error("the script has {0} servers and kinds of clients, and can run with at most {INSTANCES_MAX}")]
    TooManyInstances(usize),
    /// The script has no server of this name.
    #[error("the script has no server `{0}`")]
    NoSuchServer(String),
    /// An agent did not start.
    #[error(transparent)]
    Agent(#[from] crate::demo::StartError),
    /// An agent has not been welcomed.
    #[error("nothing that takes a native stream answers at {upstream} within {READY_WITHIN:?}")]
    Unreachable {
        /// Where it was looked for.
        upstream: String,
    },
    /// A server's process did not start.
    #[error("cannot start the process of server `{server}`")]
    Process {
        /// Of which server.
        server: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A server's process has ended, or was not ready in time.
    #[error("not all servers were ready within {READY_WITHIN:?}")]
    NotReady,
}

/// A script whose servers are ready.
pub struct Run {
    program: Arc<Program>,
    /// Those who run clients, each with the programs of its own.
    clients: Vec<(Arc<Worker>, Vec<ClientProgram>)>,
    telemetry: Vec<Telemetry>,
    processes: Vec<Process>,
    /// Servers, and what connects them.
    tasks: JoinSet<()>,
    instances: BTreeSet<String>,
}

impl Run {
    /// Starts all servers, and waits until they and the clients are known upstream.
    pub async fn start(config: Config) -> Result<Run, StartError> {
        let Config {
            script,
            settings,
            processes,
            command,
        } = config;
        let program = Arc::new(Program::of(&script));
        let clients = clients_alike(&program);
        let (servers, participants) = (program.servers.len(), program.servers.len() + clients.len());
        if participants > INSTANCES_MAX {
            return Err(StartError::TooManyInstances(participants));
        }
        let (exchange, events) = mpsc::channel(OUTBOX_MAX);
        let (inboxes, mut receivers): (Vec<_>, Vec<_>) = (0..participants).map(|_| mpsc::channel(INBOX_MAX)).unzip();
        let client_inboxes = receivers.split_off(servers);
        let mut run = Run {
            program: Arc::clone(&program),
            clients: Vec::new(),
            telemetry: Vec::new(),
            processes: Vec::new(),
            tasks: JoinSet::new(),
            instances: BTreeSet::new(),
        };
        let (progress, ready) = watch::channel(Progress::default());
        run.tasks.spawn(connect(
            Exchange::new(&program, participants),
            events,
            inboxes,
            progress,
        ));
        let crashing = crashing(&program);
        for (server, inbox) in receivers.into_iter().enumerate() {
            let name = program.servers[server].name.to_string();
            run.instances.insert(name.clone());
            if processes == Processes::All || crashing.contains(&server) {
                let process = Process::start(command(&name), server, exchange.clone(), inbox);
                let process = process.map_err(|source| StartError::Process { server: name, source })?;
                run.processes.push(process);
            } else {
                let worker = run.worker(&name, &name, server, &exchange, &settings)?;
                run.tasks.spawn(async move {
                    worker.say(Said::Ready).await;
                    worker.serve(server, inbox).await;
                });
            }
        }
        for ((number, alike), inbox) in clients.into_iter().enumerate().zip(client_inboxes) {
            let name = alike.first().map_or_else(String::new, |it| it.name.to_string());
            // No server has a hyphen in its name.
            let instance = format!("{name}-{}", number + 1);
            run.instances.insert(instance.clone());
            let worker = run.worker(&name, &instance, servers + number, &exchange, &settings)?;
            run.tasks.spawn(Arc::clone(&worker).listen(inbox));
            run.clients.push((worker, alike));
        }
        run.be_ready(&settings.upstream, servers, ready).await?;
        Ok(run)
    }

    fn worker(
        &mut self,
        service: &str,
        instance: &str,
        participant: usize,
        exchange: &mpsc::Sender<Event>,
        settings: &Settings,
    ) -> Result<Arc<Worker>, StartError> {
        let telemetry = Telemetry::start(service, instance, settings)?;
        let participant = Participant::new(Line::Here {
            participant,
            exchange: exchange.clone(),
        });
        let worker = Worker::new(Arc::clone(&self.program), participant, &telemetry);
        self.telemetry.push(telemetry);
        Ok(Arc::new(worker))
    }

    async fn be_ready(
        &self,
        upstream: &str,
        servers: usize,
        mut ready: watch::Receiver<Progress>,
    ) -> Result<(), StartError> {
        let connected = join_all(self.telemetry.iter().map(Telemetry::connected));
        if timeout(READY_WITHIN, connected).await.is_err() {
            let upstream = upstream.to_owned();
            return Err(StartError::Unreachable { upstream });
        }
        let all = ready.wait_for(|it| it.lost > 0 || it.ready == servers);
        match timeout(READY_WITHIN, all).await {
            Ok(Ok(progress)) if progress.lost == 0 => Ok(()),
            Ok(_) | Err(_) => Err(StartError::NotReady),
        }
    }

    /// The instances that take part, by `service.instance.id`.
    pub fn instances(&self) -> &BTreeSet<String> {
        &self.instances
    }

    /// Starts all clients together, and returns when they have ended.
    pub async fn clients(&self) {
        let origin = Instant::now();
        let mut running = JoinSet::new();
        for (worker, alike) in &self.clients {
            for client in alike {
                running.spawn(Arc::clone(worker).client(client.clone(), origin));
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Stops everything. What is still served is given up.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
        self.clients.clear();
        let goodbyes = join_all(self.telemetry.into_iter().map(Telemetry::shutdown));
        let ends = join_all(self.processes.into_iter().map(Process::ended));
        tokio::join!(goodbyes, ends);
    }
}

/// Copies of a client are alike: they share an instance, as the threads of one load generator would.
fn clients_alike(program: &Program) -> Vec<Vec<ClientProgram>> {
    let mut alike: BTreeMap<usize, Vec<ClientProgram>> = BTreeMap::new();
    for client in &program.clients {
        alike.entry(client.block).or_default().push(client.clone());
    }
    alike.into_values().collect()
}

/// The servers that some request lets crash.
fn crashing(program: &Program) -> BTreeSet<ServerIndex> {
    let crashes = |block: usize| {
        program
            .blocks
            .get(block)
            .is_some_and(|ops| ops.iter().any(|op| matches!(op, Op::Crash)))
    };
    let mut servers = BTreeSet::new();
    for op in program.blocks.iter().flatten() {
        if let Op::Calls { calls, .. } = op {
            servers.extend(calls.iter().filter(|call| crashes(call.block)).map(|call| call.server));
        }
    }
    servers
}

/// How far the servers are.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    ready: usize,
    lost: usize,
}

/// The exchange at work. It never waits for a participant.
async fn connect(
    mut exchange: Exchange,
    mut events: mpsc::Receiver<Event>,
    inboxes: Vec<mpsc::Sender<Heard>>,
    progress: watch::Sender<Progress>,
) {
    while let Some(event) = events.recv().await {
        let told = match event {
            Event::Said(participant, said) => {
                if said == Said::Ready {
                    progress.send_modify(|it| it.ready += 1);
                }
                exchange.hear(participant, said)
            }
            Event::Lost(participant) => {
                progress.send_modify(|it| it.lost += 1);
                exchange.lose(participant)
            }
        };
        for (to, heard) in told {
            if inboxes.get(to).is_some_and(|inbox| inbox.try_send(heard).is_err()) {
                tracing::debug!(to, "a message was dropped: its reader has ended, or is far behind");
            }
        }
    }
}

/// Runs one server of a script in this process, which [`Config::command`] has started for that, until its standard input
/// ends. Nothing else may use standard input and output.
pub async fn run_server(script: &Script, server: &str, settings: &Settings) -> Result<(), StartError> {
    let program = Arc::new(Program::of(script));
    let index = program.servers.iter().position(|it| &*it.name == server);
    let index = index.ok_or_else(|| StartError::NoSuchServer(server.to_owned()))?;
    let telemetry = Telemetry::start(server, server, settings)?;
    if timeout(READY_WITHIN, telemetry.connected()).await.is_err() {
        let upstream = settings.upstream.clone();
        return Err(StartError::Unreachable { upstream });
    }
    let (outbox, inbox) = pipe::own();
    let worker = Arc::new(Worker::new(program, Participant::new(Line::Pipe(outbox)), &telemetry));
    worker.say(Said::Ready).await;
    worker.serve(index, inbox).await;
    telemetry.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str) -> Program {
        Program::of(&script.parse().unwrap())
    }

    #[test]
    fn copies_of_a_client_share_an_instance() {
        let alike = clients_alike(&program("a*3: A || b: A || a: A"));
        let names = alike.iter().map(|it| (&*it[0].name, it.len()));
        assert_eq!(names.collect::<Vec<_>>(), [("a", 3), ("b", 1), ("a", 1)]);
    }

    #[test]
    fn who_crashes_is_known_before() {
        let program = program("x: A{B{~5; !}; C} || y: D{|(A, E{!})}");
        let names = crashing(&program).into_iter().map(|it| &*program.servers[it].name);
        assert_eq!(names.collect::<Vec<_>>(), ["B", "E"]);
    }

    #[tokio::test]
    async fn what_cannot_run_starts_nothing() {
        let start = async |script: &str| {
            let config = Config {
                script: script.parse().unwrap(),
                settings: Settings::default(),
                processes: Processes::All,
                command: Box::new(|_| Command::new("/nowhere")),
            };
            Run::start(config).await.map(drop)
        };
        let many: Vec<String> = (0..INSTANCES_MAX).map(|number| format!("S{number}")).collect();
        let many = start(&format!("x: {}", many.join(";"))).await;
        assert!(matches!(many, Err(StartError::TooManyInstances(257))), "{many:?}");
        let process = start("x: A").await;
        assert!(
            matches!(process, Err(StartError::Process { ref server, .. }) if server == "A"),
            "{process:?}"
        );
    }
}
