//! A collector that is none: it serves a deadlock to look at, again and again, so that one can work on the monitor.
//!
//! ```sh
//! cargo run -p standoff-tui --example sample             # serves, and opens the monitor
//! cargo run -p standoff-tui --example sample -- --ascii  # the same in ASCII
//! cargo run -p standoff-tui --example sample -- --once   # prints what fires
//! ```

#[path = "../src/sample.rs"]
mod sample;

use std::io::Write as _;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use standoff_protocol::api::{Alert, Resolution, Task, events};
use standoff_tui::{Color, Options};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How long the sample's deadlock stands until its first timeout.
const STANDS: Duration = Duration::from_millis(3_800);

/// The sample as if it had happened just now.
fn moved(mut alert: Alert, by: SignedDuration) -> Alert {
    let shift = |at: &mut Timestamp| *at += by;
    shift(&mut alert.detected_at);
    for at in [&mut alert.fired_at, &mut alert.resolved_at, &mut alert.first_timeout_at] {
        at.as_mut().map(shift);
    }
    for Task { waits, .. } in alert.core.iter_mut().chain(&mut alert.victims) {
        for wait in waits {
            shift(&mut wait.started_at);
            wait.timeout_at.as_mut().map(shift);
        }
    }
    alert
}

async fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut socket).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}

    let by = Timestamp::now().duration_since(sample::now());
    let (ring, knot) = (moved(sample::ring(), by), moved(sample::knot(), by));
    if !first.contains("/api/v1/events") {
        let list = serde_json::json!({ "alerts": [ring, knot], "next_page_token": "" }).to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", list.len());
        return socket.write_all((head + &list).as_bytes()).await;
    }
    socket
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        .await?;
    let snapshot = serde_json::json!(sample::snapshot(vec![ring.clone(), knot]));
    socket
        .write_all(format!("event: {}\ndata: {snapshot}\n\n", events::SNAPSHOT).as_bytes())
        .await?;
    tokio::time::sleep(STANDS).await;
    let over = serde_json::json!(sample::resolved(ring, Resolution::Timeout));
    socket
        .write_all(format!("event: {}\ndata: {over}\n\n", events::ALERT).as_bytes())
        .await?;
    loop {
        let stats = serde_json::json!(sample::stats());
        socket
            .write_all(format!("event: {}\ndata: {stats}\n\n", events::STATS).as_bytes())
            .await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            // The monitor has gone, or will say what went wrong.
            tokio::spawn(async move { serve(socket).await.ok() });
        }
    });
    let options = Options {
        url,
        color: Color::Auto,
        ascii_only: given("--ascii"),
    };
    if given("--once") {
        let once = standoff_tui::once(&options, false).await?;
        std::io::stdout().write_all(once.output.as_bytes())?;
        return Ok(());
    }
    standoff_tui::run(options, std::future::pending()).await?;
    Ok(())
}
