//! Any bytes as traces in JSON: what the reference decoder accepts means the same here.
//!
//! `cargo +nightly fuzz run json` in `otlp/`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/agreement/mod.rs"]
#[expect(dead_code, reason = "there is a target for each function")]
mod agreement;

fuzz_target!(|bytes: &[u8]| agreement::json_traces(bytes));
