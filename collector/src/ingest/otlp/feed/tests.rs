use standoff_otlp::Format;

use super::*;

const NOW: Duration = Duration::from_secs(1_000_000);

fn feed() -> Feed {
    Feed::new(Connections::default(), &Times::default(), 1)
}

/// A request of one service with these spans: their ids, and whether they have ended.
fn request(service: &str, spans: &[(u64, bool)]) -> Batch {
    let span = |(id, has_ended): &(u64, bool)| {
        let end = if *has_ended {
            r#","endTimeUnixNano":"2000000000000""#
        } else {
            ""
        };
        format!(
            r#"{{"traceId":"000102030405060708090a0b0c0d0e0f","spanId":"{id:016x}","kind":2,"startTimeUnixNano":"1000000000000"{end}}}"#
        )
    };
    let spans: Vec<String> = spans.iter().map(span).collect();
    let json = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[
            {{"key":"service.name","value":{{"stringValue":"{service}"}}}}]}},
            "scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
        spans.join(",")
    );
    standoff_otlp::traces(json.as_bytes(), Format::Json).unwrap().batch
}

fn take(feed: &mut Feed, requests: Vec<Batch>) -> Vec<Message> {
    feed.take(NOW, NOW, requests.into_iter())
}

/// What the owner is told, a few words for each message.
fn told(messages: &[Message]) -> Vec<String> {
    let words = |message: &Message| {
        if let Message::Connected {
            connection, identity, ..
        } = message
        {
            return format!("{}: {} comes", connection.0, identity.service);
        }
        let Message::Input(input) = message else {
            panic!("{message:?}")
        };
        input_in_words(input)
    };
    messages.iter().map(words).collect()
}

fn input_in_words(input: &Input) -> String {
    if let Input::OpenSet {
        connection,
        spans,
        complete: true,
    } = input
    {
        format!("{}: {} open", connection.0, spans.len())
    } else if let Input::Batch { connection, batch } = input {
        let (started, ended) = (batch.started.len(), batch.finished.len() + batch.ended.len());
        format!("{}: #{} -{ended} +{started}", connection.0, batch.sequence)
    } else if let Input::Heartbeats { connections } = input {
        let connections: Vec<String> = connections.iter().map(|it| it.0.to_string()).collect();
        format!("{}: live", connections.join(","))
    } else if let Input::Goodbye { connection } = input {
        format!("{}: goodbye", connection.0)
    } else if let Input::Disconnected { connection } = input {
        format!("{}: ends", connection.0)
    } else if let Input::Lost { cause, count } = input {
        format!("{count} {cause}")
    } else {
        panic!("{input:?}")
    }
}

#[test]
fn a_source_comes_with_nothing_open_and_its_batches_are_numbered() {
    let mut feed = feed();
    let first = take(&mut feed, vec![request("a", &[(1, false)])]);
    assert_eq!(told(&first), ["1: a comes", "1: 0 open", "1: #1 -0 +1"]);
    let second = take(&mut feed, vec![request("a", &[(1, true), (2, false)])]);
    assert_eq!(told(&second), ["1: #2 -1 +1"]);
    let other = take(&mut feed, vec![request("b", &[(3, false)])]);
    assert_eq!(told(&other), ["2: b comes", "2: 0 open", "2: #1 -0 +1"]);
}

#[test]
fn what_has_ended_is_put_together_and_never_overtakes_a_start() {
    let mut feed = feed();
    let ended = |ids: [u64; 2]| request("a", &ids.map(|id| (id, true)));
    let requests = vec![
        ended([1, 2]),
        ended([3, 4]),
        request("b", &[(9, true)]),
        ended([5, 6]),
        request("a", &[(7, false)]),
        ended([7, 8]),
        ended([10, 11]),
    ];
    assert_eq!(
        told(&take(&mut feed, requests)),
        [
            "1: a comes",
            "1: 0 open",
            "1: #1 -6 +0",
            "2: b comes",
            "2: 0 open",
            "2: #1 -1 +0",
            "1: #2 -0 +1",
            "1: #3 -4 +0",
        ]
    );
}

#[test]
fn messages_stay_within_the_limits_of_the_stream() {
    let mut feed = feed();
    let half = ENDED_PER_MESSAGE_MAX as u64 / 2 + 1;
    let ended = |from: u64| {
        let spans: Vec<(u64, bool)> = (from..from + half).map(|id| (id, true)).collect();
        request("a", &spans)
    };
    let messages = take(&mut feed, vec![ended(1), ended(100_000)]);
    assert_eq!(
        told(&messages).split_off(2),
        [format!("1: #1 -{half} +0"), format!("1: #2 -{half} +0")]
    );
}

#[test]
fn a_source_that_the_owner_does_not_want_may_try_again_and_what_it_says_meanwhile_is_lost() {
    let mut feed = feed();
    let mut messages = take(&mut feed, vec![request("a", &[(1, false)])]);
    let counts = Counts::default();
    assert_eq!(told(&feed.beat(&counts)), ["1: live"]);
    let Message::Connected { outbox, .. } = messages.remove(0) else {
        panic!("it has not come")
    };
    drop(outbox);
    assert_eq!(
        told(&take(&mut feed, vec![request("a", &[(2, false), (3, true)])])),
        [""; 0]
    );
    assert_eq!(told(&feed.beat(&counts)), ["2 otlp_spans"]);
    let again = take(&mut feed, vec![request("a", &[(4, false)])]);
    assert_eq!(told(&again), ["2: a comes", "2: 0 open", "2: #1 -0 +1"]);
    assert_eq!(told(&feed.beat(&counts)), ["2: live"]);
}

#[test]
fn a_source_that_says_nothing_more_leaves() {
    let mut feed = feed();
    let mut messages = take(&mut feed, vec![request("a", &[(1, true)])]);
    let times = Times::default();
    assert_eq!(told(&feed.expire(NOW + times.forget_after / 2)), [""; 0]);
    messages.extend(feed.expire(NOW + times.forget_after));
    assert_eq!(told(&messages).split_off(3), ["1: goodbye", "1: ends"]);
    assert_eq!(told(&feed.beat(&Counts::default())), [""; 0]);
}

#[test]
fn a_span_that_is_open_for_too_long_ends_and_that_is_told() {
    let times = Times {
        max_open: Times::default().forget_after / 2,
        ..Times::default()
    };
    let mut feed = Feed::new(Connections::default(), &times, 1);
    let mut messages = take(&mut feed, vec![request("a", &[(1, false)])]);
    messages.extend(feed.expire(NOW + times.max_open));
    assert_eq!(told(&messages).split_off(2), ["1: #1 -0 +1", "1: #2 -1 +0"]);
    assert_eq!(told(&feed.beat(&Counts::default())), ["1 otlp_expired", "1: live"]);
}

#[test]
fn losses_are_told_once() {
    let mut feed = feed();
    let mut counts = Counts {
        spans_rejected: 3,
        invalid: 1,
        refused: 2,
        ..Counts::default()
    };
    assert_eq!(told(&feed.beat(&counts)), ["4 otlp_rejected", "2 otlp_requests"]);
    assert_eq!(told(&feed.beat(&counts)), [""; 0]);
    counts.spans_rejected += 1;
    assert_eq!(told(&feed.beat(&counts)), ["1 otlp_rejected"]);
}
