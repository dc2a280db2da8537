//! Any bytes as logs, and as the body of a partial span: no panic, and nothing is dropped silently.
//!
//! `cargo +nightly fuzz run partial` in `otlp/`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/agreement/mod.rs"]
#[expect(dead_code, reason = "there is a target for each function")]
mod agreement;

fuzz_target!(|bytes: &[u8]| agreement::partial_spans(bytes));
