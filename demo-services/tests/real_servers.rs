//! Everything over RabbitMQ, Redis and gRPC, and what happens when those go away and come back.

#![expect(clippy::unwrap_used, reason = "a failed expectation is what tests are for")]

mod proxy;
mod suite;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use proxy::Proxy;
use standoff_demo_services::broker::{Broker, RabbitBroker};
use standoff_demo_services::cluster::{GrpcTransport, RedisRegistry, Registry, Transport};
use standoff_demo_services::demo::{
    Config, DEADLOCK_ID, Embedded, EmbeddedConfig, Servers, Settings, run_request, run_service_a, run_service_b,
};
use standoff_demo_services::rpc::AskError;
use suite::services::{System, TIMEOUT, answer, is_open};
use suite::{World, eventually, within_deadline};
use tokio_util::sync::CancellationToken;

/// The servers that the test runner has started, with a prefix of the test's own.
struct Real {
    amqp_url: String,
    redis_url: String,
    prefix: String,
}

impl Real {
    fn new() -> Self {
        Self {
            amqp_url: setting("STANDOFF_TEST_AMQP_URL"),
            redis_url: setting("STANDOFF_TEST_REDIS_URL"),
            prefix: format!("test-{:016x}:", rand::random::<u64>()),
        }
    }
}

fn setting(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run `cargo xtask test`, which starts the servers"))
}

impl World for Real {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(RabbitBroker::connect(&self.amqp_url, &self.prefix).unwrap())
    }

    fn registry(&self, cluster: &str) -> Arc<dyn Registry> {
        Arc::new(RedisRegistry::connect(&self.redis_url, &format!("{}{cluster}:", self.prefix)).unwrap())
    }

    fn transport(&self, _cluster: &str) -> Arc<dyn Transport> {
        Arc::new(GrpcTransport::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None))
    }

    fn requests_at_once(&self) -> i64 {
        1_500
    }
}

behaviours!(Real::new());

/// A world whose ways to both servers can be cut.
async fn cuttable() -> (Real, Proxy, Proxy) {
    let direct = Real::new();
    let (amqp, amqp_url) = Proxy::before(&direct.amqp_url).await;
    let (redis, redis_url) = Proxy::before(&direct.redis_url).await;
    (
        Real {
            amqp_url,
            redis_url,
            ..direct
        },
        amqp,
        redis,
    )
}

#[tokio::test]
async fn services_reconnect_to_a_broker_that_was_away() {
    let (world, amqp, _redis) = cuttable().await;
    let mut system = System::start(&world, 2, TIMEOUT).await;
    let requester = system.requester();
    assert_eq!(answer(&requester, 7).await, 15);
    let deadlocked = tokio::spawn({
        let requester = requester.clone();
        async move { requester.request(DEADLOCK_ID).await }
    });
    system
        .recorder
        .until("the deadlock is closed", |log| is_open(log, "{:server_b, 42}"))
        .await;

    amqp.cut();
    // What was under way is lost and says so; what is asked meanwhile waits for the connection within its timeout.
    assert!(matches!(deadlocked.await.unwrap(), Err(AskError::Broker(_))));
    assert!(matches!(requester.request(7).await, Err(AskError::Timeout(_))));
    amqp.mend();

    assert_eq!(answer(&requester, 7).await, 15);
    for id in 0..20 {
        assert_eq!(answer(&requester, id).await, 2 * id + 1);
    }
    assert!(matches!(
        requester.request(DEADLOCK_ID).await,
        Err(AskError::Timeout(_))
    ));
    let four_members = |log: &suite::recorder::Log| {
        log.open()
            .filter(|span| span.text("standoff.role").as_deref() == Some("member"))
            .count()
            == 4
    };
    system
        .recorder
        .until("a lost connection ends no membership", four_members)
        .await;
}

#[tokio::test]
async fn services_go_on_when_the_registry_was_away() {
    let (world, _amqp, redis) = cuttable().await;
    let mut system = System::start(&world, 2, TIMEOUT).await;
    let requester = system.requester();
    assert_eq!(answer(&requester, 7).await, 15);

    redis.cut();
    // Each takes its whole timeout, and both together take longer than the leases.
    for id in [7, 8] {
        assert!(matches!(requester.request(id).await, Err(AskError::Timeout(_))));
    }
    redis.mend();

    for (id, result) in [(7, 15), (8, 17), (9, 19)] {
        assert_eq!(answer(&requester, id).await, result);
    }
}

impl Real {
    fn config(&self, instance: &str) -> Config {
        Config {
            amqp_url: self.amqp_url.clone(),
            redis_url: self.redis_url.clone(),
            instance: instance.to_owned(),
            prefix: self.prefix.clone(),
            settings: Settings {
                // Without a collector: the services must not depend on one.
                upstream: "http://127.0.0.1:9".to_owned(),
                request_timeout: TIMEOUT,
                ..Settings::default()
            },
            ..Config::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_find_each_other() {
    let world = Real::new();
    let stop = CancellationToken::new();
    let mut replicas = Vec::new();
    for number in 1..=2 {
        let a = run_service_a(world.config(&format!("service-a-{number}")), stop.clone());
        let b = run_service_b(world.config(&format!("service-b-{number}")), stop.clone());
        replicas.push(tokio::spawn(a));
        replicas.push(tokio::spawn(b));
    }
    // The first request may come before all are ready.
    let ready = || async {
        let results = run_request(world.config(""), vec![7]).await.unwrap();
        results[0].1.as_ref().ok().copied()
    };
    assert_eq!(eventually("an answer", ready).await, 15);

    let results = run_request(world.config(""), vec![1, DEADLOCK_ID, 3]).await.unwrap();
    assert!(matches!(
        results.as_slice(),
        [(1, Ok(3)), (DEADLOCK_ID, Err(AskError::Timeout(_))), (3, Ok(7))]
    ));
    stop.cancel();
    for replica in replicas {
        within_deadline("stopping", replica).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_role_stops_while_it_waits_for_its_servers() {
    let config = Config {
        amqp_url: "amqp://127.0.0.1:9/%2f".to_owned(),
        redis_url: "redis://127.0.0.1:9/".to_owned(),
        ..Real::new().config("")
    };
    let stop = CancellationToken::new();
    let replica = tokio::spawn(run_service_a(config, stop.clone()));
    tokio::task::yield_now().await;
    stop.cancel();
    within_deadline("stopping", replica).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_embedded_demo_stands_on_real_servers() {
    let world = Real::new();
    let servers = Servers::Real {
        amqp_url: world.amqp_url.clone(),
        redis_url: world.redis_url.clone(),
        prefix: world.prefix.clone(),
    };
    let config = EmbeddedConfig {
        servers,
        settings: world.config("").settings,
        ..EmbeddedConfig::default()
    };
    let demo = within_deadline("starting", Embedded::start(config)).await.unwrap();
    assert_eq!(answer(demo.requester(), 7).await, 15);
    assert!(matches!(demo.deadlock().await, Err(AskError::Timeout(_))));
    within_deadline("shutting down", demo.shutdown()).await;
}
