//! Wait groups, branches and time limits.

use std::collections::HashMap;
use std::future::pending;
use std::time::Duration;

use futures_util::FutureExt as _;
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt, SpanKind, TraceContextExt};
use standoff_agent::{OpenSpan, Spans, groups, propagation};
use tokio::sync::oneshot;

use crate::recorder::{Log, recorded, within_deadline};

/// A call that nobody answers.
async fn ask_in_vain(spans: &Spans, target: &str) {
    let _call = spans.call(target.to_owned()).name(target.to_owned()).start();
    pending().await
}

fn turn(spans: &Spans) -> OpenSpan {
    spans.handle("turn").resource("A").start()
}

fn group_of(log: &Log, call: &str) -> (String, Option<i64>, Option<i64>) {
    let call = log
        .with("standoff.role", "call")
        .into_iter()
        .find(|it| it.name() == call);
    let call = call.unwrap();
    (
        call.text("standoff.wait.group").unwrap(),
        call.number("standoff.wait.needed"),
        call.number("standoff.wait.size"),
    )
}

/// The call and the handle of a branch.
fn branch<'a>(log: &'a Log, name: &str) -> (&'a crate::recorder::Recorded, &'a crate::recorder::Recorded) {
    let of = |role: &str| {
        let spans = log.with("standoff.role", role);
        spans.into_iter().find(|span| span.name() == name).unwrap()
    };
    (of("call"), of("handle"))
}

#[tokio::test]
async fn a_branch_is_a_call_of_its_task_and_a_task_of_its_own() {
    let (spans, recorder) = recorded();
    let turn = turn(&spans);
    let waiting = turn.run(groups::all(
        &spans,
        "both",
        ["B", "C"].map(|target| ask_in_vain(&spans, target)),
    ));
    let mut waiting = Box::pin(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());

    let log = recorder.log();
    for (name, target) in [("both 0", "B"), ("both 1", "C")] {
        let (call, handle) = branch(&log, name);
        assert_eq!((call.parent(), call.kind()), (turn.span_id(), SpanKind::Internal));
        assert_eq!(call.text("standoff.target"), None);
        assert_eq!((handle.parent(), handle.kind()), (call.id(), SpanKind::Internal));
        assert_eq!(handle.text("standoff.resource"), None);
        assert_eq!(log.span(target).parent(), handle.id(), "each call is its branch's");
    }
    let (name, needed, size) = group_of(&log, "both 0");
    assert_eq!((needed, size), (Some(2), Some(2)));
    assert_eq!(group_of(&log, "both 1"), (name, needed, size));

    drop(waiting);
    assert_eq!(recorder.open(), ["turn"]);
    let log = recorder.log();
    let (call, handle) = branch(&log, "both 0");
    assert_eq!(
        (log.outcome_of(call).as_str(), log.outcome_of(handle).as_str()),
        ("cancelled", "finished")
    );
}

#[tokio::test]
async fn what_all_branches_came_to_is_in_their_order() {
    let (spans, recorder) = recorded();
    let (send, receive) = oneshot::channel::<u32>();
    let mut send = Some(send);
    let mut receive = Some(receive);
    // The first ends last.
    let futures = (0..2).map(|nth| {
        let (send, receive) = match nth {
            0 => (None, receive.take()),
            _ => (send.take(), None),
        };
        async move {
            if let Some(send) = send {
                send.send(7).unwrap();
            }
            match receive {
                Some(receive) => receive.await.unwrap(),
                None => nth,
            }
        }
    });
    let outputs = within_deadline("both", groups::all(&spans, "both", futures)).await;
    assert_eq!(outputs, [7, 1]);
    assert_eq!(recorder.open(), Vec::<String>::new());
    let log = recorder.log();
    assert_eq!(log.outcome_of(branch(&log, "both 0").0), "finished");
}

#[tokio::test]
async fn losers_end_as_cancelled() {
    let (spans, recorder) = recorded();
    let futures = (0..3).map(|nth| {
        let spans = spans.clone();
        async move {
            if nth != 2 {
                ask_in_vain(&spans, &format!("replica {nth}")).await;
            }
            nth
        }
    });
    assert_eq!(groups::any(&spans, "read", futures).await, Some((2, 2)));
    assert_eq!(recorder.open(), Vec::<String>::new());
    let log = recorder.log();
    let outcomes = ["read 0", "read 1", "read 2"].map(|name| log.outcome_of(branch(&log, name).0));
    assert_eq!(outcomes, ["cancelled", "cancelled", "finished"]);
    assert_eq!(log.outcome("replica 0"), "cancelled");
    let (_, needed, size) = group_of(&log, "read 0");
    assert_eq!((needed, size), (Some(1), Some(3)));
}

