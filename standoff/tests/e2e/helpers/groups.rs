//! Deadlocks of tasks that wait for several things at once.

use std::sync::Arc;

use standoff_agent::groups;
use standoff_agent::sync::Mutex;
use tokio::sync::Barrier;

use super::{Service, compute, fires, knows_calls, stays_silent};
use crate::support::Collector;

type Lock = Arc<Mutex<()>>;

fn lock(service: &Service, name: &'static str) -> Lock {
    Arc::new(Mutex::new(&service.spans, name, ()))
}

/// A task that takes a lock and then another.
fn takes(service: &mut Service, locks: [&Lock; 2], ready: &Arc<Barrier>) {
    let [first, second] = locks.map(Arc::clone);
    let ready = ready.clone();
    service.does("takes two", async move {
        let _one = first.lock().await;
        ready.wait().await;
        let _other = second.lock().await;
    });
}

/// A task that takes a lock and computes.
fn keeps(service: &mut Service, lock: &Lock, ready: &Arc<Barrier>) {
    let (lock, ready) = (lock.clone(), ready.clone());
    service.does("keeps one", async move {
        let _one = lock.lock().await;
        ready.wait().await;
        compute().await;
    });
}

/// A task that takes a lock, and then so many of some others.
fn takes_some(service: &mut Service, first: &Lock, needed: usize, others: &[&Lock], ready: &Arc<Barrier>) {
    let (spans, first, ready) = (service.spans.clone(), first.clone(), ready.clone());
    let others: Vec<Lock> = others.iter().map(|lock| Arc::clone(lock)).collect();
    service.does("takes some", async move {
        let _one = first.lock().await;
        ready.wait().await;
        let taken = others.into_iter().map(async |lock| drop(lock.lock().await));
        groups::quorum(&spans, "some", needed, taken).await;
    });
}

/// One branch has the lock and computes while the other waits for it; taken as one task it would wait for itself.
#[tokio::test]
async fn branches_of_which_one_computes_are_no_deadlock() {
    let collector = Collector::start().await;
    let mut service = Service::start(&collector, "batch");
    let ledger = lock(&service, "ledger");
    let spans = service.spans.clone();
    service.does("batch", async move {
        let branches = (0..2).map(async |_| {
            let _ledger = ledger.lock().await;
            compute().await;
        });
        groups::all(&spans, "rows", branches).await;
    });
    // Two branches and a lock.
    knows_calls(&collector, 3).await;
    stays_silent(&collector, &mut service).await;
}

#[tokio::test]
async fn all_of_several_deadlock_if_one_does() {
    let collector = Collector::start().await;
    let mut service = Service::start(&collector, "batch");
    let [a, b, c] = ["a", "b", "c"].map(|name| lock(&service, name));
    let ready = Arc::new(Barrier::new(3));
    takes_some(&mut service, &a, 2, &[&b, &c], &ready);
    takes(&mut service, [&b, &a], &ready);
    keeps(&mut service, &c, &ready);
    let (_, names) = fires(&collector).await;
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test]
async fn any_of_several_deadlock_only_if_all_do() {
    let collector = Collector::start().await;
    let mut service = Service::start(&collector, "batch");
    let [a, b, c] = ["a", "b", "c"].map(|name| lock(&service, name));
    let ready = Arc::new(Barrier::new(3));
    takes_some(&mut service, &a, 1, &[&b, &c], &ready);
    takes(&mut service, [&b, &a], &ready);
    takes(&mut service, [&c, &a], &ready);
    let (alert, names) = fires(&collector).await;
    assert_eq!(names, ["a", "b", "c"]);
    let groups: Vec<_> = alert
        .core
        .iter()
        .flat_map(|task| &task.waits)
        .filter_map(|wait| wait.group.as_ref())
        .collect();
    assert_eq!(groups.len(), 2);
    assert!(
        groups
            .iter()
            .all(|group| group.name.starts_with("some #") && (group.needed, group.size) == (1, 2))
    );
}

#[tokio::test]
async fn any_of_several_with_one_that_computes_are_no_deadlock() {
    let collector = Collector::start().await;
    let mut service = Service::start(&collector, "batch");
    let [a, b, c] = ["a", "b", "c"].map(|name| lock(&service, name));
    let ready = Arc::new(Barrier::new(3));
    takes_some(&mut service, &a, 1, &[&b, &c], &ready);
    takes(&mut service, [&b, &a], &ready);
    keeps(&mut service, &c, &ready);
    // Two branches with a lock each, and the lock of the other.
    knows_calls(&collector, 5).await;
    stays_silent(&collector, &mut service).await;
}

/// Of three, two are needed, and two are dead.
#[tokio::test]
async fn a_quorum_that_cannot_be_reached() {
    let collector = Collector::start().await;
    let mut service = Service::start(&collector, "batch");
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| lock(&service, name));
    let ready = Arc::new(Barrier::new(4));
    takes_some(&mut service, &a, 2, &[&b, &c, &d], &ready);
    takes(&mut service, [&b, &a], &ready);
    takes(&mut service, [&c, &a], &ready);
    keeps(&mut service, &d, &ready);
    let (_, names) = fires(&collector).await;
    assert_eq!(names, ["a", "b", "c"]);
}
