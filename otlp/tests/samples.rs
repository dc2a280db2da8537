//! Requests as real emitters sent them, and the signals that they are.
//!
//! In each folder of `tests/samples` are the requests of one emitter, in the order in which they came, and in
//! `signals.txt` what each says. Traces and logs are told apart by the names of the files.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail like tests")]

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use standoff_otlp::{Decoded, Format, logs, traces};

#[path = "notation/mod.rs"]
mod notation;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)
}

fn decode(file: &Path) -> Decoded {
    let name = file.file_name().unwrap().to_str().unwrap();
    let mut bytes = fs::read(file).unwrap();
    if name.ends_with(".gz") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice())
            .read_to_end(&mut plain)
            .unwrap();
        bytes = plain;
    }
    let format = if name.contains(".json") {
        Format::Json
    } else {
        Format::Protobuf
    };
    if name.contains("traces") {
        traces(&bytes, format).unwrap()
    } else {
        logs(&bytes, format).unwrap()
    }
}

/// Compares what the requests of a folder say with what is written there.
fn check(name: &str) {
    let folder = folder(name);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut said = String::new();
    for file in files.iter().filter(|file| file.extension().unwrap() != "txt") {
        let name = file.file_name().unwrap().to_str().unwrap();
        writeln!(said, "{name}").unwrap();
        said += &notation::describe(&decode(file));
    }
    let path = folder.join("signals.txt");
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(said == expected, "{}: {said}", path.display());
}

macro_rules! samples {
    ($($test:ident = $folder:literal;)+) => {$(
        #[test]
        fn $test() {
            check($folder);
        }
    )+

        #[test]
        fn every_folder_has_its_test() {
            let mut folders: Vec<String> = fs::read_dir(folder(""))
                .unwrap()
                .map(|folder| folder.unwrap())
                .filter(|folder| folder.path().is_dir())
                .map(|folder| folder.file_name().into_string().unwrap())
                .collect();
            folders.sort();
            let mut tested = [$($folder),+];
            tested.sort();
            assert_eq!(folders, tested);
        }
    };
}

samples! {
    partial_span_processor_0_0_9 = "python-partial-0.0.9";
    partial_span_processor_0_0_10 = "python-partial-0.0.10";
    partial_spans_with_links_and_without_a_resource = "python-partial-0.0.10-links";
    partial_spans_of_requests_flask_and_grpc = "python-inst-partial";
    partial_spans_of_pika = "python-pika-partial";
    partial_spans_of_dot_net = "dotnet-partial-0.0.4";
    partial_spans_in_base64 = "partial-base64";
    pending_spans_of_logfire = "logfire-5.2.0";
    open_spans_of_dagger = "node-live-dagger-0.0.5";
    open_spans_of_amqplib = "node-amqplib-live";
    open_spans_of_http_and_grpc = "node-http-grpc-live";
    open_spans_of_python = "python-live-1.45.1";
    partial_twins_of_trigger_dev = "trigger-twin-4.8.3";
}
