//! Locks and semaphores.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use standoff_agent::sync::{AcquireError, Elapsed, Mutex, RwLock, Semaphore, TryAcquireError};
use standoff_agent::{OpenSpan, Spans};

use crate::recorder::{Log, recorded, within_deadline};

/// Two tasks of one service.
fn tasks(spans: &Spans) -> [OpenSpan; 2] {
    ["first", "second"].map(|name| spans.handle(name).start())
}

/// A future that has been polled once, and is not done.
fn waiting<'a, T>(future: impl Future<Output = T> + 'a) -> Pin<Box<dyn Future<Output = T> + 'a>> {
    let mut future = Box::pin(future);
    assert!(future.as_mut().now_or_never().is_none(), "it must wait");
    future
}

/// What a task waits for and holds now.
fn of(log: &Log, task: &OpenSpan) -> Vec<String> {
    let is_open = |id| !log.ended.iter().any(|ended| ended.id() == id);
    let mut found = Vec::new();
    for span in &log.started {
        if span.parent() == task.span_id() && is_open(span.id()) {
            let units = span.number("standoff.units").unwrap_or(1);
            let capacity = span.number("standoff.capacity").unwrap_or(1);
            let target = span.text("standoff.target");
            found.push(match target {
                Some(target) => format!("waits for {units} of {target}"),
                None => format!(
                    "holds {units}/{capacity} of {}",
                    span.text("standoff.resource").unwrap()
                ),
            });
        }
    }
    found
}

#[tokio::test]
async fn a_mutex_reports_a_wait_only_where_there_is_one() {
    let (spans, recorder) = recorded();
    let [first, second] = tasks(&spans);
    let ledger = Mutex::new(&spans, "ledger", 0);
    assert_eq!(ledger.name(), "ledger");

    let mut guard = first.run(ledger.lock()).await;
    *guard += 1;
    let log = recorder.log();
    assert_eq!(of(&log, &first), ["holds 1/1 of ledger"]);
    assert_eq!(log.with("standoff.role", "call").len(), 0, "nobody has waited");

    let lock = waiting(second.run(ledger.lock()));
    assert_eq!(of(&recorder.log(), &second), ["waits for 1 of ledger"]);
    assert!(ledger.try_lock().is_err());

    drop(guard);
    assert_eq!(of(&recorder.log(), &first), Vec::<String>::new());
    let guard = within_deadline("the mutex", lock).await;
    assert_eq!(*guard, 1);
    let log = recorder.log();
    assert_eq!(of(&log, &second), ["holds 1/1 of ledger"]);
    assert_eq!(log.outcome("wait"), "finished");
    drop(guard);
    drop(ledger.try_lock().unwrap());
    assert_eq!(recorder.open(), ["first", "second"]);
}

/// Otherwise the task would seem to wait for what it has itself.
#[tokio::test]
async fn a_wait_ends_before_its_hold_begins() {
    let (spans, recorder) = recorded();
    let ledger = Mutex::new(&spans, "ledger", 0);
    let guard = ledger.lock().await;
    let lock = waiting(ledger.lock());
    drop(guard);
    let guard = within_deadline("the mutex", lock).await;
    let log = recorder.log();
    let names: Vec<_> = log.started.iter().map(|span| span.name()).collect();
    assert_eq!(names, ["hold", "wait", "hold"]);
    let ended: Vec<_> = log.ended.iter().map(|span| span.name()).collect();
    assert_eq!(ended, ["hold", "wait"]);
    drop(guard);
}

#[tokio::test]
async fn who_gives_up_waits_no_more() {
    let (spans, recorder) = recorded();
    let ledger = Mutex::new(&spans, "ledger", 0);
    let guard = ledger.lock_owned().await;
    drop(waiting(ledger.lock_owned()));
    assert_eq!(recorder.log().outcome("wait"), "cancelled");
    assert_eq!(recorder.open(), ["hold"]);
    drop(guard);
    assert_eq!(recorder.open(), Vec::<String>::new());
}

