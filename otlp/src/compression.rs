//! Compressed requests. What comes out is limited like what goes in, and paid for while it comes.

use std::io::{self, Read};

use axum::body::Bytes;

use crate::budget::Held;
use crate::failure::Failure;
use crate::limits::ZSTD_WINDOW_LOG_MAX;
use crate::receiver::Settings;

/// What is understood, as the header has it.
pub(crate) const NAMES: &str = "gzip, zstd, identity";

/// How much is decompressed at a time.
const CHUNK_BYTES: usize = 32 << 10;

/// How a request is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    /// Not in the specification, but sent by those who choose it.
    Zstd,
}

impl Compression {
    /// As the header says; absent is none.
    pub(crate) fn of(header: Option<&[u8]>) -> Result<Self, Failure> {
        let name = header.unwrap_or_default().trim_ascii().to_ascii_lowercase();
        match name.as_slice() {
            b"" | b"identity" => Ok(Compression::None),
            b"gzip" | b"x-gzip" => Ok(Compression::Gzip),
            b"zstd" => Ok(Compression::Zstd),
            other => Err(Failure::Encoding(String::from_utf8_lossy(other).into_owned())),
        }
    }

    /// The request itself.
    pub(crate) fn undo(self, bytes: Bytes, settings: &Settings, held: &mut Held) -> Result<Bytes, Failure> {
        match self {
            Compression::None => Ok(bytes),
            Compression::Gzip => read(flate2::bufread::MultiGzDecoder::new(bytes.as_ref()), settings, held),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(bytes.as_ref()).map_err(Failure::Compressed)?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG_MAX)
                    .map_err(Failure::Compressed)?;
                read(decoder, settings, held)
            }
        }
    }
}

fn read(mut decoder: impl Read, settings: &Settings, held: &mut Held) -> Result<Bytes, Failure> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut all = Vec::new();
    loop {
        let len = match decoder.read(&mut chunk) {
            Ok(0) => return Ok(all.into()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Compressed(error)),
        };
        if all.len() + len > settings.request_bytes_max {
            return Err(Failure::TooLarge {
                bytes_max: settings.request_bytes_max,
                decompressed: true,
            });
        }
        held.grow(len).map_err(|_| settings.no_room())?;
        all.extend_from_slice(chunk.get(..len).unwrap_or_default());
    }
}
