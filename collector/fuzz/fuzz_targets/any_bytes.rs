//! Any bytes that instances and relays may send: messages are read, channels opened, spans decoded, and the detector takes
//! its steps.
//!
//! `cargo +nightly fuzz run any_bytes -- -max_len=65536 -rss_limit_mb=512` in `collector/`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    standoff_collector::fuzzing::play(bytes, || {});
});
