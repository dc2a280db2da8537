//! Remote calls over a real RabbitMQ.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::lapin::BasicProperties;
use ::lapin::options::{BasicGetOptions, BasicPublishOptions, QueueDeleteOptions};
use ::lapin::types::{AMQPValue, FieldTable};
use opentelemetry::trace::SpanKind;
use standoff_agent::lapin::{Answer, CallError, Consumer, Message, Request, ServeError, StartError, inject};
use tokio::sync::{Semaphore, oneshot};

use crate::rabbit::{Rabbit, connect, proxy};
use crate::recorder::{Log, within_deadline};

/// What no test needs longer.
const LONG: Duration = Duration::from_secs(600);

/// A handler that replies with the request twice.
async fn double(message: Message) -> Answer {
    Answer::Reply([message.data.clone(), message.data].concat())
}

fn spans_of(log: &Log, kind: SpanKind) -> Vec<&crate::recorder::Recorded> {
    log.started.iter().filter(|span| span.kind() == kind).collect()
}

#[tokio::test]
async fn a_call_is_answered_by_a_handle_of_a_member() {
    let rabbit = Rabbit::start().await;
    let inside = rabbit.spans.clone();
    let handler = move |message| {
        inside.call("prices").name("inside").start().end();
        double(message)
    };
    let (stop, serving) = rabbit.serve(3, handler).await;
    let client = rabbit.client().await;
    let asker = rabbit.spans.handle("asker").start();
    let mut headers = FieldTable::default();
    headers.insert("mine".into(), AMQPValue::LongInt(7));
    let request = rabbit
        .request("ab")
        .timeout(LONG)
        .properties(BasicProperties::default().with_headers(headers));
    let reply = within_deadline("the reply", asker.run(client.call(request)))
        .await
        .unwrap();
    assert_eq!(reply.data, b"abab");
    asker.end();
    stop.send(()).unwrap();
    within_deadline("the end", serving).await.unwrap().unwrap();
    assert_eq!(rabbit.recorder.open(), Vec::<String>::new());

    let log = rabbit.recorder.log();
    let (call, handle) = (
        spans_of(&log, SpanKind::Client)[0],
        log.span(&format!("process {}", rabbit.queue)),
    );
    assert_eq!(
        (call.name(), call.parent()),
        (&*format!("call {}", rabbit.queue), log.span("asker").id())
    );
    assert_eq!((handle.kind(), handle.parent()), (SpanKind::Consumer, call.id()));
    assert_eq!(log.span("inside").parent(), handle.id());
    assert_eq!(call.text("standoff.target").as_ref(), Some(&rabbit.queue));
    assert_eq!(call.number("standoff.timeout_ms"), Some(600_000));
    assert_eq!(handle.text("standoff.resource").as_ref(), Some(&rabbit.queue));
    assert_eq!(handle.number("standoff.capacity"), None, "members declare it");
    let conversation = "messaging.message.conversation_id";
    assert!(call.text(conversation).is_some_and(|id| id.len() == 32));
    assert_eq!(call.text(conversation), handle.text(conversation));
    let member = log.span("member");
    assert_eq!(member.number("standoff.units"), Some(3));
    assert_eq!(member.text("standoff.resource").as_ref(), Some(&rabbit.queue));
    assert_eq!(log.outcome(call.name()), "finished");
    assert_eq!(log.outcome(handle.name()), "finished");
    assert_eq!(rabbit.waiting().await, 0);
}

#[tokio::test]
async fn the_handle_ends_before_the_message_is_acknowledged() {
    let rabbit = Rabbit::start().await;
    let (_stop, _serving) = rabbit.serve(1, async |_| Answer::Ack).await;
    for _ in 0..3 {
        let exchange = "".into();
        let options = BasicPublishOptions::default();
        let queue = rabbit.queue.as_str().into();
        rabbit
            .channel
            .basic_publish(exchange, queue, options, b"x", BasicProperties::default())
            .await
            .unwrap();
    }
    let log = rabbit.recorder.until("three handles", |log| log.ended.len() == 3).await;
    // With room for one, the next is delivered when the one before has been acknowledged.
    for (before, after) in log.ended.iter().zip(&log.ended[1..]) {
        assert!(before.ended_at() <= after.started_at());
    }
}

