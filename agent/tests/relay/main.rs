//! Real libraries, a real relay, and collectors of our own.

#[expect(clippy::unwrap_used, reason = "a failed expectation is what tests are for")]
mod double;
mod otlp;
#[expect(clippy::unwrap_used, reason = "a failed expectation is what tests are for")]
#[expect(
    dead_code,
    reason = "the collector that instances talk to directly is not needed here"
)]
#[path = "../support/mod.rs"]
mod support;
#[expect(clippy::unwrap_used, reason = "a failed expectation is what tests are for")]
mod world;

use std::net::SocketAddr;

use standoff_agent::Outcome;
use standoff_agent::relay::{Grpc, Relay, Settings, StartError, Upstream};
use standoff_protocol::stream::wait_stream_client::WaitStreamClient;
use standoff_protocol::stream::{
    AcceptanceQuestion, AcceptanceState, FromRelay, Outcome as WireOutcome, Probe, ResyncRequest, from_collector,
};

use double::{Double, Mode};
use support::id;
use world::{ANY_PORT, World, runtime, settings};

#[test]
fn two_services_reach_a_collector_over_grpc() {
    let runtime = runtime();
    let collector = Double::new("collector");
    let address = collector.serve(runtime.handle());
    let url = format!("http://{address}");
    let world = World::on(runtime, vec![Box::new(Grpc::new(&url).unwrap())]);
    let (a, b) = (world.service("a"), world.service("b"));
    let call = a.spans.call("{:server_b, 42}").start();
    let handle = b.spans.handle("turn").resource("{:server_b, 42}").start();
    let (call_id, handle_id) = (id(&call), id(&handle));
    let reported = collector.wait_for("a", "the call", |it| it.mirror.open.get(&call_id).cloned());
    assert_eq!(reported.target, "{:server_b, 42}");
    assert!(reported.age_ns >= 20_000_000, "{}", reported.age_ns);
    collector.wait_for("b", "the handle", |it| it.mirror.open.get(&handle_id).cloned());
    call.end_with(Outcome::Timeout);
    let outcome = collector.wait_for("a", "the end", |it| it.mirror.outcome(call_id));
    assert_eq!(outcome, WireOutcome::Timeout);
    a.agent.shutdown();
    collector.wait_for("a", "the goodbye", |it| it.mirror.left.then_some(()));
    let b_left = collector.wait("b", |sessions| Some(sessions.last()?.of("b")?.mirror.left));
    assert!(!b_left);
    collector.wait("heartbeats of the relay", |sessions| {
        (sessions.last()?.heartbeats > 1).then_some(())
    });
}

#[test]
fn probes_and_their_answers_are_passed_on() {
    let collector = Double::new("collector");
    let world = World::new(vec![collector.upstream()]);
    let service = world.service("a");
    let call = service.spans.call("b").start();
    let call_id = id(&call);
    collector.wait_for("a", "the call", |it| it.mirror.open.get(&call_id).map(drop));
    let probe = Probe {
        probe_id: 99,
        still_open: vec![call_id, 12345],
        accepted: vec![AcceptanceQuestion {
            call_span_id: 777,
            span_ids: vec![777],
            conversation_id: String::new(),
            age_ns: 1,
        }],
    };
    collector.say("a", from_collector::Message::Probe(probe));
    let answer = collector.wait_for("a", "the answer", |it| it.mirror.answers.first().cloned());
    assert_eq!(answer.probe_id, 99);
    assert_eq!(answer.not_open, [12345]);
    assert_eq!(answer.acceptances[0].state(), AcceptanceState::Never);
    call.end();
}

#[test]
fn an_open_set_is_sent_again_if_asked_for() {
    let collector = Double::new("collector");
    let world = World::new(vec![collector.upstream()]);
    let service = world.service("a");
    let call = service.spans.call("b").start();
    let call_id = id(&call);
    collector.wait_for("a", "the call", |it| it.mirror.open.get(&call_id).map(drop));
    collector.say("a", from_collector::Message::ResyncRequest(ResyncRequest {}));
    let open = collector.wait_for("a", "the set", |it| {
        (it.mirror.sets_complete == 2).then(|| it.mirror.open_ids())
    });
    assert_eq!(open, [call_id]);
    call.end();
}

#[test]
fn what_happens_while_nobody_listens_leaves_no_backlog() {
    let collector = Double::new("collector");
    let other = Double::new("other");
    let world = World::new(vec![collector.upstream(), other.upstream()]);
    let service = world.service("a");
    collector.wait_for("a", "the channel", |it| (it.mirror.sets_complete == 1).then_some(()));
    collector.set_mode(Mode::Away);
    let kept = service.spans.call("kept").start();
    let kept_id = id(&kept);
    for _ in 0..20 {
        let passing = service.spans.call("passing").start();
        let passing_id = id(&passing);
        other.wait_for("a", "the call, elsewhere", |it| {
            it.mirror.open.get(&passing_id).map(drop)
        });
        passing.end();
    }
    let sessions_before = collector.wait("sessions", |sessions| Some(sessions.len()));
    collector.set_mode(Mode::Serve);
    let started = collector.wait("a new connection", |sessions| {
        let channel = sessions.get(sessions_before..)?.first()?.of("a")?;
        (channel.mirror.sets_complete == 1).then(|| channel.mirror.started.clone())
    });
    let ids: Vec<u64> = started.iter().map(|span| span.span_id).collect();
    // The last passing call may not have ended yet, as far as the relay knows.
    assert!(ids.contains(&kept_id) && ids.len() <= 2, "{ids:?}");
    kept.end();
}