#[tokio::test]
async fn a_quorum_is_reached_by_k_of_n() {
    let (spans, recorder) = recorded();
    let futures = (0..5).map(|nth| async move {
        if nth < 2 {
            pending::<()>().await;
        }
    });
    let done = groups::quorum(&spans, "write", 3, futures).await;
    assert_eq!(done.iter().map(|(nth, ())| *nth).collect::<Vec<_>>(), [2, 3, 4]);
    let log = recorder.log();
    let (_, needed, size) = group_of(&log, "write 0");
    assert_eq!((needed, size), (Some(3), Some(5)));
    assert_eq!(recorder.open(), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_and_too_few_are_no_reason_to_hang() {
    let (spans, recorder) = recorded();
    let none: [std::future::Ready<()>; 0] = [];
    assert_eq!(groups::any(&spans, "none", none).await, None);
    assert_eq!(recorder.log().started.len(), 0);
    let done = groups::quorum(&spans, "few", 3, [std::future::ready(7)]).await;
    assert_eq!(done, [(0, 7)]);
    assert_eq!(group_of(&recorder.log(), "few 0").1, Some(1));
}

#[tokio::test]
async fn groups_of_one_name_are_not_mixed_up() {
    let (spans, recorder) = recorded();
    let first = spans.any("read", 2).call("B").start();
    let second = spans.any("read", 2).call("B").start();
    let log = recorder.log();
    let groups: Vec<_> = log.with("standoff.target", "B");
    assert_ne!(
        groups[0].text("standoff.wait.group"),
        groups[1].text("standoff.wait.group")
    );
    drop((first, second));
}

#[tokio::test]
async fn a_group_without_a_task_is_one() {
    let (spans, recorder) = recorded();
    let mut headers = HashMap::new();
    propagation::inject(spans.call("us").start().context(), &mut headers);
    let remote = propagation::extract(&headers);
    for parent in [Context::new(), remote] {
        let ran = async {
            let group = spans.all("both", 2);
            let calls = [group.call("B").name("B").start(), group.call("C").name("C").start()];
            let log = recorder.log();
            let task = log.with("standoff.role", "handle").pop().unwrap();
            assert_eq!(task.name(), "both");
            let parents: Vec<_> = log.started.iter().rev().take(2).map(|call| call.parent()).collect();
            assert_eq!(parents, [task.id(), task.id()]);
            drop(group);
            drop(calls);
        };
        ran.with_context(parent).await;
    }
    assert_eq!(recorder.open(), Vec::<String>::new());
}

#[tokio::test]
async fn a_branch_that_is_spawned_keeps_the_task_of_its_group() {
    let (spans, recorder) = recorded();
    let turn = turn(&spans);
    let branches = turn.in_scope(|| {
        let group = spans.all("both", 2);
        ["one", "two"]
            .map(|name| tokio::spawn(group.branch(name, async { Context::current().span().span_context().span_id() })))
    });
    for (name, spawned) in ["one", "two"].into_iter().zip(branches) {
        let current = within_deadline("a branch", spawned).await.unwrap();
        let log = recorder.log();
        let (call, handle) = branch(&log, name);
        assert_eq!((call.parent(), handle.id()), (turn.span_id(), current));
    }
}

#[tokio::test]
async fn a_panic_in_a_branch_leaves_nothing_open() {
    let (spans, recorder) = recorded();
    let failing = tokio::spawn(spans.branch("fails", async { panic!("on purpose") }));
    assert!(within_deadline("the panic", failing).await.is_err());
    assert_eq!(recorder.open(), Vec::<String>::new());
    let log = recorder.log();
    assert_eq!(log.outcome_of(branch(&log, "fails").0), "_OTHER");
}

#[tokio::test]
async fn a_call_that_takes_too_long_ends_as_timeout() {
    let (spans, recorder) = recorded();
    let turn = turn(&spans);
    let call = spans.call("B").name("ask").run(ask_in_vain(&spans, "inner"));
    let limited = turn.run(groups::timeout(Duration::from_millis(5), call));
    assert_eq!(within_deadline("the timeout", limited).await, Err(groups::Elapsed));
    let log = recorder.log();
    assert_eq!(log.span("ask").parent(), turn.span_id());
    assert_eq!(log.span("ask").number("standoff.timeout_ms"), Some(5));
    assert_eq!(log.span("inner").parent(), log.span("ask").id());
    assert_eq!(log.outcome("ask"), "timeout");
    assert_eq!(recorder.open(), ["turn"]);
}

#[tokio::test]
async fn a_call_in_time_ends_as_its_future_says() {
    let (spans, recorder) = recorded();
    let long = Duration::from_secs(600);
    let ask = |name: &str, reply: Result<u32, ()>| {
        let call = spans.call("B").name(name.to_owned()).run(async move { reply });
        groups::timeout(long, call.fallible())
    };
    assert_eq!(ask("well", Ok(7)).await, Ok(Ok(7)));
    assert_eq!(ask("badly", Err(())).await, Ok(Err(())));
    let log = recorder.log();
    assert_eq!(
        (log.outcome("well"), log.outcome("badly")),
        ("finished".into(), "_OTHER".into())
    );
}

#[tokio::test]
async fn a_call_that_is_never_polled_never_starts() {
    let (spans, recorder) = recorded();
    drop(spans.call("B").run(pending::<()>()));
    drop(spans.all("both", 2).branch("one", pending::<()>()));
    let log = recorder.log();
    let calls = log.with("standoff.role", "call");
    assert_eq!(calls.len(), 0);
    assert_eq!(recorder.open(), Vec::<String>::new());
}
