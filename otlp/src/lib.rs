//! Receives OpenTelemetry's protocol (OTLP 1.11), and reads from it which spans are open and which have ended.
//!
//! A [`Receiver`] serves gRPC and HTTP and fills a queue with [`Batch`]es; [`traces`] and [`logs`] are the decoders alone.
//! What is said of spans that are open, in any of the dialects in use, is [`Started`]; what is said of spans that have
//! ended, whether or not anybody knew of them, is [`Finished`]. This crate does not know what either means for the graph,
//! how long to believe it, or whom to tell.
//!
//! # Dialects
//!
//! | who | what says that a span is open | what says that it has ended |
//! |---|---|---|
//! | anybody, for example Dagger's and Vercel's Node libraries | the span without an end: absent, 0, `"0"` or `""` | the span |
//! | Logfire | another span: a child of no duration with `logfire.span_type` = `pending_span` | the span |
//! | G-Research's partial spans (Python, .NET, Java) | a log record with `partial.event` = `heartbeat`, again and again, with the span in its body | the same with `stop`, or the span |
//! | trigger.dev | another span: a sibling that ends at once with `$span.partial` and `$span.span_id` | the span |
//!
//! # What OTLP asks for
//!
//! Each point has its tests in `tests/checklist`, whose names begin with its number.
//!
//! | row | requirement | tests |
//! |---|---|---|
//! | 1 | unary `Export` over gRPC, `POST /v1/traces`, `/v1/logs`, `/v1/metrics` over HTTP/1.1 and HTTP/2 | `row_01_unary_export_and_standard_paths`, `row_01_http_2_and_http_1_on_one_port` |
//! | 2 | protobuf and JSON by content type, which the answer has, too | `row_02_the_answer_has_the_content_type_of_the_request` |
//! | 3 | `none` and `gzip`, and zstd beyond that; others refused by name | `row_03_compression_over_http`, `row_03_compression_over_grpc` |
//! | 4 | a size limit also after decompression: `RESOURCE_EXHAUSTED` without `RetryInfo`, or 413 | `row_04_oversize_over_grpc_is_not_to_be_repeated`, `row_04_oversize_over_http_is_413`, `row_04_a_large_request_within_the_limit_is_accepted` |
//! | 5 | answers are limited | `row_05_answers_are_short` |
//! | 6 | an empty request is a success | `row_06_an_empty_request_is_a_success` |
//! | 7 | full success leaves `partial_success` unset, `{}` in JSON | `row_07_full_success_leaves_partial_success_unset` |
//! | 8 | partial success says how many were rejected and why | `row_08_partial_success_counts_what_was_rejected` |
//! | 9 | codes over gRPC by whether to come again | `row_09_row_10_back_pressure_over_grpc_is_unavailable_with_retry_info`, and rows 4 and 12 |
//! | 10 | back-pressure: `UNAVAILABLE` with `RetryInfo`, or 503 with `Retry-After` | the same, `row_10_row_11_back_pressure_over_http_is_503_with_retry_after`, `row_10_what_is_taken_from_the_queue_makes_room` |
//! | 11 | of HTTP's codes only 429, 502, 503 and 504 are repeated | `row_10_row_11_back_pressure_over_http_is_503_with_retry_after`, and rows 4, 12 and 13 |
//! | 12 | what cannot be decoded is 400 with `BadRequest`, or `INVALID_ARGUMENT` | `row_12_what_cannot_be_decoded_is_400_or_invalid_argument` |
//! | 13 | every 4xx and 5xx has a `google.rpc.Status` in the request's encoding | `row_13_every_error_has_a_status_in_the_encoding_of_the_request` |
//! | 14 | JSON: hexadecimal ids, numbers for enums, camel case, unknown fields, 64-bit numbers as text or number, `null`, `"NaN"` | `row_14_json_…`, seven tests |
//! | 15 | ids of 16 and 8 bytes that are not zero; a root's parent is empty or zero | `row_15_ids_have_16_and_8_bytes_and_are_not_zero` |
//! | 16 | flags: whether the parent is remote, and whether that was said | `row_16_flags_say_whether_the_parent_is_remote` |
//! | 17 | unknown values of enums do no harm | `row_17_kinds_and_codes_nobody_knows_do_no_harm` |
//! | 18 | duplicates change nothing | `row_18_duplicates_change_nothing` |
//! | 19 | many calls in flight on one connection | `row_19_many_calls_of_one_client_are_in_flight` |
//! | 20 | is about clients; here, one that is too slow | `row_20_a_slow_sender_is_not_waited_for` |
//! | 21 | new fields do not break decoding | `row_21_new_fields_do_not_break_decoding` |
//!
//! # Memory
//!
//! A request is limited on the wire and after decompression ([`Settings::request_bytes_max`]), and so are all requests
//! and signals together ([`Settings::memory_bytes_max`]), from the first byte of a request until its batch is dropped.
//! While a request is being decoded its signals take at most [`limits::MEMORY_PER_BYTE`] times its bytes on top.

mod attributes;
mod body;
mod budget;
mod collect;
mod compression;
mod decode;
mod failure;
mod grpc;
mod http;
mod json;
mod keys;
pub mod limits;
mod losses;
mod partial;
mod protobuf;
mod pulse;
mod receiver;
mod resource;
mod signal;
mod sources;
mod span;
mod status;
mod target;
mod wire;

pub use collect::Decoded;
pub use decode::{DecodeError, Format, logs, traces};
pub use losses::losses;
pub use pulse::Pulse;
pub use receiver::{Counts, Receiver, Settings};
pub use signal::{Batch, Code, Finished, Instance, InstanceIx, Source, Started};
pub use sources::{OPEN_SPANS_MAX, REMEMBERED_BYTES_MAX, SOURCES_MAX, Said, SourceCounts, SourceNo, Sources, Times};
pub use wire::WireError;
