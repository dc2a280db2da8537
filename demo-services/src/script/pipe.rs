//! Servers in processes of their own: their ends of the pipes, and ours.
//!
//! A server's process hears the exchange on its standard input and speaks to it on its standard output. When its input
//! ends it ends in good order; when its output ends it is lost.

use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::codec::{FramedRead, FramedWrite, LinesCodec};

use super::exchange::ParticipantIndex;
use super::message::{Heard, LINE_BYTES_MAX, Said};
use super::participant::{Event, OUTBOX_MAX};

/// How long a server's process may take to end in good order: its agent may take two seconds to say goodbye.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A server's process, from without.
#[derive(Debug)]
pub(super) struct Process {
    /// Ends with the process.
    watched: JoinHandle<()>,
}

impl Process {
    /// Starts it, and connects it with the exchange.
    pub(super) fn start(
        command: std::process::Command,
        participant: ParticipantIndex,
        exchange: mpsc::Sender<Event>,
        mut inbox: mpsc::Receiver<Heard>,
    ) -> std::io::Result<Self> {
        let mut command = Command::from(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("it has no pipes"));
        };
        tokio::spawn(async move {
            let mut lines = FramedWrite::new(stdin, codec());
            while let Some(heard) = inbox.recv().await {
                // Nobody hears it any more; that it is lost is seen at its output.
                if lines.send(heard.to_string()).await.is_err() {
                    return;
                }
            }
        });
        let watched = tokio::spawn(async move {
            let mut lines = FramedRead::new(stdout, codec());
            while let Some(Ok(line)) = lines.next().await {
                match line.parse() {
                    Ok(said) => _ = exchange.send(Event::Said(participant, said)).await,
                    Err(error) => tracing::warn!(%error, "a server says what nobody understands"),
                }
            }
            end(&mut child).await;
            exchange.send(Event::Lost(participant)).await.ok();
        });
        Ok(Self { watched })
    }

    /// Until the process has ended.
    pub(super) async fn ended(self) {
        self.watched.await.ok();
    }
}

async fn end(child: &mut Child) {
    if tokio::time::timeout(END_WITHIN, child.wait()).await.is_err() {
        child.kill().await.ok();
    }
}

/// The pipes of this process, which is a server's.
pub(super) fn own() -> (mpsc::Sender<Said>, mpsc::Receiver<Heard>) {
    let (outbox, mut said) = mpsc::channel::<Said>(OUTBOX_MAX);
    tokio::spawn(async move {
        let mut lines = FramedWrite::new(tokio::io::stdout(), codec());
        while let Some(said) = said.recv().await {
            if lines.send(said.to_string()).await.is_err() {
                return;
            }
        }
    });
    let (sender, inbox) = mpsc::channel(OUTBOX_MAX);
    tokio::spawn(async move {
        let mut lines = FramedRead::new(tokio::io::stdin(), codec());
        while let Some(Ok(line)) = lines.next().await {
            match line.parse() {
                Ok(heard) => {
                    if sender.send(heard).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, "the exchange says what nobody understands"),
            }
        }
    });
    (outbox, inbox)
}

fn codec() -> LinesCodec {
    LinesCodec::new_with_max_length(LINE_BYTES_MAX)
}
