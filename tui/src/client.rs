//! The collector's HTTP API, as the monitor uses it: one list of alerts, or the stream of events for ever.
//!
//! Owns connecting, and connecting again. Knows nothing of what is shown.

mod bounded;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::Duration;

use eventsource_stream::Eventsource as _;
use futures_util::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use reqwest::{Client, Response, Url, header};
use serde_json as json;
use standoff_protocol::api::{AlertList, Problem, events};
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::error::Error;
use crate::look::Charset;
use crate::update::Update;
use crate::{describe, visible};

/// How long a connection may take to be made: a host that does not answer by then is as good as absent, and the user
/// is told so.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection may be silent. The collector sends its figures once a second, so that after five of them a
/// connection that looks open is dead.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Pages that are read of one list. With the collector's own page size far more alerts than anybody reads.
const PAGES_MAX: usize = 100;

/// The longest answer that is read, in bytes, and the longest event: several hundred alerts with all their victims.
const BYTES_MAX: usize = 16 << 20;

/// News that may wait to be drawn. When they wait, the client stops reading, and the collector sends a snapshot once
/// it is read again; so nothing is lost.
const UPDATES_MAX: usize = 64;

/// The firing alerts, to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// What to print, ended by a line feed.
    pub output: String,
    /// Whether any alert fires. The command's exit code is then 1.
    pub firing: bool,
}

/// A collector that may or may not be there.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client,
    base: Url,
}

impl Api {
    pub(crate) fn new(url: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Address {
            url: visible::text(url, Charset::Unicode),
            reason,
        };
        let full = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let mut base = Url::parse(&full).map_err(|error| wrong(error.to_string()))?;
        if base.scheme() != "http" {
            return Err(wrong(format!(
                "its scheme is {}, and only http is spoken",
                visible::text(base.scheme(), Charset::Unicode)
            )));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        // A proxy cannot reach the loopback address of this machine, where a collector usually is.
        let client = Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_MAX)
            .build()
            .map_err(Error::Client)?;
        Ok(Self { client, base })
    }

    /// For people to read.
    pub(crate) fn address(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    async fn get(&self, path: &str, accept: &'static str) -> Result<Response, String> {
        let url = self.base.join(path).map_err(|error| error.to_string())?;
        let response = self
            .client
            .get(url)
            .header(header::ACCEPT, accept)
            .send()
            .await
            .map_err(|error| reason(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        // A problem says more than a status, but who answers need not be a collector.
        let detail = body(response)
            .await
            .ok()
            .and_then(|body| json::from_slice::<Problem>(&body).ok());
        Err(match detail {
            Some(problem) => format!("it answered {status}: {}", problem.detail),
            None => format!("it answered {status}; is that a collector?"),
        })
    }

    pub(crate) async fn once(&self, as_json: bool, charset: Charset) -> Result<Once, Error> {
        let list = self.firing().await.map_err(|reason| Error::Unreachable {
            address: self.address(),
            reason: visible::text(&reason, charset),
        })?;
        let firing = !list.alerts.is_empty();
        let output = if as_json {
            // Cannot fail: the list has only text keys. An empty line would be noticed.
            visible::json(&json::to_string(&list).unwrap_or_default()) + "\n"
        } else if firing {
            let now = Timestamp::now();
            list.alerts
                .iter()
                .map(|alert| describe::alert(alert, now, charset))
                .collect::<Vec<_>>()
                .join("\n")
        } else {
            format!("No deadlock is known to {}.\n", visible::text(&self.address(), charset))
        };
        Ok(Once { output, firing })
    }

    async fn firing(&self) -> Result<AlertList, String> {
        let mut all = AlertList::default();
        for _ in 0..PAGES_MAX {
            let token = percent_encoded(&all.next_page_token);
            let path = format!("api/v1/alerts?state=firing&page_token={token}");
            let path = if token.is_empty() {
                "api/v1/alerts?state=firing"
            } else {
                &path
            };
            let body = body(self.get(path, "application/json").await?).await?;
            let page: AlertList = json::from_slice(&body).map_err(|error| not_understood(&error))?;
            all.alerts.extend(page.alerts);
            all.next_page_token = page.next_page_token;
            if all.next_page_token.is_empty() {
                break;
            }
        }
        Ok(all)
    }
}

/// Follows the collector's events for ever: the future does the work and must be polled; the stream gives the news.
pub(crate) fn follow(api: Api) -> (impl Future<Output = ()>, impl Stream<Item = Update> + Unpin) {
    let (sender, mut receiver) = mpsc::channel(UPDATES_MAX);
    (
        feed(api, sender),
        stream::poll_fn(move |context| receiver.poll_recv(context)),
    )
}

/// Ends once nobody listens any more.
async fn feed(api: Api, updates: mpsc::Sender<Update>) {
    let mut backoff = Backoff::default();
    loop {
        let reason = match listen(&api, &updates, &mut backoff).await {
            Ok(()) => return,
            Err(reason) => reason,
        };
        if updates.send(Update::Disconnected(reason)).await.is_err() {
            return;
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// One connection, from the request to its loss, whose reason is the error. `Ok` if nobody listens any more.
async fn listen(api: &Api, updates: &mpsc::Sender<Update>, backoff: &mut Backoff) -> Result<(), String> {
    let response = api.get("api/v1/events", "text/event-stream").await?;
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return Err("it does not answer with events; is that a collector?".to_owned());
    }
    let mut events = Box::pin(bounded::events(response.bytes_stream(), BYTES_MAX).eventsource());
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| match error {
            eventsource_stream::EventStreamError::Transport(error) => error.to_string(),
            other @ (eventsource_stream::EventStreamError::Utf8(_)
            | eventsource_stream::EventStreamError::Parser(_)) => other.to_string(),
        })?;
        let Some(update) = understood(&event.event, &event.data)? else {
            continue;
        };
        if matches!(update, Update::Snapshot(_)) {
            *backoff = Backoff::default();
        }
        if updates.send(update).await.is_err() {
            return Ok(());
        }
    }
    Err("the collector closed the connection".to_owned())
}

/// `None` for events that later versions may add. An error for a snapshot that cannot be read: nothing could be built
/// on it.
fn understood(name: &str, data: &str) -> Result<Option<Update>, String> {
    let update = match name {
        events::SNAPSHOT => {
            return json::from_str(data)
                .map(Update::Snapshot)
                .map(Some)
                .map_err(|e| not_understood(&e));
        }
        events::ALERT => json::from_str(data).map(Update::Alert),
        events::STATS => json::from_str(data).map(Update::Stats),
        _ => return Ok(None),
    };
    Ok(Some(update.unwrap_or_else(|error| {
        Update::NotUnderstood(format!("event {name}: {error}"))
    })))
}

async fn body(response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| reason(&error))?;
        if body.len() + chunk.len() > BYTES_MAX {
            return Err(format!("its answer is longer than {BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn not_understood(error: &json::Error) -> String {
    format!("its answer is not what this version understands: {error}")
}

/// What lies at the bottom of an error of the HTTP client, whose upper layers only repeat the address.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        without_number(&cause.to_string())
    }
}

/// `Connection refused (os error 111)` without what only the machine knows it by.
fn without_number(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or(text);
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

/// A page token is opaque, so it may hold anything.
fn percent_encoded(token: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    token
        .bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