#[tokio::test]
async fn a_wait_says_when_it_will_be_over() {
    let (spans, recorder) = recorded();
    let ledger = Mutex::new(&spans, "ledger", 0);
    let _guard = ledger.lock().await;
    let over = within_deadline("the timeout", ledger.lock_within(Duration::from_millis(5))).await;
    assert_eq!(over.err(), Some(Elapsed));
    let log = recorder.log();
    assert_eq!(log.span("wait").number("standoff.timeout_ms"), Some(5));
    assert_eq!(log.outcome("wait"), "timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_may_wait_too() {
    let (spans, recorder) = recorded();
    let ledger = Mutex::new(&spans, "ledger", 0);
    let guard = ledger.lock().await;
    std::thread::scope(|threads| {
        let waiter = threads.spawn(|| *ledger.blocking_lock() + 7);
        tokio::task::block_in_place(|| {
            block_on(recorder.until("the wait", |log| log.open() == ["hold", "wait"]));
        });
        drop(guard);
        assert_eq!(waiter.join().unwrap(), 7);
    });
    assert_eq!(recorder.open(), Vec::<String>::new());
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Handle::current().block_on(future)
}

#[tokio::test]
async fn readers_share_and_a_writer_asks_for_all() {
    let (spans, recorder) = recorded();
    let [first, second] = tasks(&spans);
    let routes = RwLock::with_max_readers(&spans, "routes", 7, 4);

    let reading = first.run(routes.read()).await;
    let also = second.run(routes.read()).await;
    assert_eq!(*reading + *also, 14);
    assert_eq!(of(&recorder.log(), &first), ["holds 1/4 of routes"]);
    drop(also);

    let write = waiting(second.run(routes.write()));
    assert_eq!(of(&recorder.log(), &second), ["waits for 4 of routes"]);
    assert!(routes.try_write().is_err());
    drop(reading);
    let mut writing = within_deadline("the lock", write).await;
    *writing = 8;
    assert_eq!(of(&recorder.log(), &second), ["holds 4/4 of routes"]);

    let read = waiting(first.run(routes.read()));
    assert_eq!(of(&recorder.log(), &first), ["waits for 1 of routes"]);
    assert!(routes.try_read().is_err());
    let downgraded = second.in_scope(|| writing.downgrade());
    assert_eq!(of(&recorder.log(), &second), ["holds 1/4 of routes"]);
    assert_eq!(*within_deadline("the lock", read).await, 8);
    drop(downgraded);
    assert_eq!(recorder.open(), ["first", "second"]);
}

#[tokio::test]
async fn guards_that_borrow_nothing_hold_as_much() {
    let (spans, recorder) = recorded();
    let [first, second] = tasks(&spans);
    let routes = RwLock::with_max_readers(&spans, "routes", 7, 4);
    let reading = first.run(routes.read_owned()).await;
    assert_eq!(
        (*reading, of(&recorder.log(), &first)),
        (7, vec!["holds 1/4 of routes".to_owned()])
    );
    let write = waiting(second.run(routes.write_owned()));
    assert_eq!(of(&recorder.log(), &second), ["waits for 4 of routes"]);
    drop(reading);
    let mut writing = within_deadline("the lock", write).await;
    *writing = 8;
    assert_eq!(of(&recorder.log(), &second), ["holds 4/4 of routes"]);
    let read = waiting(first.run(routes.read_owned()));
    assert_eq!(of(&recorder.log(), &first), ["waits for 1 of routes"]);
    drop(writing);
    assert_eq!(*within_deadline("the lock", read).await, 8);
    assert_eq!(recorder.open(), ["first", "second"]);
}

#[tokio::test]
async fn reading_and_writing_may_take_too_long() {
    let (spans, recorder) = recorded();
    let routes = RwLock::new(&spans, "routes", 7);
    let moment = Duration::from_millis(5);
    let writing = routes.write_within(moment).await.unwrap();
    assert!(
        within_deadline("the timeout", routes.read_within(moment))
            .await
            .is_err()
    );
    assert_eq!(recorder.log().outcome("wait"), "timeout");
    drop(writing);
    let _reading = routes.read_within(moment).await.unwrap();
    assert!(
        within_deadline("the timeout", routes.write_within(moment))
            .await
            .is_err()
    );
    assert_eq!(recorder.open(), ["hold"]);
}

#[tokio::test]
async fn permits_are_units() {
    let (spans, recorder) = recorded();
    let [first, second] = tasks(&spans);
    let connections = Semaphore::new(&spans, "connections", 3);

    let two = first.run(connections.acquire_many(2)).await.unwrap();
    assert_eq!(of(&recorder.log(), &first), ["holds 2/3 of connections"]);
    let acquire = waiting(second.run(connections.acquire_many(2)));
    assert_eq!(of(&recorder.log(), &second), ["waits for 2 of connections"]);
    assert_eq!(connections.try_acquire_many(2).err(), Some(TryAcquireError::NoPermits));
    drop(two);
    let two = within_deadline("permits", acquire).await.unwrap();
    assert_eq!(of(&recorder.log(), &second), ["holds 2/3 of connections"]);

    connections.add_permits(2);
    let owned = first.run(connections.acquire_many_owned(3)).await.unwrap();
    assert_eq!(of(&recorder.log(), &first), ["holds 3/5 of connections"]);
    assert_eq!((owned.num_permits(), connections.available_permits()), (3, 0));
    owned.forget();
    assert_eq!(of(&recorder.log(), &first), Vec::<String>::new());
    drop(two);
    let one = first.run(connections.acquire()).await.unwrap();
    assert_eq!(of(&recorder.log(), &first), ["holds 1/2 of connections"]);
    one.forget();
    assert_eq!(connections.available_permits(), 1);
    assert_eq!(recorder.open(), ["first", "second"]);
}

#[tokio::test]
async fn a_closed_semaphore_and_one_that_takes_too_long_say_so() {
    let (spans, recorder) = recorded();
    let connections = Semaphore::new(&spans, "connections", 1);
    let permit = connections.acquire().await.unwrap();
    let moment = Duration::from_millis(5);
    let late = within_deadline("the timeout", connections.acquire_many_within(1, moment)).await;
    assert_eq!(late.err(), Some(AcquireError::Timeout));
    assert_eq!(recorder.log().outcome("wait"), "timeout");
    let acquire = waiting(connections.acquire_many_owned(1));
    connections.close();
    assert_eq!(
        within_deadline("the end", acquire).await.err(),
        Some(AcquireError::Closed)
    );
    let log = recorder.log();
    assert_eq!(log.outcome_of(log.started.last().unwrap()), "_OTHER");
    assert_eq!(connections.acquire().await.err(), Some(AcquireError::Closed));
    drop(permit);
    assert_eq!(recorder.open(), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_is_held_by_who_asks_for_nothing() {
    let (spans, recorder) = recorded();
    let none = Semaphore::new(&spans, "none", 0);
    let permit = none.acquire_many(0).await.unwrap();
    assert_eq!((permit.num_permits(), recorder.log().started.len()), (0, 0));
}