#[test]
fn a_collector_that_takes_nothing_holds_up_nobody() {
    let runtime = runtime();
    let (stalled, other) = (Double::new("stalled"), Double::new("other"));
    stalled.set_mode(Mode::Stall);
    let address = stalled.serve(runtime.handle());
    let over_grpc = Grpc::new(&format!("http://{address}")).unwrap();
    let world = World::on(runtime, vec![Box::new(over_grpc), other.upstream()]);
    let service = world.service("a");
    // More than a connection buffers.
    let calls: Vec<_> = (0..30_000).map(|_| service.spans.call("b").start()).collect();
    other.wait_for("a", "all calls", |it| {
        (it.mirror.open.len() == calls.len()).then_some(())
    });
    stalled.wait("another connection", |sessions| (sessions.len() >= 2).then_some(()));
    stalled.set_mode(Mode::Serve);
    let open = stalled.wait("all calls", |sessions| {
        let channel = sessions.last()?.of("a")?;
        (channel.mirror.sets_complete == 1).then_some(channel.mirror.open.len())
    });
    assert_eq!(open, calls.len());
    let status = world.get("/metrics");
    assert!(
        !status.contains("standoff_relay_upstream_stuck_total{upstream=\"other\"} 1"),
        "{status}"
    );
}

#[test]
fn a_relay_that_stops_leaves_its_services_alive_and_the_next_one_takes_over() {
    let collector = Double::new("collector");
    let mut world = World::new(vec![collector.upstream()]);
    let service = world.service("a");
    let call = service.spans.call("b").start();
    let call_id = id(&call);
    let hello = collector.wait_for("a", "the call", |it| {
        it.mirror.open.contains_key(&call_id).then(|| it.hello.clone())
    });
    world.stop();
    let (closed, left) = collector.wait_for("a", "the end", |it| Some((it.closed?, it.mirror.left)));
    assert!(!closed && !left);
    world.start_again(vec![collector.upstream()]);
    let again = collector.wait("the call, again", |sessions| {
        let channel = sessions.get(1)?.of("a")?;
        channel
            .mirror
            .open
            .contains_key(&call_id)
            .then(|| channel.hello.clone())
    });
    assert_eq!(hello, again, "it is the same instance");
    call.end();
}

#[test]
fn the_status_page_tells_how_things_are() {
    let collector = Double::new("collector");
    collector.set_mode(Mode::Away);
    let world = World::new(vec![collector.upstream()]);
    assert!(world.get("/livez").starts_with("HTTP/1.1 200"));
    assert!(world.get("/readyz").starts_with("HTTP/1.1 503"));
    collector.set_mode(Mode::Serve);
    let service = world.service("service <a>");
    let call = service.spans.call("b").start();
    let call_id = id(&call);
    collector.wait_for("service <a>", "the call", |it| it.mirror.open.get(&call_id).map(drop));
    support::eventually("readiness", || world.get("/readyz").starts_with("HTTP/1.1 200"));
    let page = world.get("/");
    assert!(
        page.contains("text/html") && page.contains("service &lt;a&gt;"),
        "{page}"
    );
    assert!(world.get("/status").contains("\"open_spans\":1"));
    let metrics = world.get("/metrics");
    assert!(metrics.contains("application/openmetrics-text"), "{metrics}");
    assert!(metrics.contains("\nstandoff_relay_open_spans 1\n"), "{metrics}");
    call.end();
}

#[test]
fn a_relay_of_relays_is_refused_and_says_why() {
    let collector = Double::new("collector");
    let world = World::new(vec![collector.upstream()]);
    let refused = world.runtime.block_on(async {
        let url = format!("http://{}", world.stream);
        let channel = tonic::transport::Endpoint::from_shared(url).unwrap();
        let mut client = WaitStreamClient::new(channel.connect().await.unwrap());
        client.relay(tokio_stream::empty::<FromRelay>()).await.unwrap_err()
    });
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    assert!(refused.message().contains("address of a collector"), "{refused}");
}

#[test]
fn what_cannot_work_is_said_at_the_start() {
    let runtime = runtime();
    let upstream = || Double::new("collector").upstream();
    let start = |settings, upstreams| match runtime.block_on(Relay::start(settings, upstreams)) {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    };
    let taken = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let stream = taken.local_addr().unwrap();
    let error = start(Settings { stream, ..settings() }, vec![upstream()]);
    let expected = format!("cannot listen on {stream} (native stream); set another address with --stream");
    assert_eq!(error.to_string(), expected);
    let everywhere = Some(SocketAddr::from(([0, 0, 0, 0], 0)));
    let error = start(
        Settings {
            http: everywhere,
            ..settings()
        },
        vec![upstream()],
    );
    assert!(matches!(
        error,
        StartError::NotLoopback {
            what: "status page",
            ..
        }
    ));
    let otlp = Settings {
        otlp_grpc: Some(stream),
        ..settings()
    };
    let error = start(otlp, vec![upstream()]);
    let expected =
        format!("cannot listen on {stream} (OTLP over gRPC); set another address with --otlp-grpc, or `off`");
    assert_eq!(error.to_string(), expected);
    let otlp = Settings {
        otlp_http: everywhere,
        ..settings()
    };
    assert!(matches!(
        start(otlp, vec![upstream()]),
        StartError::NotLoopback {
            what: "OTLP over HTTP",
            ..
        }
    ));
    assert!(matches!(start(settings(), vec![]), StartError::Upstreams(0)));
    assert!(matches!(
        start(settings(), vec![upstream(), upstream()]),
        StartError::Twice(_)
    ));
    drop(taken);
    let own = || -> Box<dyn Upstream> { Box::new(Grpc::new(&format!("http://localhost:{}", stream.port())).unwrap()) };
    let error = start(Settings { stream, ..settings() }, vec![own()]);
    assert!(matches!(error, StartError::Itself(address) if address == stream));
    assert!(Grpc::new("collector:4381").is_err());
}
