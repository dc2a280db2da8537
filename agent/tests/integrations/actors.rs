//! Mailboxes, addresses and turns.

use std::time::Duration;

use futures_util::FutureExt as _;
use opentelemetry::trace::{SpanId, SpanKind};
use standoff_agent::actors::{Address, AskError, Envelope, Mailbox, SendError, mailbox};

use crate::recorder::{recorded, within_deadline};

const NAME: &str = "{:doubler, 1}";

/// Handles one message, in its turn.
async fn serve(mailbox: &mut Mailbox<u32, u32>) {
    let (number, turn) = within_deadline("a message", mailbox.next()).await.unwrap();
    let doubled = turn.run(async { number * 2 }).await;
    turn.reply(doubled);
}

#[tokio::test]
async fn asking_is_a_call_and_a_turn_is_the_handle_that_answers_it() {
    let (spans, recorder) = recorded();
    let (address, mut mailbox) = mailbox(&spans, NAME, 1);
    assert_eq!((address.name(), mailbox.name()), (NAME, NAME));
    let asker = spans.handle("asker").start();
    let mut asking = Box::pin(asker.run(address.ask_within(Duration::from_secs(600), 21)));
    assert!(asking.as_mut().now_or_never().is_none());

    let (number, turn) = within_deadline("the message", mailbox.next()).await.unwrap();
    let called = turn
        .run(async { spans.call("other").name("other").start().span_id() })
        .await;
    let log = recorder.log();
    let (call, handle) = (log.span("ask"), log.span("turn"));
    assert_eq!((call.kind(), handle.kind()), (SpanKind::Client, SpanKind::Consumer));
    assert_eq!((call.parent(), handle.parent()), (asker.span_id(), call.id()));
    assert_eq!(call.text("standoff.target").as_deref(), Some(NAME));
    assert_eq!(call.number("standoff.timeout_ms"), Some(600_000));
    assert_eq!(handle.text("standoff.resource").as_deref(), Some(NAME));
    assert_eq!(
        (log.span("other").id(), log.span("other").parent()),
        (called, handle.id())
    );
    assert_eq!(recorder.open(), ["asker", "ask", "turn"]);

    turn.reply(number * 2);
    assert_eq!(recorder.open(), ["asker", "ask"]);
    assert_eq!(within_deadline("the reply", asking).await, Ok(42));
    assert_eq!(recorder.log().outcome("ask"), "finished");
}

#[tokio::test]
async fn who_waits_for_room_in_the_mailbox_is_asking_already() {
    let (spans, recorder) = recorded();
    let (address, mut mailbox) = mailbox(&spans, NAME, 1);
    address.tell(1).await.unwrap();
    let mut asking = Box::pin(address.ask(21));
    assert!(asking.as_mut().now_or_never().is_none());
    assert_eq!(recorder.open(), ["ask"]);
    let both = async {
        futures_util::join!(asking, async {
            serve(&mut mailbox).await;
            serve(&mut mailbox).await
        })
    };
    assert_eq!(within_deadline("the reply", both).await.0, Ok(42));
}

#[tokio::test]
async fn telling_waits_only_for_room() {
    let (spans, recorder) = recorded();
    let (address, mut mailbox) = mailbox(&spans, NAME, 1);
    let teller = spans.handle("teller").start();
    teller.run(address.tell(1)).await.unwrap();
    assert_eq!(recorder.open(), ["teller"]);
    let mut telling = Box::pin(teller.run(address.tell(2)));
    assert!(telling.as_mut().now_or_never().is_none());
    assert_eq!(recorder.open(), ["teller", "tell"]);
    assert_eq!(recorder.log().span("tell").parent(), teller.span_id());

    // Its turn is nobody's: the teller does not wait for it.
    let (number, turn) = mailbox.next().await.unwrap();
    let log = recorder.log();
    assert_eq!((number, log.span("turn").parent()), (1, SpanId::INVALID));
    turn.reply(2);
    within_deadline("room", telling).await.unwrap();
    assert_eq!(recorder.open(), ["teller"]);
    drop(mailbox);
    assert_eq!(teller.run(address.tell(3)).await, Err(SendError(3)));
    assert_eq!(
        recorder.log().outcome_of(recorder.log().started.last().unwrap()),
        "_OTHER"
    );
}

