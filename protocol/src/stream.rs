//! The native stream, generated from `proto/standoff/stream/v1/stream.proto` by `cargo xtask protos`.
//!
//! The comments of the `.proto` file are the reference; `docs/wire.md` explains the whole.

#[expect(missing_docs, clippy::allow_attributes, clippy::allow_attributes_without_reason, reason = "generated code")]
#[rustfmt::skip]
mod generated;
mod check;
pub mod codec;
pub mod process;
mod shape;
mod sight;

pub use check::{Malformed, check_ended, check_spans};
pub use codec::read;
pub use generated::*;
pub use shape::{REPEATED_MAX, Unreadable};
pub use sight::{Sight, look};

/// The version of the protocol that this crate describes.
pub const PROTOCOL_VERSION: u32 = 1;

/// The largest message that either side accepts, in bytes. An open set is sent in parts, so no message comes near it.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The most spans in one [`Batch`] or one part of an [`OpenSet`]: about 200 bytes each, so well under
/// [`MESSAGE_BYTES_MAX`] unless their texts are at their limits.
pub const SPANS_PER_MESSAGE_MAX: usize = 512;

/// The most [`Ended`] spans in one [`Batch`]: about 25 bytes each, so far under [`MESSAGE_BYTES_MAX`] unless they have
/// conversations.
pub const ENDED_PER_MESSAGE_MAX: usize = 1 << 13;

/// The longest name, resource, target or conversation id, in bytes. The library cuts longer ones and the collector
/// refuses them. Equals the limit on attribute values that we recommend to users.
pub const TEXT_BYTES_MAX: usize = 1024;

/// The most resources that one span names. The library drops further ones and the collector refuses them.
pub const RESOURCES_PER_SPAN_MAX: usize = 32;
