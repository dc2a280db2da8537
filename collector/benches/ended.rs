//! What it costs to take note of a span of which only the end is told, and that concerns nobody: nearly all of the spans of
//! services that speak OTLP.
//!
//! `cargo bench --package standoff-collector --bench ended`, by how many have ended in the last minute. `ask` is what the
//! graph is asked for each of them, with as many spans open as in its row.

#[expect(dead_code, reason = "what is asked of it is for spans that concern somebody")]
#[path = "../src/ended.rs"]
mod ended;

use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use standoff_protocol::stream::Role;
use standoff_wait_graph::{Event, InstanceId, Limits, Mention, Parent, Span, SpanId, TraceId, WaitGraph};

use ended::{EndedSpan, EndedSpans};

/// How many have ended in the last minute, or are open.
const SPANS: [u64; 3] = [1_000, 100_000, 1_000_000];

/// As many as come in one message.
const BATCH: usize = 8192;

/// As many as the detector looks at together.
const TOGETHER: usize = 32;

fn main() {
    divan::Divan::from_args().sample_count(100).sample_size(1).main();
}

/// Ids as tracing libraries draw them (Steele, Lea and Flood, *SplitMix*, 2014).
struct Ids(u64);

impl Iterator for Ids {
    type Item = SpanId;

    fn next(&mut self) -> Option<SpanId> {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Some(SpanId(mixed ^ (mixed >> 31)))
    }
}

fn span(id: SpanId) -> EndedSpan {
    EndedSpan {
        id,
        parent: Some(Parent {
            id: SpanId(id.0 ^ 1),
            remote: false,
        }),
        instance: InstanceId(1),
        role: Role::Call,
    }
}

#[divan::bench(args = SPANS)]
fn remember(bencher: Bencher<'_, '_>, spans: u64) {
    let mut ids = Ids(0);
    let mut ended = EndedSpans::default();
    let mut now = Duration::from_secs(1);
    for id in ids.by_ref().take(usize::try_from(spans).unwrap_or(usize::MAX)) {
        ended.remember(now, span(id));
    }
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| {
            now += Duration::from_secs(60) * u32::try_from(BATCH).unwrap_or(1)
                / u32::try_from(spans.max(8192)).unwrap_or(1);
            (now, ids.by_ref().take(BATCH).map(span).collect::<Vec<_>>())
        })
        .bench_local_refs(|(now, batch)| {
            for together in batch.chunks(TOGETHER) {
                ended.look_ahead(together.iter().map(|it| it.id));
                for it in together {
                    divan::black_box(ended.remember(*now, *it));
                }
            }
        });
}

#[divan::bench(args = SPANS)]
fn ask(bencher: Bencher<'_, '_>, spans: u64) {
    let mut ids = Ids(0);
    let mut graph = WaitGraph::new(Limits::default());
    for id in ids.by_ref().take(usize::try_from(spans).unwrap_or(usize::MAX)) {
        let open = Span {
            id,
            trace: TraceId::default(),
            instance: InstanceId(1),
            parent: None,
            task: None,
            name: "span".into(),
            conversation: None,
            role: standoff_wait_graph::Role::Structural,
            started_at: Duration::ZERO,
        };
        graph.apply(Duration::ZERO, &Event::Started(open));
    }
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| ids.by_ref().take(BATCH).collect::<Vec<_>>())
        .bench_local_refs(|batch| {
            let known = batch.iter().filter(|id| graph.mention(**id) != Mention::Nothing);
            divan::black_box(known.count())
        });
}
