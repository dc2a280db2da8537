//! Deadlocks through mutexes, readers-writer locks and semaphores.

use std::sync::Arc;

use standoff_agent::sync::{Mutex, RwLock, Semaphore};
use tokio::sync::Barrier;

use super::{Service, compute, fires, knows_calls, stays_silent};
use crate::support::Collector;

#[tokio::test]
async fn two_mutexes_taken_in_two_orders() {
    let collector = Collector::start().await;
    let mut service = Service::start(&collector, "bank");
    service.deadlocks(["ledger", "stock"]);
    let (alert, names) = fires(&collector).await;
    assert_eq!(names, ["ledger", "stock"]);
    assert_eq!(alert.summary, "ledger → stock → ledger");
    assert!(alert.core.iter().all(|task| task.name == "takes two locks"));
}

#[tokio::test]
async fn a_semaphore_of_which_everybody_wants_one_more() {
    let collector = Collector::start().await;
    let mut service = Service::start(&collector, "queries");
    let connections = Semaphore::new(&service.spans, "connections", 2);
    let both = Arc::new(Barrier::new(2));
    for _ in 0..2 {
        let (connections, both) = (connections.clone(), both.clone());
        service.does("query", async move {
            let _one = connections.acquire().await.unwrap();
            both.wait().await;
            let _other = connections.acquire().await.unwrap();
        });
    }
    let (alert, names) = fires(&collector).await;
    assert_eq!(names, ["connections", "connections"]);
    assert_eq!((alert.resources[0].held, alert.resources[0].queued), (2, 2));
}

#[tokio::test]
async fn two_readers_who_both_want_to_write() {
    let collector = Collector::start().await;
    let mut service = Service::start(&collector, "router");
    let routes = Arc::new(RwLock::new(&service.spans, "routes", ()));
    let both = Arc::new(Barrier::new(2));
    for _ in 0..2 {
        let (routes, both) = (routes.clone(), both.clone());
        service.does("update", async move {
            let _reading = routes.read().await;
            both.wait().await;
            let _writing = routes.write().await;
        });
    }
    let (_, names) = fires(&collector).await;
    assert_eq!(names, ["routes", "routes"]);
}

#[tokio::test]
async fn waiting_for_somebody_who_computes_is_no_deadlock() {
    let collector = Collector::start().await;
    let mut service = Service::start(&collector, "bank");
    let ledger = Arc::new(Mutex::new(&service.spans, "ledger", ()));
    let held = ledger.lock_owned();
    let connections = Semaphore::new(&service.spans, "connections", 3);
    let (lock, permits) = (ledger.clone(), connections.clone());
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    service.does("book", async move {
        let _ledger = lock.lock().await;
        let _two = permits.acquire_many(2).await.unwrap();
        ready.send(()).unwrap();
        compute().await;
    });
    drop(held);
    is_ready.await.unwrap();
    service.does("audit", async move {
        let _one = connections.acquire().await.unwrap();
        let _ledger = ledger.lock().await;
    });
    knows_calls(&collector, 1).await;
    stays_silent(&collector, &mut service).await;
}
