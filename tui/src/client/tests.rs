//! The client against a real socket, on which a script answers.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use ratatui::backend::TestBackend;
use standoff_protocol::api::{Alert, Resolution, Stats};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::app::App;
use crate::look::Look;
use crate::{event_loop, sample};

/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it takes too long")
}

async fn listener() -> (TcpListener, Api) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = Api::new(&listener.local_addr().unwrap().to_string()).unwrap();
    (listener, api)
}

/// An address that is taken and at which nobody listens yet.
fn nobody() -> (TcpSocket, Api) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let api = Api::new(&socket.local_addr().unwrap().to_string()).unwrap();
    (socket, api)
}

/// Accepts a connection and gives it with the first line of its request.
async fn request(listener: &TcpListener) -> (TcpStream, String) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(socket.read_u8().await.unwrap());
    }
    let line = String::from_utf8(request).unwrap().lines().next().unwrap().to_owned();
    (socket, line)
}

fn event(name: &str, data: &str) -> String {
    format!("id: 1\nevent: {name}\ndata: {data}\n\n")
}

fn snapshot(alerts: Vec<Alert>) -> String {
    event("snapshot", &json::to_string(&sample::snapshot(alerts)).unwrap())
}

fn alert(alert: &Alert) -> String {
    event("alert", &json::to_string(alert).unwrap())
}

fn stats(stats: Stats) -> String {
    event("stats", &json::to_string(&stats).unwrap())
}

/// Answers one request with these bytes and closes.
async fn answer(listener: &TcpListener, bytes: &str) -> String {
    let (mut socket, line) = request(listener).await;
    socket.write_all(bytes.as_bytes()).await.unwrap();
    line
}

