//! A reader of the collector's events, for the commands that wait for an alert.

use std::pin::Pin;

use anyhow::{Context, bail};
use eventsource_stream::Eventsource;
use futures_util::{Stream, StreamExt};
use standoff_protocol::api::{Alert, AlertState, Snapshot, events};

/// Alerts as they come, in the order in which the collector told them.
pub(crate) struct Watch {
    events: Pin<Box<dyn Stream<Item = anyhow::Result<Vec<Alert>>> + Send>>,
    pending: Vec<Alert>,
}

impl Watch {
    /// Begins to read the events of the collector at `url`.
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let answer = reqwest::get(format!("{url}/api/v1/events")).await?.error_for_status()?;
        let events = answer.bytes_stream().eventsource().map(|event| {
            let event = event.context("the collector's events broke off")?;
            Ok(match event.event.as_str() {
                events::SNAPSHOT => serde_json::from_str::<Snapshot>(&event.data)?.alerts,
                events::ALERT => vec![serde_json::from_str(&event.data)?],
                _ => Vec::new(),
            })
        });
        Ok(Self {
            events: Box::pin(events),
            pending: Vec::new(),
        })
    }

    /// The next alert in this state.
    pub(crate) async fn next(&mut self, state: AlertState) -> anyhow::Result<Alert> {
        loop {
            let alert = self.next_of_any_state().await?;
            if alert.state == state {
                return Ok(alert);
            }
        }
    }

    /// The next alert: one that fires now, has changed, or is over.
    pub(crate) async fn next_of_any_state(&mut self) -> anyhow::Result<Alert> {
        loop {
            if let Some(alert) = self.pending.pop() {
                return Ok(alert);
            }
            match self.events.next().await {
                Some(alerts) => self.pending = alerts?,
                None => bail!("the collector has ended its events"),
            }
        }
    }
}
