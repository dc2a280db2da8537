//! What ServiceA and ServiceB must do, and which spans tell of it.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::SdkTracerProvider;
use standoff_demo_services::broker::Request;
use standoff_demo_services::cluster::{NodeConfig, Placement};
use standoff_demo_services::demo::DEADLOCK_ID;
use standoff_demo_services::requester::Requester;
use standoff_demo_services::rpc::AskError;
use standoff_demo_services::service::{Definition, Parts, Replica};
use standoff_demo_services::service_a::SERVICE_A;
use standoff_demo_services::service_b::SERVICE_B;

use super::recorder::{Log, Recorded, Recorder};
use super::{DEADLINE, World, eventually, within_deadline};

/// Long enough for a request that is not deadlocked on a busy machine, short enough to wait for twice.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(700);
/// Long enough for the last of thousands of requests, which waits for all others.
const LOAD_TIMEOUT: Duration = Duration::from_secs(90);
/// The default. Renewing thousands of names five times as often would be a load of its own.
const LONG_LEASE: Duration = Duration::from_secs(3);
const LEASE: Duration = Duration::from_millis(600);

/// The services over a world, and the spans of all their instances.
pub(crate) struct System<'a> {
    world: &'a dyn World,
    pub(crate) recorder: Recorder,
    providers: Vec<SdkTracerProvider>,
    replicas: HashMap<String, Replica>,
    request_timeout: Duration,
    lease: Duration,
}

impl<'a> System<'a> {
    pub(crate) async fn start(world: &'a dyn World, replicas: usize, request_timeout: Duration) -> Self {
        Self::start_with(world, replicas, request_timeout, LEASE).await
    }

    async fn start_with(world: &'a dyn World, replicas: usize, request_timeout: Duration, lease: Duration) -> Self {
        let (recorder, providers) = (Recorder::new(), Vec::new());
        let mut system = Self {
            world,
            recorder,
            providers,
            replicas: HashMap::new(),
            request_timeout,
            lease,
        };
        for definition in [SERVICE_A, SERVICE_B] {
            for number in 1..=replicas {
                system
                    .replica(&definition, &format!("{}-{number}", definition.name))
                    .await;
            }
        }
        system
    }

    async fn replica(&mut self, definition: &Definition, name: &str) {
        let (spans, provider) = self.recorder.spans(name);
        self.providers.push(provider);
        let parts = Parts {
            broker: self.world.broker(),
            registry: self.world.registry(definition.name),
            transport: self.world.transport(definition.name),
            node: NodeConfig {
                name: name.to_owned(),
                lease: self.lease,
                idle_after: DEADLINE,
                placement: Placement::Deterministic,
            },
            spans,
            request_timeout: self.request_timeout,
        };
        let replica = within_deadline("starting a replica", Replica::start(definition, parts))
            .await
            .unwrap();
        self.replicas.insert(name.to_owned(), replica);
    }

    pub(crate) fn requester(&mut self) -> Requester {
        let (spans, provider) = self.recorder.spans("requester");
        self.providers.push(provider);
        Requester::new(self.world.broker(), spans, self.request_timeout)
    }
}

/// The answer to a request that may have to be repeated: until consumers that a deadlock held up are free again, until
/// something lost has been replaced, or because the machine is busy.
pub(crate) async fn answer(requester: &Requester, id: i64) -> i64 {
    eventually("an answer", || async { requester.request(id).await.ok() }).await
}

fn has_timed_out<T>(answer: &Result<T, AskError>) -> bool {
    matches!(answer, Err(AskError::Timeout(_)))
}

pub(crate) fn is_open(log: &Log, resource: &str) -> bool {
    log.open()
        .any(|span| span.resource().as_deref() == Some(resource) && span.data.span_kind == SpanKind::Consumer)
}

