//! Any bytes are a history, on which engine and oracle must agree after every event.
//!
//! `cargo +nightly fuzz run events` in `wait-graph/`. What it finds is printed in the notation of the scenarios, and is
//! kept as a file of `tests/histories/`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/agreement/mod.rs"]
#[expect(dead_code, reason = "here everything is compared after every event")]
mod agreement;
#[path = "../../tests/bytes/mod.rs"]
mod bytes;
#[path = "../../tests/history/mod.rs"]
#[expect(dead_code, reason = "nothing is read from files here")]
mod history;
#[path = "../../tests/notation/mod.rs"]
#[expect(dead_code, reason = "nothing is read from files here")]
mod notation;
#[path = "../../tests/oracle/mod.rs"]
mod oracle;

fuzz_target!(|bytes: &[u8]| {
    let history = bytes::history(bytes);
    if let Err(failure) = agreement::agree(&history, agreement::Compare::EveryStep) {
        panic!("{history:?}{failure}");
    }
});
