//! What nodes must do together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use opentelemetry_sdk::trace::SdkTracerProvider;
use standoff_demo_services::cluster::{CallError, Node, NodeConfig, Placement, ProcessName};
use standoff_demo_services::process::{Exit, Server, Start};

use super::recorder::Recorder;
use super::{World, eventually, within_deadline};

const LEASE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(3_600);

/// Replies with the name of its node, or fails if asked to.
struct Echo {
    node: String,
}

#[async_trait]
impl Server for Echo {
    async fn handle(&mut self, request: Vec<u8>) -> Result<Vec<u8>, Exit> {
        match request.as_slice() {
            b"fail" => Err(Exit::because(&CallError::Lost)),
            _ => Ok(self.node.clone().into_bytes()),
        }
    }
}

/// Nodes of one cluster, and what they have in common.
struct Cluster<'a> {
    world: &'a dyn World,
    recorder: Recorder,
    starts: Arc<AtomicUsize>,
    providers: Vec<SdkTracerProvider>,
    lease: Duration,
    idle_after: Duration,
}

impl<'a> Cluster<'a> {
    fn new(world: &'a dyn World, lease: Duration, idle_after: Duration) -> Self {
        let (recorder, starts) = (Recorder::new(), Arc::default());
        Self {
            world,
            recorder,
            starts,
            providers: Vec::new(),
            lease,
            idle_after,
        }
    }

    async fn node(&mut self, name: &str) -> Node {
        let (spans, provider) = self.recorder.spans(name);
        self.providers.push(provider);
        let config = NodeConfig {
            name: name.to_owned(),
            lease: self.lease,
            idle_after: self.idle_after,
            placement: Placement::Deterministic,
        };
        let (node, starts) = (name.to_owned(), self.starts.clone());
        let factory = Box::new(move |process: &ProcessName| {
            let (node, starts) = (node.clone(), starts.clone());
            let start: Start = Box::new(move || {
                starts.fetch_add(1, Ordering::Relaxed);
                Box::new(Echo { node: node.clone() })
            });
            (process.kind == "echo").then_some(start)
        });
        let (registry, transport) = (self.world.registry("cluster"), self.world.transport("cluster"));
        within_deadline("joining", Node::join(config, registry, transport, factory, spans))
            .await
            .unwrap()
    }
}

fn echo(id: i64) -> ProcessName {
    ProcessName::new("echo", id)
}

async fn ask(node: &Node, id: i64, request: &str) -> Result<String, CallError> {
    let reply = within_deadline("a reply", node.call(&echo(id), request.as_bytes().to_vec())).await;
    reply.map(|reply| String::from_utf8(reply).unwrap())
}

pub(crate) async fn a_process_is_started_once_under_race(world: &dyn World) {
    let mut cluster = Cluster::new(world, LEASE, LONG);
    let nodes = [
        cluster.node("a-1").await,
        cluster.node("a-2").await,
        cluster.node("a-3").await,
    ];
    let calls = (0..30).map(|number| ask(&nodes[number % 3], 7, ""));
    for reply in join_all(calls).await {
        assert_eq!(reply.as_deref(), Ok("a-2"));
    }
    assert_eq!(cluster.starts.load(Ordering::Relaxed), 1);
    assert_eq!(nodes.map(|node| node.processes()), [0, 1, 0]);
}

pub(crate) async fn processes_start_where_placement_says(world: &dyn World) {
    let mut cluster = Cluster::new(world, LEASE, LONG);
    let nodes = [cluster.node("a-2").await, cluster.node("a-1").await];
    for (id, expected) in [(42, "a-1"), (7, "a-2"), (-1, "a-2"), (0, "a-1")] {
        for node in &nodes {
            assert_eq!(ask(node, id, "").await.as_deref(), Ok(expected), "{id}");
        }
    }
}

pub(crate) async fn a_process_that_failed_is_found_again(world: &dyn World) {
    let mut cluster = Cluster::new(world, LEASE, LONG);
    let nodes = [cluster.node("a-1").await, cluster.node("a-2").await];
    for round in 1..=3 {
        assert_eq!(ask(&nodes[0], 7, "fail").await, Err(CallError::Exited));
        assert_eq!(ask(&nodes[0], 7, "").await.as_deref(), Ok("a-2"));
        assert_eq!(cluster.starts.load(Ordering::Relaxed), round + 1);
    }
}

pub(crate) async fn an_idle_process_is_started_anew(world: &dyn World) {
    let mut cluster = Cluster::new(world, LEASE, Duration::from_millis(1));
    let nodes = [cluster.node("a-1").await, cluster.node("a-2").await];
    assert_eq!(ask(&nodes[0], 7, "").await.as_deref(), Ok("a-2"));
    eventually("it ends", || async { (nodes[1].processes() == 0).then_some(()) }).await;
    // Calls that meet a process just as it ends are not lost either.
    for _ in 0..50 {
        assert_eq!(ask(&nodes[0], 7, "").await.as_deref(), Ok("a-2"));
    }
}

pub(crate) async fn a_node_that_leaves_frees_its_names_at_once(world: &dyn World) {
    let mut cluster = Cluster::new(world, LEASE, LONG);
    let (a1, a2) = (cluster.node("a-1").await, cluster.node("a-2").await);
    assert_eq!(ask(&a1, 7, "").await.as_deref(), Ok("a-2"));
    within_deadline("leaving", a2.leave()).await;
    assert_eq!(ask(&a1, 7, "").await.as_deref(), Ok("a-1"));
}

pub(crate) async fn the_names_of_a_lost_node_move_when_its_lease_runs_out(world: &dyn World) {
    let mut cluster = Cluster::new(world, SHORT, LONG);
    let (a1, a2) = (cluster.node("a-1").await, cluster.node("a-2").await);
    assert_eq!(ask(&a1, 7, "").await.as_deref(), Ok("a-2"));
    drop(a2);
    // The call itself waits until the name is free.
    assert_eq!(ask(&a1, 7, "").await.as_deref(), Ok("a-1"));
}

pub(crate) async fn a_kind_that_nobody_knows_is_refused(world: &dyn World) {
    let mut cluster = Cluster::new(world, LEASE, LONG);
    let nodes = [cluster.node("a-1").await, cluster.node("a-2").await];
    for node in &nodes {
        let reply = within_deadline("a refusal", node.call(&ProcessName::new("nobody", 7), Vec::new())).await;
        assert_eq!(reply, Err(CallError::Unknown));
    }
}

pub(crate) async fn the_callers_span_is_the_parent_wherever_the_process_lives(world: &dyn World) {
    let mut cluster = Cluster::new(world, LEASE, LONG);
    let node = cluster.node("a-1").await;
    let _other = cluster.node("a-2").await;
    let (spans, _provider) = cluster.recorder.spans("caller");
    for (id, expected_instance) in [(2, "a-1"), (7, "a-2")] {
        let call = spans.call(echo(id).to_string()).start();
        let call_id = call.span_id();
        call.run(ask(&node, id, "")).await.unwrap();
        call.end();
        let resource = echo(id).to_string();
        let log = cluster.recorder.until("the handle has ended", |log| {
            log.ended.iter().any(|span| span.resource().as_ref() == Some(&resource))
        });
        let log = log.await;
        let handle = log
            .ended
            .iter()
            .find(|span| span.resource().as_ref() == Some(&resource))
            .unwrap();
        assert_eq!(handle.data.parent_span_id, call_id);
        assert_eq!(handle.instance, expected_instance);
        assert_eq!(handle.data.parent_span_is_remote, expected_instance == "a-2");
        assert_eq!(handle.text("standoff.capacity"), None);
    }
}
