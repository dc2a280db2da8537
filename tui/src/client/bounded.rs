//! A limit on the length of one server-sent event: the parser behind it would collect a line without end for ever.

use futures_util::{Stream, StreamExt as _};

/// Why the bytes end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Interrupted {
    /// The connection failed.
    #[error("{0}")]
    Lost(String),
    /// An event is longer than allowed.
    #[error("it sent an event of more than {0} bytes")]
    TooLong(usize),
}

/// Passes bytes on until more than `bytes_max` of them have come without an empty line, which is what ends an event.
pub(super) fn events<B: AsRef<[u8]>>(
    chunks: impl Stream<Item = reqwest::Result<B>>,
    bytes_max: usize,
) -> impl Stream<Item = Result<B, Interrupted>> {
    let mut length = Length::default();
    chunks.map(move |chunk| {
        let chunk = chunk.map_err(|error| Interrupted::Lost(super::reason(&error)))?;
        if length.after(chunk.as_ref()) > bytes_max {
            Err(Interrupted::TooLong(bytes_max))
        } else {
            Ok(chunk)
        }
    })
}

/// The length of the event that is being received.
#[derive(Default)]
struct Length {
    bytes: usize,
    line_is_empty: bool,
}

impl Length {
    /// The length of the longest event that this chunk has made longer.
    fn after(&mut self, chunk: &[u8]) -> usize {
        let mut longest = 0;
        for byte in chunk {
            self.bytes += 1;
            longest = longest.max(self.bytes);
            match byte {
                b'\n' if self.line_is_empty => self.bytes = 0,
                b'\n' => self.line_is_empty = true,
                // Lines may end in CR LF.
                b'\r' => {}
                _ => self.line_is_empty = false,
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_at_an_empty_line_in_whatever_pieces_it_comes() {
        let mut length = Length::default();
        assert_eq!(length.after(b"data: 1\n"), 8);
        assert_eq!(length.after(b"\n"), 9);
        assert_eq!(length.after(b"data: 12\r\n\r\ndata"), 12);
        assert_eq!(length.after(b": 3"), 7);
    }
}
