//! Deadlocks of actors.

use std::time::Duration;

use standoff_agent::actors::{Address, Mailbox, mailbox};

use super::{Service, compute, fires, knows_calls, stays_silent};
use crate::support::Collector;

/// Longer than any test.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an actor is to do with a message.
enum Do {
    /// Reply at once.
    Reply,
    /// Ask the other, which replies at once, and reply then.
    Ask(Address<Do, ()>),
    /// Ask the other to ask this one, and reply then.
    AskToAsk(Address<Do, ()>, Address<Do, ()>),
    Compute,
}

/// An actor that asks others in its turns.
async fn run(mut mailbox: Mailbox<Do, ()>) {
    while let Some((message, turn)) = mailbox.next().await {
        let handled = async {
            match message {
                Do::Reply => {}
                Do::Ask(other) => other.ask_within(PATIENCE, Do::Reply).await.unwrap(),
                Do::AskToAsk(other, this) => other.ask_within(PATIENCE, Do::Ask(this)).await.unwrap(),
                Do::Compute => compute().await,
            }
        };
        turn.run(handled).await;
        turn.reply(());
    }
}

/// An actor of a service.
fn actor(service: &mut Service, name: &'static str) -> Address<Do, ()> {
    let (address, mailbox) = mailbox(&service.spans, name, 4);
    service.tasks.spawn(run(mailbox));
    address
}

#[tokio::test]
async fn two_actors_that_ask_each_other() {
    let collector = Collector::start().await;
    let mut service = Service::start(&collector, "actors");
    let first = actor(&mut service, "{:actor, 1}");
    let second = actor(&mut service, "{:actor, 2}");
    service.does("request", async move {
        first.ask(Do::AskToAsk(second, first.clone())).await.unwrap();
    });
    let (alert, names) = fires(&collector).await;
    assert_eq!(names, ["{:actor, 1}", "{:actor, 2}"]);
    assert_eq!(alert.summary, "{:actor, 1} → {:actor, 2} → {:actor, 1}");
    let mut waits = alert.core.iter().flat_map(|task| &task.waits);
    assert!(waits.all(|wait| wait.timeout_at.is_some()));
    assert_eq!(alert.victims[0].name, "request");
}

#[tokio::test]
async fn an_actor_that_asks_itself() {
    let collector = Collector::start().await;
    let mut service = Service::start(&collector, "actors");
    let address = actor(&mut service, "{:actor, 1}");
    service.does("request", async move {
        address.ask(Do::Ask(address.clone())).await.unwrap();
    });
    let (_, names) = fires(&collector).await;
    assert_eq!(names, ["{:actor, 1}"]);
}

#[tokio::test]
async fn a_long_queue_before_a_busy_actor_is_no_deadlock() {
    let collector = Collector::start().await;
    let mut service = Service::start(&collector, "actors");
    let first = actor(&mut service, "{:actor, 1}");
    let second = actor(&mut service, "{:actor, 2}");
    let busy = second.clone();
    service.does("request", async move { busy.ask(Do::Compute).await.unwrap() });
    // One asks the busy one in its turn, and more than its mailbox has room for wait behind it.
    for _ in 0..8 {
        let (first, second) = (first.clone(), second.clone());
        service.does("request", async move { first.ask(Do::Ask(second)).await.unwrap() });
    }
    knows_calls(&collector, 10).await;
    stays_silent(&collector, &mut service).await;
}