fn body(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The next so many updates, while the script runs.
async fn updates<const N: usize>(api: Api, script: impl Future) -> [Update; N] {
    let (feed, updates) = follow(api);
    let updates = updates.take(N).collect::<Vec<_>>();
    let all = async { tokio::join!(updates, script).0 };
    let all = in_time(async {
        tokio::select! {
            () = feed => unreachable!("it must go on for ever"),
            all = all => all,
        }
    });
    all.await.try_into().unwrap()
}

#[tokio::test]
async fn follows_and_connects_again() {
    let (listener, api) = listener().await;
    let script = async {
        let over = sample::resolved(sample::ring(), Resolution::Timeout);
        let first = [
            EVENTS,
            ": a comment keeps the connection alive\n\n",
            &snapshot(vec![]),
            &alert(&sample::ring()),
            &event("graph", "{}"),
            &alert(&over),
            &stats(Stats {
                open_calls: 8,
                ..sample::stats()
            }),
        ];
        assert_eq!(answer(&listener, &first.concat()).await, "GET /api/v1/events HTTP/1.1");
        answer(&listener, &[EVENTS, &snapshot(vec![sample::ring()])].concat()).await;
    };
    let [first, fired, resolved, figures, lost, again] = updates(api, script).await;
    assert!(matches!(first, Update::Snapshot(snapshot) if snapshot == sample::snapshot(vec![])));
    assert!(matches!(fired, Update::Alert(alert) if *alert == sample::ring()));
    assert!(matches!(resolved, Update::Alert(alert) if alert.resolution == Some(Resolution::Timeout)));
    assert!(matches!(figures, Update::Stats(Stats { open_calls: 8, .. })));
    assert!(matches!(lost, Update::Disconnected(reason) if reason == "the collector closed the connection"));
    assert!(matches!(again, Update::Snapshot(snapshot) if snapshot.alerts == [sample::ring()]));
}

#[tokio::test]
async fn keeps_trying_while_nobody_listens() {
    let (socket, api) = nobody();
    let [first, second] = updates(api.clone(), async {}).await;
    for update in [first, second] {
        assert!(matches!(update, Update::Disconnected(reason) if reason == "connection refused"));
    }
    let listener = socket.listen(8).unwrap();
    let (feed, mut updates) = follow(api);
    let script = async {
        let (mut socket, _) = request(&listener).await;
        socket
            .write_all([EVENTS, &snapshot(vec![])].concat().as_bytes())
            .await
            .unwrap();
        while !matches!(updates.next().await, Some(Update::Snapshot(_))) {}
    };
    in_time(async {
        tokio::select! {
            () = feed => unreachable!("it must go on for ever"),
            () = script => {}
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_newer_collector_says_is_counted_not_fatal() {
    let (listener, api) = listener().await;
    let news = [
        EVENTS,
        &snapshot(vec![]),
        &event("alert", r#"{"kind": "livelock"}"#),
        &stats(sample::stats()),
    ]
    .concat();
    let [_, strange, next] = updates(api, answer(&listener, &news)).await;
    assert!(matches!(strange, Update::NotUnderstood(reason) if reason.starts_with("event alert: ")));
    assert!(matches!(next, Update::Stats(_)));
}

#[tokio::test]
async fn says_who_answers_instead_of_a_collector() {
    let check = async |bytes: String, expected: &str| {
        let (listener, api) = listener().await;
        let [update] = updates(api, answer(&listener, &bytes)).await;
        let Update::Disconnected(reason) = update else {
            panic!("{update:?}")
        };
        assert!(reason.contains(expected), "{reason}");
    };
    check(
        body("404 Not Found", "<html>"),
        "it answered 404 Not Found; is that a collector?",
    )
    .await;
    check(
        body("200 OK", "hello"),
        "it does not answer with events; is that a collector?",
    )
    .await;
    check(
        [EVENTS, &event("snapshot", "{}")].concat(),
        "is not what this version understands",
    )
    .await;
    let problem = r#"{"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": "it is starting", "instance": "/"}"#;
    check(
        body("503 Service Unavailable", problem),
        "503 Service Unavailable: it is starting",
    )
    .await;
}

#[tokio::test]
async fn an_event_without_end_is_cut_off() {
    let chunk = "x".repeat(1 << 10);
    let chunks = (0..).map(|_| reqwest::Result::Ok(chunk.clone()));
    let mut events = std::pin::pin!(bounded::events(stream::iter(chunks), 10 << 10));
    let passed = events
        .by_ref()
        .take_while(|chunk| std::future::ready(chunk.is_ok()))
        .count()
        .await;
    assert_eq!(passed, 10);
}

#[tokio::test]
async fn once_gives_text_or_json() {
    let list = AlertList {
        alerts: vec![sample::ring()],
        next_page_token: String::new(),
    };
    let answered = body("200 OK", &json::to_string(&list).unwrap());
    let once = async |as_json| {
        let (listener, api) = listener().await;
        let (once, line) =
            in_time(async { tokio::join!(api.once(as_json, Charset::Unicode), answer(&listener, &answered)) }).await;
        assert_eq!(line, "GET /api/v1/alerts?state=firing HTTP/1.1");
        once.unwrap()
    };
    let text = once(false).await;
    assert!(text.firing);
    assert!(text.output.starts_with("▲ FIRING for "));
    let printed = once(true).await;
    assert!(printed.firing);
    assert_eq!(json::from_str::<AlertList>(&printed.output).unwrap(), list);
    assert_eq!(printed.output.lines().count(), 1);
}

#[tokio::test]
async fn once_reads_all_pages() {
    let (listener, api) = listener().await;
    let page = |id: &str, token: &str| {
        let alerts = vec![Alert {
            id: id.to_owned(),
            ..sample::ring()
        }];
        body(
            "200 OK",
            &json::to_string(&AlertList {
                alerts,
                next_page_token: token.to_owned(),
            })
            .unwrap(),
        )
    };
    let script = async {
        answer(&listener, &page("one", "a/b=")).await;
        answer(&listener, &page("two", "")).await
    };
    let (once, line) = in_time(async { tokio::join!(api.once(true, Charset::Unicode), script) }).await;
    assert_eq!(line, "GET /api/v1/alerts?state=firing&page_token=a%2Fb%3D HTTP/1.1");
    let list: AlertList = json::from_str(&once.unwrap().output).unwrap();
    assert_eq!(
        list.alerts.iter().map(|alert| alert.id.as_str()).collect::<Vec<_>>(),
        ["one", "two"]
    );
}

#[tokio::test]
async fn once_without_alerts_is_calm_and_without_collector_an_error() {
    let (listener, api) = listener().await;
    let none = body("200 OK", r#"{"alerts": [], "next_page_token": ""}"#);
    let (once, _) = in_time(async { tokio::join!(api.once(false, Charset::Unicode), answer(&listener, &none)) }).await;
    let once = once.unwrap();
    assert!(!once.firing);
    assert_eq!(once.output, format!("No deadlock is known to {}.\n", api.address()));

    let (_socket, api) = nobody();
    let error = in_time(api.once(true, Charset::Unicode)).await.unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(
        error.to_string(),
        format!("cannot reach a collector at {}: connection refused", api.address())
    );
    assert!(error.advice().iter().any(|line| line.contains("standoff collector")));
}

#[test]
fn addresses() {
    let check = |url: &str, expected: &str| assert_eq!(Api::new(url).unwrap().address(), expected);
    check("127.0.0.1:4380", "http://127.0.0.1:4380");
    check("http://host/standoff", "http://host/standoff");
    for wrong in [
        "",
        "http://",
        "https://host",
        "ftp://host",
        "host:port",
        "http://\u{1b}]52;c;aGk=\u{7}",
    ] {
        let error = Api::new(wrong).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{wrong}");
        assert!(!error.to_string().contains(char::is_control));
    }
}

#[tokio::test]
async fn what_arrives_is_on_the_screen() {
    let (listener, api) = listener().await;
    let (arrived, wait) = oneshot::channel();
    let mut arrived = Some(arrived);
    let address = api.address();
    let (feed, updates) = follow(api);
    let updates = updates.inspect(|update| {
        if let (Update::Stats(_), Some(arrived)) = (update, arrived.take_if(|_| matches!(update, Update::Stats(_)))) {
            arrived.send(()).unwrap();
        }
    });
    // The user's terminal closes once all has arrived.
    let inputs = Box::pin(stream::once(wait).filter_map(async |_| None));
    let app = App::new(Look::new(false, Charset::Unicode), address, sample::now());
    let run = event_loop::run(TestBackend::new(80, 24), app, inputs, updates, sample::now);
    let script = async {
        answer(&listener, &[EVENTS, &snapshot(vec![])].concat()).await;
        let (mut socket, _) = request(&listener).await;
        let news = [
            EVENTS,
            &snapshot(vec![]),
            &alert(&sample::ring()),
            &stats(Stats {
                instances: 6,
                ..sample::stats()
            }),
        ];
        socket.write_all(news.concat().as_bytes()).await.unwrap();
        socket
    };
    let terminal = in_time(async {
        tokio::select! {
            () = feed => unreachable!("it must go on for ever"),
            (terminal, _socket) = async { tokio::join!(run, script) } => terminal.unwrap(),
        }
    })
    .await;
    let screen = terminal.backend().to_string();
    for expected in [
        "● connected",
        "▲ 1 firing",
        "{:server_a, 42} → service-b",
        "7 open calls · 6 instances",
    ] {
        assert!(screen.contains(expected), "{expected} is missing in\n{screen}");
    }
}
