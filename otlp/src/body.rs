//! The body of a request as it arrives: limited, paid for, and not waited for without end.

use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use crate::budget::Held;
use crate::failure::Failure;
use crate::limits::PASSING_BYTES_MAX;
use crate::receiver::Settings;

/// A body of which something may have arrived.
pub(crate) struct Incoming<'s> {
    body: Body,
    settings: &'s Settings,
    deadline: Instant,
}

impl<'s> Incoming<'s> {
    pub(crate) fn new(body: Body, settings: &'s Settings) -> Self {
        Incoming {
            body,
            settings,
            deadline: Instant::now() + settings.read_within,
        }
    }

    /// What has arrived next; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = tokio::time::timeout_at(self.deadline, self.body.frame()).await;
            match frame.map_err(|_| Failure::Slow(self.settings.read_within))? {
                None => return Ok(None),
                Some(Err(_)) => return Err(Failure::Broken),
                Some(Ok(frame)) => {
                    // Trailers say nothing.
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// All of it, which the sender may have announced to be so long.
    pub(crate) async fn all(&mut self, announced: Option<usize>, held: &mut Held) -> Result<Bytes, Failure> {
        self.rest(Bytes::new(), announced, held).await
    }

    /// All of it, of which the beginning has already been read.
    async fn rest(&mut self, begun: Bytes, announced: Option<usize>, held: &mut Held) -> Result<Bytes, Failure> {
        let bytes_max = self.settings.request_bytes_max;
        let announced = announced.unwrap_or(0);
        self.check(announced)?;
        held.grow(announced.max(begun.len()))
            .map_err(|_| self.settings.no_room())?;
        let mut paid = announced.max(begun.len());
        let mut all = Vec::new();
        let mut only = begun;
        while let Some(next) = self.next().await? {
            if only.is_empty() && all.is_empty() {
                only = next;
            } else {
                if all.is_empty() {
                    all.reserve_exact(announced.min(bytes_max).max(only.len() + next.len()));
                    all.extend_from_slice(&std::mem::take(&mut only));
                }
                all.extend_from_slice(&next);
            }
            let len = only.len() + all.len();
            self.check(len)?;
            if let Some(more) = len.checked_sub(paid) {
                held.grow(more).map_err(|_| self.settings.no_room())?;
                paid = len;
            }
        }
        Ok(if all.is_empty() { only } else { all.into() })
    }

    fn check(&self, len: usize) -> Result<(), Failure> {
        if len > self.settings.request_bytes_max {
            return Err(Failure::TooLarge {
                bytes_max: self.settings.request_bytes_max,
                decompressed: false,
            });
        }
        Ok(())
    }

    /// Lets all of it pass by.
    pub(crate) async fn discard(&mut self) -> Result<(), Failure> {
        let mut len = 0;
        while let Some(next) = self.next().await? {
            len += next.len();
            self.check(len)?;
        }
        Ok(())
    }

    /// Lets pass what still comes of a request that is refused, unless it is far too much.
    pub(crate) async fn let_pass(&mut self) {
        let mut len = 0;
        while len <= PASSING_BYTES_MAX {
            match self.next().await {
                Ok(Some(next)) => len += next.len(),
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// The one message of a gRPC request, and whether it is compressed.
    pub(crate) async fn message(&mut self, held: &mut Held) -> Result<(bool, Bytes), Failure> {
        const PREFIX: usize = 5;
        let mut begun = Bytes::new();
        while begun.len() < PREFIX {
            let Some(next) = self.next().await? else {
                return Err(Failure::Framing("a unary call needs one message"));
            };
            begun = if begun.is_empty() {
                next
            } else {
                [begun, next].concat().into()
            };
        }
        let prefix = begun.split_to(PREFIX);
        let [flag, len @ ..] = prefix.as_ref() else {
            return Err(Failure::Framing("a unary call needs one message"));
        };
        let is_compressed = match flag {
            0 => false,
            1 => true,
            _ => return Err(Failure::Framing("the message's compressed flag is neither 0 nor 1")),
        };
        let len = len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        let bytes = self.rest(begun, Some(len), held).await?;
        if bytes.len() == len {
            Ok((is_compressed, bytes))
        } else {
            Err(Failure::Framing("a unary call needs one message, as long as it says"))
        }
    }
}