#[tokio::test]
async fn who_asks_in_vain_learns_why() {
    let (spans, recorder) = recorded();
    let (address, mut mailbox): (Address<u32, u32>, _) = mailbox(&spans, NAME, 4);
    let late = within_deadline("the timeout", address.ask_within(Duration::from_millis(5), 1)).await;
    assert_eq!(late, Err(AskError::Timeout));
    assert_eq!(recorder.log().outcome("ask"), "timeout");

    // It is handled all the same, and the reply is thrown away.
    let (_, turn) = mailbox.next().await.unwrap();
    turn.reply(2);

    let other = address.clone();
    let asking = tokio::spawn(async move { other.ask(1).await });
    let panicking = tokio::spawn(async move {
        let (_, turn) = mailbox.next().await.unwrap();
        turn.run(async { panic!("on purpose") }).await
    });
    assert_eq!(
        within_deadline("no reply", asking).await.unwrap(),
        Err(AskError::NoReply)
    );
    assert!(panicking.await.is_err());
    assert!(address.is_closed());
    assert_eq!(address.ask(1).await, Err(AskError::Ended));
    assert_eq!(recorder.open(), Vec::<String>::new());
    let outcomes: Vec<_> = {
        let log = recorder.log();
        log.with("standoff.target", NAME)
            .into_iter()
            .map(|call| log.outcome_of(call))
            .collect()
    };
    assert_eq!(outcomes, ["timeout", "_OTHER", "_OTHER"]);
}

#[tokio::test]
async fn an_asker_that_is_dropped_is_cancelled() {
    let (spans, recorder) = recorded();
    let (address, mut mailbox) = mailbox::<u32, u32>(&spans, NAME, 4);
    let mut asking = Box::pin(address.ask(1));
    assert!(asking.as_mut().now_or_never().is_none());
    drop(asking);
    assert_eq!(recorder.log().outcome("ask"), "cancelled");
    let (_, turn) = mailbox.next().await.unwrap();
    assert!(!turn.defer().is_awaited());
}

#[tokio::test]
async fn a_reply_may_come_early_or_late() {
    let (spans, recorder) = recorded();
    let (address, mut mailbox) = mailbox(&spans, NAME, 4);
    let asker = address.clone();
    let asking = tokio::spawn(async move { asker.ask(1).await });
    let (_, mut turn) = within_deadline("the message", mailbox.next()).await.unwrap();
    turn.reply_early(2);
    turn.reply_early(3);
    assert_eq!(within_deadline("the reply", asking).await.unwrap(), Ok(2));
    assert_eq!(recorder.open(), ["turn"]);
    drop(turn);

    let asking = tokio::spawn(async move { address.ask(1).await });
    let (_, turn) = within_deadline("the message", mailbox.next()).await.unwrap();
    let reply = turn.defer();
    assert_eq!(recorder.open(), ["ask"]);
    assert!(reply.is_awaited());
    reply.send(7);
    assert_eq!(within_deadline("the reply", asking).await.unwrap(), Ok(7));

    mailbox.close();
    assert!(mailbox.next().await.is_none());
}

#[tokio::test]
async fn an_envelope_carries_the_call_through_any_queue() {
    let (spans, recorder) = recorded();
    let call = spans.call(NAME).name("ask").start();
    let (message, turn) = Envelope::of(&call, 7).open(&spans, NAME);
    let log = recorder.log();
    assert_eq!((message, log.span("turn").parent()), (7, call.span_id()));
    turn.end();
    let told = call.in_scope(|| Envelope::told(8));
    assert_eq!(told.clone().into_message(), 8);
    let (_, turn) = told.open(&spans, NAME);
    turn.end();
    // A trace of its own, linked to the sender's.
    let turn = recorder.log().ended.last().unwrap().clone();
    assert_eq!((turn.parent(), turn.links()), (SpanId::INVALID, vec![call.span_id()]));
}
