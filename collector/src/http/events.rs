//! `GET /api/v1/events`: server-sent events. A reader that cannot keep up begins again with a snapshot, and never slows
//! anyone down.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use standoff_protocol::api::{Snapshot, events};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::detector::Published;
use crate::http::Api;
use crate::http::problem::{Asked, ProblemAnswer};
use crate::owner::{Message, Owner};

/// Proxies close connections on which nothing moves, often after a minute.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

pub(crate) async fn events(
    State(api): State<Api>,
    asked: Asked,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ProblemAnswer> {
    let reader = Reader::new(api.owner)
        .await
        .ok_or_else(|| asked.unavailable("the collector is shutting down".into()))?;
    let events = stream::unfold(reader, |mut reader| async move {
        reader.next().await.map(|event| (Ok(event), reader))
    });
    let events = events.take_until(api.shutdown.cancelled_owned());
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_EVERY)))
}

/// One reader, and where it stands.
struct Reader {
    owner: Owner,
    published: Receiver<Published>,
    pending: VecDeque<(&'static str, String)>,
    last_id: u64,
}

impl Reader {
    async fn new(owner: Owner) -> Option<Self> {
        let (snapshot, published) = listen(&owner).await?;
        let pending = [(events::SNAPSHOT, json(&snapshot))].into();
        Some(Self {
            owner,
            published,
            pending,
            last_id: 0,
        })
    }

    /// The next event; `None` when the collector shuts down.
    async fn next(&mut self) -> Option<Event> {
        if self.pending.is_empty() {
            let event = match self.published.recv().await {
                Ok(Published::Alert(alert)) => (events::ALERT, json(&alert)),
                Ok(Published::Stats(stats)) => (events::STATS, json(&stats)),
                Err(RecvError::Lagged(missed)) => {
                    tracing::debug!(missed, "a reader of events is too slow; it begins again");
                    let (snapshot, published) = listen(&self.owner).await?;
                    self.published = published;
                    (events::SNAPSHOT, json(&snapshot))
                }
                Err(RecvError::Closed) => return None,
            };
            self.pending.push_back(event);
        }
        let (name, data) = self.pending.pop_front()?;
        self.last_id += 1;
        Some(Event::default().event(name).id(self.last_id.to_string()).data(data))
    }
}

async fn listen(owner: &Owner) -> Option<(Snapshot, Receiver<Published>)> {
    owner.ask(|reply| Message::Listen { reply }).await.ok()
}

/// The API's types always serialise; if one did not, the reader would see an empty event rather than none.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
