//! Integers as they cross a process border: decimal ASCII text (`42`, `-7`), content type `text/plain`.
//!
//! Every language reads and writes it without a library, and `rabbitmqadmin get` shows it.

use thiserror::Error;

/// The content type of an encoded integer.
pub const CONTENT_TYPE: &str = "text/plain";

/// A body that is not a decimal integer of 64 bits.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the body is not a decimal integer of 64 bits")]
pub struct NotAnInteger;

/// The body that carries `value`.
pub fn encode(value: i64) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// The value that `body` carries. White space around it is ignored, since clients in shells add line ends.
pub fn decode(body: &[u8]) -> Result<i64, NotAnInteger> {
    let text = std::str::from_utf8(body).map_err(|_| NotAnInteger)?;
    text.trim_ascii().parse().map_err(|_| NotAnInteger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back_as_they_went() {
        for value in [0, 42, -7, i64::MIN, i64::MAX] {
            assert_eq!(decode(&encode(value)), Ok(value));
        }
        assert_eq!(encode(42), b"42");
        assert_eq!(decode(b"42\n"), Ok(42));
    }

    #[test]
    fn anything_else_is_refused() {
        for body in [&b""[..], b"4 2", b"0x2a", b"42.0", b"9223372036854775808", b"\xff"] {
            assert_eq!(decode(body), Err(NotAnInteger), "{body:?}");
        }
    }
}
