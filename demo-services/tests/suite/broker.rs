//! What a broker must do.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::propagation::{Extractor, Injector};
use standoff_demo_services::broker::{Broker, BrokerError, Consumer, Delivery, Request};
use tokio::task::JoinHandle;

use super::{DEADLINE, World, within_deadline};

const QUEUE: &str = "questions";

fn request(body: &str) -> Request {
    Request::new(body.as_bytes().to_vec(), DEADLINE)
}

fn call(broker: &Arc<dyn Broker>, request: Request) -> JoinHandle<Result<Vec<u8>, BrokerError>> {
    let broker = broker.clone();
    tokio::spawn(async move { broker.call(QUEUE, request).await })
}

async fn answer(call: JoinHandle<Result<Vec<u8>, BrokerError>>) -> Vec<u8> {
    within_deadline("a reply", call).await.unwrap().unwrap()
}

async fn consumer(world: &dyn World) -> Box<dyn Consumer> {
    within_deadline("consuming", world.broker().consume(QUEUE))
        .await
        .unwrap()
}

async fn next(consumer: &mut Box<dyn Consumer>) -> Delivery {
    within_deadline("a delivery", consumer.next()).await.unwrap()
}

pub(crate) async fn replies_reach_their_callers(world: &dyn World) {
    let (one, two) = (world.broker(), world.broker());
    let mut consumer = consumer(world).await;
    let calls = [
        call(&one, request("a")),
        call(&two, request("b")),
        call(&one, request("c")),
    ];
    for _ in 0..3 {
        let delivery = next(&mut consumer).await;
        let reply = [b"re: ", delivery.body.as_slice()].concat();
        assert!(!delivery.redelivered);
        delivery.reply(reply).await.unwrap();
    }
    for (call, expected) in calls.into_iter().zip(["re: a", "re: b", "re: c"]) {
        assert_eq!(answer(call).await, expected.as_bytes());
    }
}

pub(crate) async fn requests_wait_for_a_consumer(world: &dyn World) {
    let call = call(&world.broker(), request("early"));
    let mut consumer = consumer(world).await;
    next(&mut consumer).await.reply(b"late".to_vec()).await.unwrap();
    assert_eq!(answer(call).await, b"late");
}

pub(crate) async fn messages_come_in_order_and_one_at_a_time(world: &dyn World) {
    let broker = world.broker();
    let (mut first, mut second) = (consumer(world).await, consumer(world).await);
    // One request at a time is sure to be in the queue before the next.
    let one = call(&broker, request("1"));
    let (delivery, others) = tokio::select! {
        delivery = first.next() => (delivery.unwrap(), &mut second),
        delivery = second.next() => (delivery.unwrap(), &mut first),
    };
    assert_eq!(delivery.body, b"1");

    // The other consumer gets all the rest while this one has not settled its message.
    for number in ["2", "3", "4"] {
        let call = call(&broker, request(number));
        let delivery = next(others).await;
        assert_eq!(delivery.body, number.as_bytes());
        delivery.reply(Vec::new()).await.unwrap();
        answer(call).await;
    }
    delivery.reply(Vec::new()).await.unwrap();
    answer(one).await;
}

pub(crate) async fn an_unsettled_message_comes_again_marked_redelivered(world: &dyn World) {
    let broker = world.broker();
    let call = call(&broker, request("again"));
    let correlation_id = {
        let mut lost = consumer(world).await;
        let delivery = next(&mut lost).await;
        assert!(!delivery.redelivered);
        delivery.correlation_id.clone()
    };
    let mut consumer = consumer(world).await;
    let delivery = next(&mut consumer).await;
    assert!(delivery.redelivered);
    assert_eq!(
        (delivery.body.as_slice(), &delivery.correlation_id),
        (&b"again"[..], &correlation_id)
    );
    delivery.reply(b"done".to_vec()).await.unwrap();
    assert_eq!(answer(call).await, b"done");
}

pub(crate) async fn a_refused_request_is_gone_and_never_answered(world: &dyn World) {
    let broker = world.broker();
    let mut consumer = consumer(world).await;
    let refused = call(&broker, request("refused"));
    next(&mut consumer).await.refuse().await.unwrap();
    let other = call(&broker, request("other"));
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.body, b"other");
    delivery.reply(Vec::new()).await.unwrap();
    answer(other).await;
    assert!(!refused.is_finished());
    refused.abort();
}

pub(crate) async fn a_delivered_request_is_served_after_its_caller_gave_up(world: &dyn World) {
    let broker = world.broker();
    let mut consumer = consumer(world).await;
    let call_given_up = call(&broker, request("given up"));
    let delivery = next(&mut consumer).await;
    call_given_up.abort();
    call_given_up.await.unwrap_err();
    delivery.reply(b"too late".to_vec()).await.unwrap();

    let call = call(&broker, request("next"));
    next(&mut consumer).await.reply(b"in time".to_vec()).await.unwrap();
    assert_eq!(answer(call).await, b"in time");
}

pub(crate) async fn a_request_expires_in_its_queue(world: &dyn World) {
    let broker = world.broker();
    let expiring = Request {
        expires_after: Duration::from_millis(1),
        ..request("short-lived")
    };
    // Time passes before anyone consumes: the first request that does not expire is sent when the other has.
    let expired = call(&broker, expiring);
    tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>())
        .await
        .unwrap_err();
    let call = call(&broker, request("patient"));
    let mut consumer = consumer(world).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.body, b"patient");
    delivery.reply(Vec::new()).await.unwrap();
    answer(call).await;
    expired.abort();
}

pub(crate) async fn headers_arrive_as_they_were_sent(world: &dyn World) {
    let mut with_headers = request("x");
    with_headers.headers.set("traceparent", "00-1-2-03".to_owned());
    with_headers.headers.set("tracestate", "a=b".to_owned());
    let call = call(&world.broker(), with_headers.clone());
    let mut consumer = consumer(world).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.headers.get("traceparent"), Some("00-1-2-03"));
    assert_eq!(delivery.headers.get("tracestate"), Some("a=b"));
    assert_eq!(delivery.correlation_id, with_headers.correlation_id);
    delivery.reply(Vec::new()).await.unwrap();
    answer(call).await;
}

pub(crate) async fn closing_ends_calls_and_consumers(world: &dyn World) {
    let broker = world.broker();
    let mut consumer = within_deadline("consuming", broker.consume(QUEUE)).await.unwrap();
    let call = call(&broker, request("unanswered"));
    let delivery = next(&mut consumer).await;
    within_deadline("closing", broker.close()).await;
    within_deadline("the call's end", call).await.unwrap().unwrap_err();
    drop(delivery);
    assert!(matches!(
        within_deadline("the consumer's end", consumer.next()).await,
        Err(BrokerError::Closed)
    ));
    assert!(matches!(
        broker.call(QUEUE, request("late")).await,
        Err(BrokerError::Closed)
    ));
}