#[tokio::test]
async fn no_more_are_handled_at_once_than_were_fetched() {
    let rabbit = Rabbit::start().await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let (running, most, gate) = (running.clone(), most.clone(), gate.clone());
        move |_| {
            let (running, most, gate) = (running.clone(), most.clone(), gate.clone());
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::SeqCst);
                Answer::Reply(Vec::new())
            }
        }
    };
    let (_stop, _serving) = rabbit.serve(2, handler).await;
    let client = rabbit.client().await;
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let (client, request) = (client.clone(), rabbit.request("x"));
            tokio::spawn(async move { client.call(request).await })
        })
        .collect();
    let busy = |log: &Log| log.open().iter().filter(|name| name.starts_with("process")).count() == 2;
    rabbit.recorder.until("two handlers", busy).await;
    gate.add_permits(6);
    for call in calls {
        within_deadline("a reply", call).await.unwrap().unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_late_reply_is_dropped() {
    let rabbit = Rabbit::start().await;
    let (go, gone) = oneshot::channel::<()>();
    let gone = std::sync::Mutex::new(Some(gone));
    let handler = move |message: Message| {
        let gone = gone.lock().unwrap().take();
        async move {
            if let Some(gone) = gone {
                gone.await.unwrap();
            }
            Answer::Reply(message.data)
        }
    };
    let (_stop, _serving) = rabbit.serve(1, handler).await;
    let client = rabbit.client().await;
    let soon = rabbit.request("late").timeout(Duration::from_millis(20));
    let late = within_deadline("the timeout", client.call(soon)).await;
    assert!(matches!(late, Err(CallError::Timeout)));
    let log = rabbit.recorder.log();
    assert_eq!(log.outcome(spans_of(&log, SpanKind::Client)[0].name()), "timeout");
    // It may have expired in the queue; if not, it is answered now. Nobody takes it for the answer to the next.
    go.send(()).ok();
    let reply = within_deadline("the next reply", client.call(rabbit.request("next")))
        .await
        .unwrap();
    assert_eq!(reply.data, b"next");
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled() {
    let rabbit = Rabbit::start().await;
    let client = rabbit.client().await;
    let request = rabbit.request("x");
    let asking = tokio::spawn(async move { client.call(request).await });
    rabbit.recorder.until("the call", |log| log.open().len() == 1).await;
    asking.abort();
    let log = rabbit.recorder.until("the end", |log| log.open().is_empty()).await;
    assert_eq!(log.outcome_of(&log.started[0]), "cancelled");
}

#[tokio::test]
async fn a_lost_connection_ends_what_waits() {
    let rabbit = Rabbit::start().await;
    let (_stop, serving) = rabbit.serve(1, async |_| std::future::pending().await).await;
    let client = rabbit.client().await;
    assert!(client.is_connected());
    let (other, request) = (client.clone(), rabbit.request("x"));
    let asking = tokio::spawn(async move { other.call(request).await });
    let handled = |log: &Log| log.open().iter().any(|name| name.starts_with("process"));
    rabbit.recorder.until("the handle", handled).await;

    rabbit.connection.close(200, "test".into()).await.unwrap();
    assert!(within_deadline("the call", asking).await.unwrap().is_err());
    assert!(within_deadline("the consumer", serving).await.unwrap().is_err());
    assert!(!client.is_connected());
    let again = within_deadline("a later call", client.call(rabbit.request("x"))).await;
    assert!(matches!(again, Err(CallError::Disconnected)));
    let log = rabbit.recorder.log();
    // Its member is gone; the handler goes on to its end.
    assert_eq!(log.outcome("member"), "finished");
    assert_eq!(log.open(), [format!("process {}", rabbit.queue)]);
    for call in spans_of(&log, SpanKind::Client) {
        assert_eq!(log.outcome_of(call), "_OTHER");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_ends_what_waits() {
    let (url, proxy) = proxy().await;
    let rabbit = Rabbit::over(connect(&url).await).await;
    let (_stop, serving) = rabbit.serve(2, async |_| std::future::pending().await).await;
    let client = rabbit.client().await;
    let (other, request) = (client.clone(), rabbit.request("x"));
    let asking = tokio::spawn(async move { other.call(request).await });
    let handled = |log: &Log| log.open().iter().any(|name| name.starts_with("process"));
    rabbit.recorder.until("the handle", handled).await;
    proxy.abort();
    assert!(matches!(
        within_deadline("the call", asking).await.unwrap(),
        Err(CallError::Disconnected)
    ));
    assert!(matches!(
        within_deadline("the consumer", serving).await.unwrap(),
        Err(ServeError::Lost(_))
    ));
    assert!(!client.is_connected());
}

#[tokio::test]
async fn a_handler_that_panics_has_its_message_rejected() {
    let rabbit = Rabbit::start().await;
    let handler = async |message: Message| match message.data.as_slice() {
        b"panic" => panic!("on purpose"),
        _ => double(message).await,
    };
    let (stop, serving) = rabbit.serve(1, handler).await;
    let client = rabbit.client().await;
    let soon = rabbit.request("panic").timeout(Duration::from_millis(200));
    assert!(matches!(client.call(soon).await, Err(CallError::Timeout)));
    // It goes on.
    let reply = within_deadline("a reply", client.call(rabbit.request("x")))
        .await
        .unwrap();
    assert_eq!(reply.data, b"xx");
    stop.send(()).unwrap();
    within_deadline("the end", serving).await.unwrap().unwrap();
    let log = rabbit.recorder.log();
    let handles: Vec<_> = spans_of(&log, SpanKind::Consumer)
        .into_iter()
        .map(|it| log.outcome_of(it))
        .collect();
    assert_eq!(handles, ["_OTHER", "finished"]);
    assert_eq!(rabbit.waiting().await, 0, "it is not delivered again");
}

#[tokio::test]
async fn who_is_told_to_stop_finishes_what_it_has_begun() {
    let rabbit = Rabbit::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let gate = gate.clone();
        move |message: Message| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                double(message).await
            }
        }
    };
    let (stop, serving) = rabbit.serve(1, handler).await;
    let client = rabbit.client().await;
    let calls: Vec<_> = ["a", "b"]
        .map(|body| {
            let (client, request) = (client.clone(), rabbit.request(body));
            tokio::spawn(async move { client.call(request).await })
        })
        .into();
    let handled = |log: &Log| log.open().iter().any(|name| name.starts_with("process"));
    rabbit.recorder.until("the handle", handled).await;
    stop.send(()).unwrap();
    gate.add_permits(1);
    within_deadline("the end", serving).await.unwrap().unwrap();
    let log = rabbit.recorder.log();
    assert_eq!(
        (log.outcome("member"), spans_of(&log, SpanKind::Consumer).len()),
        ("finished".into(), 1)
    );

    // The other is for somebody else.
    let (_stop, _serving) = rabbit.serve(1, double).await;
    for call in calls {
        assert_eq!(within_deadline("a reply", call).await.unwrap().unwrap().data.len(), 2);
    }
}

#[tokio::test]
async fn a_consumer_that_is_dropped_gives_its_messages_back() {
    let rabbit = Rabbit::start().await;
    let (_stop, serving) = rabbit.serve(1, async |_| std::future::pending().await).await;
    let client = rabbit.client().await;
    let request = rabbit.request("x");
    let asking = tokio::spawn(async move { client.call(request).await });
    let handled = |log: &Log| log.open().iter().any(|name| name.starts_with("process"));
    rabbit.recorder.until("the handle", handled).await;
    serving.abort();
    let over = |log: &Log| log.open().len() == 1;
    rabbit
        .recorder
        .until("the end of the member and the handle", over)
        .await;
    let (_stop, _serving) = rabbit.serve(1, double).await;
    assert_eq!(within_deadline("the reply", asking).await.unwrap().unwrap().data, b"xx");
}

#[tokio::test]
async fn a_queue_that_is_deleted_ends_its_consumer() {
    let rabbit = Rabbit::start().await;
    let (_stop, serving) = rabbit.serve(1, double).await;
    let queue = rabbit.queue.as_str().into();
    rabbit
        .channel
        .queue_delete(queue, QueueDeleteOptions::default())
        .await
        .unwrap();
    let ended = within_deadline("the end", serving).await.unwrap();
    assert!(matches!(ended, Err(ServeError::Cancelled)), "{ended:?}");
    assert_eq!(rabbit.recorder.open(), Vec::<String>::new());
    assert!(matches!(
        rabbit.consumer().start(&rabbit.connection).await,
        Err(StartError::Amqp(_))
    ));
    assert_eq!(rabbit.recorder.open(), Vec::<String>::new());
}

#[tokio::test]
async fn answers_say_what_becomes_of_a_message() {
    let rabbit = Rabbit::start().await;
    let handler = async |message: Message| match (message.data.as_slice(), message.redelivered) {
        (b"again", false) => Answer::Requeue,
        (b"no", _) => Answer::Reject,
        _ => {
            let properties = BasicProperties::default().with_content_type("text/plain".into());
            Answer::ReplyWith(message.data, Box::new(properties))
        }
    };
    let (stop, serving) = rabbit.serve(1, handler).await;
    let client = rabbit.client().await;
    let reply = within_deadline("the reply", client.call(rabbit.request("again")))
        .await
        .unwrap();
    assert_eq!(
        reply.properties.content_type().as_ref().map(|it| it.as_str()),
        Some("text/plain")
    );
    let soon = rabbit.request("no").timeout(Duration::from_millis(200));
    assert!(matches!(client.call(soon).await, Err(CallError::Timeout)));
    stop.send(()).unwrap();
    within_deadline("the end", serving).await.unwrap().unwrap();
    let log = rabbit.recorder.log();
    assert_eq!(spans_of(&log, SpanKind::Consumer).len(), 3);
    assert_eq!(rabbit.waiting().await, 0);
}

#[tokio::test]
async fn names_of_one_s_own_are_targets_and_resources() {
    let rabbit = Rabbit::start().await;
    let consumer = rabbit
        .consumer()
        .resource("doubler")
        .tag(format!("{}-tag", rabbit.queue));
    let consumer = consumer.start(&rabbit.connection).await.unwrap();
    let serving = tokio::spawn(consumer.serve(double));
    let client = rabbit.client().await;
    let request = rabbit.request("x").exchange("").target("doubler");
    within_deadline("the reply", client.call(request)).await.unwrap();
    serving.abort();
    let log = rabbit.recorder.until("the end", |log| log.open().is_empty()).await;
    assert_eq!(log.with("standoff.target", "doubler").len(), 1);
    assert_eq!(log.with("standoff.resource", "doubler").len(), 2);
}

#[tokio::test]
async fn names_that_are_too_long_are_errors() {
    let rabbit = Rabbit::start().await;
    let name = "x".repeat(256);
    let called = rabbit.client().await.call(Request::to(&name)).await;
    assert!(matches!(called, Err(CallError::Name(too_long)) if too_long == name));
    let started = Consumer::builder(&rabbit.spans, &name).start(&rabbit.connection).await;
    assert!(matches!(started, Err(StartError::Name(too_long)) if too_long == name));
}

#[tokio::test]
async fn a_request_expires_when_its_caller_has_given_up() {
    let rabbit = Rabbit::start().await;
    let client = rabbit.client().await;
    let soon = rabbit.request("x").timeout(Duration::from_millis(20));
    assert!(matches!(client.call(soon).await, Err(CallError::Timeout)));
    // The broker drops it when it comes to the head of its queue, at the latest when somebody looks.
    let got = rabbit
        .channel
        .basic_get(rabbit.queue.as_str().into(), BasicGetOptions::default())
        .await
        .unwrap();
    assert!(got.is_none_or(|message| message.properties.expiration().is_some()));
}

#[tokio::test]
async fn a_sender_of_another_kind_is_understood() {
    let rabbit = Rabbit::start().await;
    let call = rabbit.spans.call(&rabbit.queue).name("by hand").start();
    let properties = inject(call.context(), BasicProperties::default());
    let (exchange, queue) = ("".into(), rabbit.queue.as_str().into());
    rabbit
        .channel
        .basic_publish(exchange, queue, BasicPublishOptions::default(), b"x", properties)
        .await
        .unwrap();
    let (_stop, _serving) = rabbit.serve(1, double).await;
    let handled = |log: &Log| spans_of(log, SpanKind::Consumer).len() == 1;
    let log = rabbit.recorder.until("the handle", handled).await;
    assert_eq!(spans_of(&log, SpanKind::Consumer)[0].parent(), call.span_id());
}