pub(crate) async fn ordinary_requests_by_the_thousand(world: &dyn World) {
    let mut system = System::start_with(world, 2, LOAD_TIMEOUT, LONG_LEASE).await;
    let requester = system.requester();
    let ids = (0..world.requests_at_once()).map(|number| if number == DEADLOCK_ID { 43 } else { number });
    let answers = requester.request_all(ids.clone()).await;
    for (id, answer) in ids.zip(answers) {
        assert_eq!(answer.unwrap(), 2 * id + 1, "{id}");
    }
    let half = usize::try_from(world.requests_at_once() / 2).unwrap();
    let both = ["service-a-1", "service-a-2"].map(|replica| system.replicas[replica].processes());
    assert_eq!(
        both,
        [half - 1, half],
        "even ids but 42 on the first, odd ones on the second"
    );
}

pub(crate) async fn id_42_times_out_three_callers_and_the_system_recovers(world: &dyn World) {
    let mut system = System::start(world, 2, TIMEOUT).await;
    let requester = system.requester();
    for round in 1..=2 {
        assert!(has_timed_out(&requester.request(DEADLOCK_ID).await));
        let log = system.recorder.until("three timeouts in each round", |log| {
            log.ended_with("timeout").len() == 3 * round && !is_open(log, "service-a") && !is_open(log, "service-b")
        });
        check_deadlock(&log.await, round);
        assert_eq!(answer(&requester, 7).await, 15);
    }
}

/// The spans of the deadlock are what the graph is made of.
fn check_deadlock(log: &Log, round: usize) {
    let mut calls: Vec<&Recorded> = log.ended_with("timeout").split_off(3 * (round - 1));
    calls.sort_by_key(|call| call.data.start_time);
    let targets: Vec<_> = calls
        .iter()
        .map(|call| (call.instance.as_str(), call.target().unwrap()))
        .collect();
    let expected = [
        ("requester", "service-a"),
        ("service-a-1", "service-b"),
        ("service-b-1", "service-a"),
    ];
    assert_eq!(
        targets,
        expected.map(|(instance, target)| (instance, target.to_owned()))
    );
    for call in &calls {
        assert_eq!(call.text("standoff.timeout_ms"), Some(TIMEOUT.as_millis().to_string()));
        assert!(call.lasted() >= TIMEOUT, "{:?}", call.lasted());
    }

    // Up from the last call: the turn of {:server_b, 42}, the dispatch to it, the consumer of ServiceB, the call before.
    let mut names = Vec::new();
    let mut span = calls[2];
    while let Some(parent) = log.by_id(span.data.parent_span_id) {
        names.push(parent.resource().or(parent.target()).unwrap());
        span = parent;
    }
    let expected = [
        "{:server_b, 42}",
        "{:server_b, 42}",
        "service-b",
        "service-b",
        "{:server_a, 42}",
        "{:server_a, 42}",
        "service-a",
        "service-a",
    ];
    assert_eq!(names, expected);
    assert_eq!(span.instance, "requester");

    // The inner request reached the other consumer of ServiceA, whose dispatch was refused when the process ended.
    let refused = log
        .ended
        .iter()
        .filter(|span| span.target().as_deref() == Some("{:server_a, 42}"));
    let refused: Vec<_> = refused.skip(2 * (round - 1)).map(Recorded::failed).collect();
    assert_eq!(refused, [true, true]);
    for pool in ["service-a", "service-b"] {
        let members = log.open().filter(|span| span.resource().as_deref() == Some(pool));
        let members: Vec<_> = members.map(|span| span.text("standoff.role").unwrap()).collect();
        assert_eq!(members, ["member", "member"], "{pool}");
    }
}

