//! Everything over the in-process broker, registry and transport.

#![expect(clippy::unwrap_used, reason = "a failed expectation is what tests are for")]

mod suite;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use standoff_demo_services::broker::{Broker, InProcessBroker};
use standoff_demo_services::cluster::Placement;
use standoff_demo_services::cluster::{InProcessRegistry, InProcessTransport, Registry, Transport};
use standoff_demo_services::demo::{DEADLOCK_ID, Embedded, EmbeddedConfig, Settings};
use standoff_demo_services::rpc::AskError;
use suite::World;
use suite::services::TIMEOUT;

#[derive(Default)]
struct InProcess {
    broker: InProcessBroker,
    clusters: Mutex<HashMap<String, (InProcessRegistry, InProcessTransport)>>,
}

impl InProcess {
    fn cluster(&self, cluster: &str) -> (InProcessRegistry, InProcessTransport) {
        self.clusters
            .lock()
            .unwrap()
            .entry(cluster.to_owned())
            .or_default()
            .clone()
    }
}

impl World for InProcess {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.broker.clone())
    }

    fn registry(&self, cluster: &str) -> Arc<dyn Registry> {
        Arc::new(self.cluster(cluster).0)
    }

    fn transport(&self, cluster: &str) -> Arc<dyn Transport> {
        Arc::new(self.cluster(cluster).1)
    }

    fn requests_at_once(&self) -> i64 {
        5_000
    }
}

behaviours!(InProcess::default());

/// Without a collector: the services must not depend on one.
fn settings() -> Settings {
    Settings {
        upstream: "http://127.0.0.1:9".to_owned(),
        request_timeout: TIMEOUT,
        placement: Placement::Deterministic,
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_demo_answers_deadlocks_and_shuts_down() {
    let config = EmbeddedConfig {
        settings: settings(),
        ..EmbeddedConfig::default()
    };
    let demo = Embedded::start(config).await.unwrap();
    let instances: Vec<&str> = demo.telemetry().map(|(instance, _)| instance).collect();
    let expected = ["requester", "service-a-1", "service-a-2", "service-b-1", "service-b-2"];
    assert_eq!(instances, expected);

    assert_eq!(demo.requester().request(7).await.unwrap(), 15);
    assert!(matches!(demo.deadlock().await, Err(AskError::Timeout(_))));
    assert_eq!(demo.requester().request(8).await.unwrap(), 17);
    suite::within_deadline("shutting down", demo.shutdown()).await;
}

#[tokio::test]
async fn the_embedded_demo_shuts_down_in_the_middle_of_a_deadlock() {
    let settings = Settings {
        request_timeout: suite::DEADLINE,
        ..settings()
    };
    let config = EmbeddedConfig {
        settings,
        ..EmbeddedConfig::default()
    };
    let demo = Embedded::start(config).await.unwrap();
    let requester = demo.requester().clone();
    let call = tokio::spawn(async move { requester.request(DEADLOCK_ID).await });
    tokio::task::yield_now().await;
    suite::within_deadline("shutting down", demo.shutdown()).await;
    assert!(matches!(call.await.unwrap(), Err(AskError::Broker(_))));
}

#[tokio::test]
async fn an_upstream_that_is_none_is_an_error() {
    let settings = Settings {
        upstream: "nowhere".to_owned(),
        ..settings()
    };
    let config = EmbeddedConfig {
        settings,
        ..EmbeddedConfig::default()
    };
    let Err(error) = Embedded::start(config).await else {
        panic!("it started");
    };
    assert_eq!(error.to_string(), "cannot start the agent of requester");
}
