//! Puts messages together, none larger than the stream allows.

use prost::Message as _;
use standoff_protocol::stream::{
    Batch, ENDED_PER_MESSAGE_MAX, Ended, Finished, MESSAGE_BYTES_MAX, SPANS_PER_MESSAGE_MAX, Started,
};

use super::{Said, SourceNo};

/// A message that would have more bytes is closed, and another one begun. Half of what is accepted leaves room for what is
/// added on the way, and for the longest span.
pub(super) const BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;

/// What an [`Ended`] takes encoded beside its conversation: two ids of nine bytes, four bytes for the flag and the role,
/// and the lengths.
const ENDED_BYTES: usize = 32;

/// The same for a [`Finished`].
const FINISHED_BYTES: usize = 16;

/// What begins a span in a message: its number and length.
const LENGTH_BYTES: usize = 6;

/// Messages that are being put together, one for each source.
///
/// What ends must be added before what starts, so that a wait that ends and the next one of the same task are not seen
/// together when they come in two messages.
pub(super) struct Messages<'s> {
    said: &'s mut Vec<Said>,
    messages: Vec<Message>,
    ended: usize,
}

struct Message {
    source: SourceNo,
    batch: Batch,
    bytes: usize,
}

impl<'s> Messages<'s> {
    pub(super) fn new(said: &'s mut Vec<Said>) -> Self {
        Messages {
            said,
            messages: Vec::new(),
            ended: 0,
        }
    }

    /// Makes room for so many spans that have ended, of one source.
    pub(super) fn expect_ended(&mut self, ended: usize) {
        self.ended = ended;
    }

    /// Says something at once, before what is being put together.
    pub(super) fn push(&mut self, said: Said) {
        self.said.push(said);
    }

    /// Begins the message of a source, and answers where it is.
    pub(super) fn begin(&mut self, source: SourceNo) -> usize {
        self.messages.push(Message {
            source,
            batch: Batch::default(),
            bytes: 0,
        });
        self.messages.len() - 1
    }

    pub(super) fn finished(&mut self, message: usize, finished: Finished) {
        let batch = self.with_room(message, FINISHED_BYTES, |batch| {
            batch.finished.len() < ENDED_PER_MESSAGE_MAX
        });
        if let Some(batch) = batch {
            batch.finished.push(finished);
        }
    }

    #[inline]
    pub(super) fn ended(&mut self, message: usize, ended: Ended) {
        let bytes = ENDED_BYTES + ended.conversation_id.len();
        let expected = self.ended;
        let batch = self.with_room(message, bytes, |batch| batch.ended.len() < ENDED_PER_MESSAGE_MAX);
        if let Some(batch) = batch {
            if batch.ended.is_empty() {
                batch.ended.reserve(expected.min(ENDED_PER_MESSAGE_MAX));
            }
            batch.ended.push(ended);
        }
    }

    pub(super) fn started(&mut self, message: usize, span: Started) {
        let bytes = LENGTH_BYTES + span.encoded_len();
        let batch = self.with_room(message, bytes, |batch| batch.started.len() < SPANS_PER_MESSAGE_MAX);
        if let Some(batch) = batch {
            batch.started.push(span);
        }
    }

    /// The message, or the next one if there is no room in it.
    #[inline]
    fn with_room(&mut self, message: usize, bytes: usize, has_room: impl Fn(&Batch) -> bool) -> Option<&mut Batch> {
        let message = self.messages.get_mut(message)?;
        if message.bytes + bytes > BYTES_MAX || !has_room(&message.batch) {
            self.said.push(Said::Batch {
                source: message.source,
                batch: std::mem::take(&mut message.batch),
            });
            message.bytes = 0;
        }
        message.bytes += bytes;
        Some(&mut message.batch)
    }

    /// Says what was put together, and answers of whom.
    pub(super) fn finish(self) -> impl Iterator<Item = SourceNo> {
        let Messages { said, messages, .. } = self;
        messages.into_iter().map(move |Message { source, batch, .. }| {
            // One is begun only for something.
            said.push(Said::Batch { source, batch });
            source
        })
    }
}