pub(crate) async fn id_42_with_single_replicas_waits_in_the_queue(world: &dyn World) {
    let mut system = System::start(world, 1, TIMEOUT).await;
    let requester = system.requester();
    assert!(has_timed_out(&requester.request(DEADLOCK_ID).await));
    let log = system
        .recorder
        .until("three timeouts", |log| log.ended_with("timeout").len() >= 3)
        .await;
    let targets: Vec<_> = log
        .ended_with("timeout")
        .iter()
        .map(|call| call.target().unwrap())
        .take(3)
        .collect();
    assert_eq!(
        targets.iter().filter(|target| *target == "service-a").count(),
        2,
        "{targets:?}"
    );
    // While it stood, nobody but the first dispatch wanted {:server_a, 42}: the inner request was still in the queue.
    let inner = log
        .ended_with("timeout")
        .into_iter()
        .find(|call| call.instance == "service-b-1")
        .unwrap()
        .clone();
    let accepted_in_time = log.started.iter().any(|span| {
        span.data.parent_span_id == inner.id() && span.data.start_time < inner.data.start_time + TIMEOUT / 2
    });
    assert!(!accepted_in_time);
}

pub(crate) async fn a_redelivered_request_is_refused(world: &dyn World) {
    let mut system = System::start(world, 0, DEADLINE).await;
    let requester = system.requester();
    let unanswered = tokio::spawn({
        let requester = requester.clone();
        async move { requester.request(7).await }
    });
    {
        let mut lost = within_deadline("consuming", world.broker().consume(SERVICE_A.name))
            .await
            .unwrap();
        within_deadline("a delivery", lost.next()).await.unwrap();
    }
    for definition in [SERVICE_A, SERVICE_B] {
        system.replica(&definition, &format!("{}-1", definition.name)).await;
    }
    let log = system.recorder.until("the request has been refused", |log| {
        log.ended
            .iter()
            .any(|span| span.resource().as_deref() == Some("service-a"))
    });
    let log = log.await;
    let handle = log
        .ended
        .iter()
        .find(|span| span.resource().as_deref() == Some("service-a"))
        .unwrap();
    assert!(handle.failed());
    assert!(
        !log.started
            .iter()
            .any(|span| span.target().as_deref() == Some("{:server_a, 7}"))
    );
    assert!(!unanswered.is_finished());
    unanswered.abort();
    assert_eq!(answer(&requester, 7).await, 15);
}

pub(crate) async fn a_malformed_request_is_refused(world: &dyn World) {
    let mut system = System::start(world, 1, TIMEOUT).await;
    let broker = world.broker();
    let call = broker.call(SERVICE_A.name, Request::new(b"forty-two".to_vec(), DEADLINE));
    let refused = system.recorder.until("the request has been refused", |log| {
        log.ended
            .iter()
            .any(|span| span.resource().as_deref() == Some("service-a") && span.failed())
    });
    tokio::select! {
        answer = call => panic!("{answer:?}"),
        _ = refused => {}
    }
    assert_eq!(answer(&system.requester(), 7).await, 15);
}

pub(crate) async fn a_replica_that_dies_while_it_waits_is_survived(world: &dyn World) {
    let mut system = System::start(world, 2, TIMEOUT).await;
    let requester = system.requester();
    let call = tokio::spawn({
        let requester = requester.clone();
        async move { requester.request(DEADLOCK_ID).await }
    });
    system
        .recorder
        .until("the deadlock is closed", |log| is_open(log, "{:server_b, 42}"))
        .await;
    drop(system.replicas.remove("service-a-1").unwrap());
    assert!(has_timed_out(&call.await.unwrap()));

    // The other replica takes over, also what the lost one was to run once its lease has run out, and 42 deadlocks there
    // as before.
    for (id, result) in [(7, 15), (2, 5)] {
        assert_eq!(answer(&requester, id).await, result);
    }
    assert!(has_timed_out(&requester.request(DEADLOCK_ID).await));
    let ended = system
        .recorder
        .until("the process of the lost replica has ended on the other", |log| {
            let mut ended = log
                .ended
                .iter()
                .filter(|span| span.resource().as_deref() == Some("{:server_a, 42}"));
            ended.any(|span| span.instance == "service-a-2" && span.failed())
        });
    ended.await;
}
