//! What takes too long for every change: `cargo xtask soak` runs it.

use std::time::{Duration, Instant};

use standoff_protocol::api::Resolution;

use crate::services::{System, assert_early};

/// Each of the tests here takes a third of the time that the soak has for its step, or half a minute.
fn until() -> Instant {
    let seconds = std::env::var("STANDOFF_SOAK_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Instant::now() + Duration::from_secs(seconds.map_or(30, |seconds: u64| seconds / 3))
}

#[tokio::test]
async fn soak_healthy_load_raises_nothing() {
    let until = until();
    let system = System::start(2).await;
    let mut rounds = 0;
    while Instant::now() < until {
        let ids = (0..500).map(|number| 100 + (number * 7 + rounds) % 300);
        let mut request = system.request(ids, "60s");
        assert!(
            request.ends_within(Duration::from_secs(90)).await.success(),
            "{}",
            request.out()
        );
        assert_eq!(system.collector.alerts().await, []);
        rounds += 1;
    }
    assert!(rounds > 0);
}

#[tokio::test]
async fn soak_every_deadlock_is_caught_early_and_only_once() {
    let until = until();
    let system = System::start(2).await;
    let mut rounds = 0;
    while Instant::now() < until {
        let mut request = system.request([42], "5s");
        assert_early(&system.firing().await);
        request.ends().await;
        system.collector.all_over().await;
        rounds += 1;
        let alerts = system.collector.alerts().await;
        assert_eq!(alerts.len(), rounds);
        assert!(
            alerts.iter().all(|alert| alert.resolution == Some(Resolution::Timeout)),
            "{alerts:?}"
        );
        assert_eq!(alerts[0].occurrences, rounds as u64);
    }
    assert!(rounds > 0);
}
