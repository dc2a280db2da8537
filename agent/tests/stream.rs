//! A real agent against a real stream.

#[expect(clippy::unwrap_used, reason = "a failed expectation is what tests are for")]
mod support;

use std::collections::HashMap;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use opentelemetry::trace::{SpanKind, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use standoff_agent::{Agent, Connection, Outcome, StartError, propagation};
use standoff_protocol::stream::{AcceptanceQuestion, AcceptanceState, Outcome as WireOutcome, Probe, Role};

use support::{Collector, Mode, Service, eventually, id};

const NEVER: Duration = Duration::from_secs(3600);

fn question(call: u64) -> AcceptanceQuestion {
    AcceptanceQuestion {
        call_span_id: call,
        span_ids: vec![call],
        conversation_id: String::new(),
        age_ns: 1_000_000_000,
    }
}

#[test]
fn an_instance_says_who_it_is() {
    let collector = Collector::start();
    let _service = Service::start(collector.agent().lease(Duration::from_secs(7)));
    let hello = collector.wait("hello", |connections| connections.last()?.hello.clone());
    assert_eq!((hello.protocol_version, hello.lease_ms), (1, 7000));
    let instance = hello.instance.unwrap();
    assert_eq!(instance.service_name, "service-a");
    assert_eq!(instance.service_namespace, "test");
    assert_eq!(instance.instance_id, "a-1");
    assert_ne!(instance.incarnation, 0);
    assert_eq!(instance.process.map(|process| process.pid), Some(std::process::id()));
}

#[test]
fn the_incarnation_outlives_connections_but_not_the_agent() {
    let collector = Collector::start();
    let incarnation = |nth: usize| {
        let hello = collector.wait("hello", |connections| connections.get(nth)?.hello.clone());
        hello.instance.unwrap().incarnation
    };
    let service = Service::start(collector.agent());
    let first = incarnation(0);
    collector.hang_up();
    assert_eq!(incarnation(1), first);
    drop(service);
    let _service = Service::start(collector.agent());
    assert_ne!(incarnation(2), first);
}

#[test]
fn long_calls_are_reported_and_short_ones_are_not() {
    let collector = Collector::start();
    let service = Service::start(collector.agent());
    collector.wait_latest("the open set", |mirror| (mirror.sets_complete == 1).then_some(()));
    let short = service.spans.call("b").start();
    let short_id = id(&short);
    short.end();
    let long = service
        .spans
        .call("{:server_b, 42}")
        .timeout(Duration::from_secs(5))
        .start();
    let started = Instant::now();
    let reported = collector.wait_latest("the call", |mirror| mirror.open.get(&id(&long)).cloned());
    assert!(reported.age_ns >= 20_000_000 && started.elapsed() >= Duration::from_millis(20));
    assert_eq!(reported.role(), Role::Call);
    assert_eq!(
        (reported.name.as_str(), reported.target.as_str()),
        ("call", "{:server_b, 42}")
    );
    assert_eq!((reported.timeout_ms, reported.trace_id.len()), (5000, 16));
    let long_id = id(&long);
    long.end_with(Outcome::Timeout);
    let outcome = collector.wait_latest("its end", |mirror| mirror.outcome(long_id));
    assert_eq!(outcome, WireOutcome::Timeout);
    collector.wait_latest("no trace of the short one", |mirror| {
        assert!(mirror.started.iter().all(|span| span.span_id != short_id));
        Some(())
    });
    let counters = service.agent.counters();
    assert_eq!(
        (counters.captured, counters.reported, counters.finished, counters.open),
        (2, 1, 1, 0)
    );
}

#[test]
fn with_report_after_zero_even_young_calls_are_reported() {
    let collector = Collector::start();
    let service = Service::start(collector.agent().report_after(Duration::ZERO));
    let call = service.spans.call("b").start();
    collector.wait_latest("the call", |mirror| mirror.open.get(&id(&call)).cloned());
}

#[test]
fn members_are_reported_at_once_and_in_full() {
    let collector = Collector::start();
    let service = Service::start(collector.agent().report_after(NEVER));
    let _call = service.spans.call("b").start();
    let member = service.spans.member("service-a").units(3).name("consumer 1").start();
    let reported = collector.wait_latest("the member", |mirror| mirror.open.get(&id(&member)).cloned());
    assert_eq!(
        (reported.role(), reported.units, reported.name.as_str()),
        (Role::Member, 3, "consumer 1")
    );
    assert_eq!(reported.resources, ["service-a"]);
    collector.wait_latest("nothing else", |mirror| {
        assert_eq!(mirror.open.len(), 1);
        Some(())
    });
}

#[test]
fn helpers_say_what_they_were_told() {
    let collector = Collector::start();
    let service = Service::start(collector.agent().report_after(Duration::ZERO));
    let spans = &service.spans;
    let handle = spans
        .handle("work")
        .resource("pool")
        .resource("lock")
        .capacity(8)
        .conversation("c-1")
        .start();
    let (hold, call) = handle.in_scope(|| {
        let hold = spans.hold("connections").units(2).capacity(10).start();
        let call = spans
            .call("b")
            .group("any", 1, 2)
            .units(3)
            .detached()
            .conversation("c-2")
            .name("ask b")
            .start();
        (hold, call)
    });
    let served = spans.handle("serve").server().parent(&Context::new()).start();
    let [handle, hold, call, served] = [&handle, &hold, &call, &served]
        .map(|span| collector.wait_latest("a span", |mirror| mirror.open.get(&id(span)).cloned()));
    assert_eq!(
        (handle.role(), handle.capacity, handle.conversation_id.as_str()),
        (Role::Handle, 8, "c-1")
    );
    assert_eq!(handle.resources, ["pool", "lock"]);
    assert_eq!(
        (hold.role(), hold.units, hold.capacity, hold.parent_span_id),
        (Role::Hold, 2, 10, handle.span_id)
    );
    assert_eq!((call.units, call.detached, call.name.as_str()), (3, true, "ask b"));
    assert_eq!(
        (call.parent_span_id, call.conversation_id.as_str()),
        (handle.span_id, "c-2")
    );
    let group = call.wait_group.unwrap();
    assert_eq!((group.name.as_str(), group.needed, group.size), ("any", 1, 2));
    assert_eq!((served.role(), served.parent_span_id), (Role::Handle, 0));
}

#[test]
fn ends_have_outcomes() {
    let collector = Collector::start();
    let service = Service::start(collector.agent().report_after(Duration::ZERO));
    let call = || service.spans.call("b").start();
    let (ended, failed, timed_out, dropped) = (call(), call(), call(), call());
    let handled = service.spans.handle("h").start();
    let ids = [&ended, &failed, &timed_out, &dropped, &handled].map(id);
    collector.wait_latest("all five", |mirror| {
        ids.iter().all(|span| mirror.open.contains_key(span)).then_some(())
    });
    ended.end();
    failed.end_with(Outcome::Error);
    timed_out.end_with(Outcome::Timeout);
    drop(dropped);
    drop(handled);
    let outcomes = ids.map(|span| collector.wait_latest("an end", |mirror| mirror.outcome(span)));
    let expected = [
        WireOutcome::Finished,
        WireOutcome::Error,
        WireOutcome::Timeout,
        WireOutcome::Cancelled,
        WireOutcome::Finished,
    ];
    assert_eq!(outcomes, expected);
}

#[test]
fn stock_instrumentation_is_understood() {
    let collector = Collector::start();
    let service = Service::start(collector.agent().report_after(Duration::ZERO));
    let tracer = service.provider.tracer("stock");
    let client = tracer
        .span_builder("GET")
        .with_kind(SpanKind::Client)
        .with_attributes([KeyValue::new("server.address", "b"), KeyValue::new("server.port", 8080)])
        .start(&tracer);
    let span_id = u64::from_be_bytes(opentelemetry::trace::Span::span_context(&client).span_id().to_bytes());
    let reported = collector.wait_latest("the call", |mirror| mirror.open.get(&span_id).cloned());
    assert_eq!((reported.role(), reported.target.as_str()), (Role::Call, "b:8080"));
}

#[test]
fn a_handler_elsewhere_has_the_caller_as_its_parent() {
    let collector = Collector::start();
    let caller = Service::start(collector.agent().report_after(Duration::ZERO));
    let call = caller.spans.call("b").start();
    collector.wait_latest("the call", |mirror| mirror.open.get(&id(&call)).cloned());
    let mut headers = HashMap::new();
    propagation::inject(call.context(), &mut headers);

    let callee = Service::start(collector.agent().report_after(Duration::ZERO));
    let handle = callee
        .spans
        .handle("process")
        .parent(&propagation::extract(&headers))
        .start();
    let reported = collector.wait_latest("the handle", |mirror| mirror.open.get(&id(&handle)).cloned());
    assert_eq!((reported.parent_span_id, reported.parent_is_remote), (id(&call), true));
}

#[test]
fn a_future_runs_within_its_span_at_every_poll() {
    let collector = Collector::start();
    let service = Service::start(collector.agent().report_after(Duration::ZERO));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let handle = service.spans.handle("h").start();
    let call = runtime.block_on(handle.run(async {
        tokio::task::yield_now().await;
        service.spans.call("b").start()
    }));
    let outside = service.spans.call("c").start();
    let parent = |span| collector.wait_latest("a call", |mirror| Some(mirror.open.get(&span)?.parent_span_id));
    assert_eq!((parent(id(&call)), parent(id(&outside))), (id(&handle), 0));
}

#[test]
fn a_collector_that_comes_back_gets_the_open_set() {
    let mut collector = Collector::start();
    let service = Service::start(collector.agent());
    let first = service.spans.call("b").start();
    collector.wait_latest("the first call", |mirror| mirror.open.get(&id(&first)).cloned());
    collector.go_away();
    eventually("the agent to notice", || {
        service.agent.counters().connection == Connection::Connecting
    });
    let second = service.spans.call("c").start();
    let gone = service.spans.call("d").start();
    drop(gone);
    collector.come_back();
    let back = Instant::now();
    collector.wait("both calls", |connections| {
        let mirror = &connections.get(1)?.mirror;
        (mirror.open.len() == 2 && mirror.open.contains_key(&id(&second))).then_some(())
    });
    assert!(back.elapsed() < Duration::from_secs(5));
    assert_eq!(service.agent.counters().sessions, 2);
}

#[test]
fn a_collector_that_has_lost_track_gets_the_open_set() {
    let collector = Collector::start();
    let service = Service::start(collector.agent());
    let call = service.spans.call("b").start();
    collector.wait_latest("the call", |mirror| mirror.open.get(&id(&call)).cloned());
    collector.ask_for_resync();
    collector.wait_latest("another set", |mirror| (mirror.sets_complete == 2).then_some(()));
    let next = service.spans.call("c").start();
    collector.wait_latest("batches from 1 again", |mirror| mirror.open.get(&id(&next)).cloned());
}

#[test]
fn a_refusing_collector_is_asked_again() {
    let collector = Collector::start();
    collector.set_mode(Mode::Refuse);
    let service = Service::start(collector.agent());
    let call = service.spans.call("b").start();
    collector.wait_refused(3);
    assert_eq!(service.agent.counters().connection, Connection::Connecting);
    collector.set_mode(Mode::Serve);
    collector.wait_latest("the call", |mirror| mirror.open.get(&id(&call)).cloned());
}

#[test]
fn without_a_collector_the_application_does_not_notice() {
    // Nobody listens there: the port is taken from the system and given back.
    let mut collector = Collector::start();
    collector.go_away();
    let service = Service::start(collector.agent());
    for _ in 0..50_000 {
        service.spans.call("b").start().end();
    }
    let kept = service.spans.call("c").start();
    let counters = service.agent.counters();
    assert_eq!((counters.captured, counters.open, counters.sessions), (50_001, 1, 0));
    assert_eq!(counters.dropped, Default::default());
    collector.come_back();
    collector.wait_latest("what is open", |mirror| mirror.open.get(&id(&kept)).cloned());
}

#[test]
fn a_stalled_collector_holds_nobody_up() {
    let collector = Collector::start();
    collector.set_mode(Mode::Stall);
    let service = Service::start(
        collector
            .agent()
            .report_after(Duration::ZERO)
            .lease(Duration::from_millis(300)),
    );
    eventually("a welcome", || {
        service.agent.counters().connection == Connection::Connected
    });
    // Far more than the connection takes without a reader.
    let flood = || {
        let spans = &service.spans;
        let mut open = Vec::new();
        for nth in 0..20_000 {
            open.push(spans.handle(format!("handle {nth}")).resource("x".repeat(500)).start());
            if nth % 3 == 0 {
                open.swap_remove(nth / 2 % open.len()).end();
            }
        }
        open
    };
    let open: Vec<_> = std::thread::scope(|scope| {
        let floods = [0; 2].map(|_| scope.spawn(flood));
        floods.into_iter().flat_map(|flood| flood.join().unwrap()).collect()
    });
    assert_eq!(service.agent.counters().open, open.len() as u64);
    // The connection is stuck, and another one is tried.
    collector.set_mode(Mode::Serve);
    let expected: std::collections::BTreeSet<u64> = open.iter().map(id).collect();
    collector.wait("exactly what is open", |connections| {
        let mirror = &connections.get(1..)?.last()?.mirror;
        (mirror.open_ids().len() == expected.len()).then(|| assert!(mirror.open.keys().eq(&expected)))
    });
}

#[test]
fn probes_are_answered_after_what_was_to_be_reported() {
    let collector = Collector::start();
    let service = Service::start(collector.agent());
    let call = service.spans.call("b").start();
    let ended = service.spans.call("c").start();
    let ids = [id(&call), id(&ended)];
    collector.wait_latest("both", |mirror| {
        ids.iter().all(|span| mirror.open.contains_key(span)).then_some(())
    });
    ended.end();
    collector.probe(Probe {
        probe_id: 9,
        still_open: ids.to_vec(),
        accepted: vec![question(77)],
    });
    let (answer, open) = collector.wait_latest("an answer", |mirror| {
        Some((mirror.answers.first()?.clone(), mirror.open_ids()))
    });
    assert_eq!((answer.probe_id, answer.not_open), (9, vec![ids[1]]));
    assert_eq!(answer.acceptances[0].state(), AcceptanceState::Never);
    assert_eq!(open, [ids[0]], "the end was reported before the answer");
}

#[test]
fn a_handler_too_short_to_be_reported_refutes() {
    let collector = Collector::start();
    let caller = Service::start(Agent::builder().upstream("http://127.0.0.1:1"));
    let callee = Service::start(collector.agent().report_after(NEVER));
    collector.wait_latest("the open set", |mirror| (mirror.sets_complete == 1).then_some(()));
    let call = caller.spans.call("b").start();
    let mut headers = HashMap::new();
    propagation::inject(call.context(), &mut headers);
    let handle = callee
        .spans
        .handle("process")
        .parent(&propagation::extract(&headers))
        .start();
    collector.probe(Probe {
        probe_id: 1,
        still_open: vec![],
        accepted: vec![question(id(&call))],
    });
    let (state, reported) = collector.wait_latest("the first answer", |mirror| {
        Some((mirror.answers.first()?.acceptances[0].state(), mirror.open_ids()))
    });
    assert_eq!(
        (state, reported),
        (AcceptanceState::Open, vec![id(&handle)]),
        "reported for the sake of the question"
    );
    handle.end();
    collector.probe(Probe {
        probe_id: 2,
        still_open: vec![],
        accepted: vec![question(id(&call))],
    });
    let state = collector.wait_latest("the second answer", |mirror| {
        Some(mirror.answers.get(1)?.acceptances[0].state())
    });
    assert_eq!(state, AcceptanceState::Ended);
}

#[test]
fn an_application_whose_every_thread_is_stuck_reports_and_answers() {
    const WORKERS: usize = 2;
    let collector = Collector::start();
    let service = Service::start(collector.agent());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .unwrap();
    let (stuck, is_stuck) = sync_channel(WORKERS);
    for _ in 0..WORKERS {
        let (spans, stuck) = (service.spans.clone(), stuck.clone());
        runtime.spawn(async move {
            let call = spans.call("{:server_b, 42}").start();
            stuck.send(id(&call)).unwrap();
            // Blocks the runtime's thread itself, until the end of the test.
            let (_never_sends, never) = sync_channel::<()>(0);
            never.recv().map(|()| call.end())
        });
    }
    let calls: Vec<u64> = is_stuck.iter().take(WORKERS).collect();
    collector.wait_latest("the calls", |mirror| {
        calls.iter().all(|call| mirror.open.contains_key(call)).then_some(())
    });
    collector.probe(Probe {
        probe_id: 1,
        still_open: calls,
        accepted: vec![],
    });
    let answer = collector.wait_latest("an answer", |mirror| mirror.answers.first().cloned());
    assert_eq!(answer.not_open, [0; 0]);
    runtime.shutdown_background();
}

#[test]
fn heartbeats_keep_coming() {
    let collector = Collector::start();
    let _service = Service::start(collector.agent().heartbeat(Duration::from_millis(10)));
    collector.wait_latest("heartbeats", |mirror| (mirror.heartbeats >= 3).then_some(()));
}

#[test]
fn a_shutdown_is_a_goodbye() {
    let collector = Collector::start();
    let service = Service::start(collector.agent());
    let call = service.spans.call("b").start();
    collector.wait_latest("the call", |mirror| mirror.open.get(&id(&call)).cloned());
    service.agent.shutdown();
    collector.wait("goodbye and the end", |connections| {
        let last = connections.last()?;
        (last.mirror.left && !last.is_open).then_some(())
    });
    assert_eq!(service.agent.counters().connection, Connection::Closed);
    // Harmless afterwards.
    call.end();
    service.spans.call("c").start().end();
    assert_eq!(service.agent.counters().captured, 1);
    service.agent.shutdown();
}

#[test]
fn the_end_of_the_provider_is_a_goodbye() {
    let collector = Collector::start();
    let Service { agent, provider, spans } = Service::start(collector.agent());
    collector.wait_latest("the open set", |mirror| (mirror.sets_complete == 1).then_some(()));
    drop((agent, spans));
    provider.shutdown().unwrap();
    collector.wait_latest("goodbye", |mirror| mirror.left.then_some(()));
}

#[test]
fn an_agent_that_nobody_holds_says_goodbye() {
    let agent = Agent::builder().upstream("http://127.0.0.1:1").start().unwrap();
    let processor = agent.processor();
    let counters = agent.clone();
    drop((agent, processor));
    assert_eq!(
        counters.counters().connection,
        Connection::Connecting,
        "a clone is still held"
    );
    counters.shutdown();
    assert_eq!(counters.counters().connection, Connection::Closed);
}

#[test]
fn settings_that_make_no_sense_are_errors() {
    let start = |builder: standoff_agent::AgentBuilder| builder.start().map(drop).unwrap_err();
    assert!(matches!(start(Agent::builder().upstream("nowhere")), StartError::Upstream(url) if url == "nowhere"));
    assert!(matches!(
        start(Agent::builder().upstream("https://b:1")),
        StartError::Upstream(_)
    ));
    assert!(matches!(
        start(Agent::builder().heartbeat(Duration::ZERO)),
        StartError::Zero("heartbeat")
    ));
    assert!(matches!(
        start(Agent::builder().flush_every(Duration::ZERO)),
        StartError::Zero("flush_every")
    ));
}
