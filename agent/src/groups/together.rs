//! Running like futures together, each as a branch of one wait group.

use std::future::Future;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::CallFuture;
use crate::Spans;

/// Runs all futures at once and awaits all of them. The outputs are in the order of the futures.
///
/// ```
/// # use opentelemetry_sdk::trace::SdkTracerProvider;
/// # use standoff_agent::{Spans, groups};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let spans = Spans::new(&SdkTracerProvider::builder().build());
/// # async fn fetch(id: u32) -> u32 { id * 2 }
/// let rows = groups::all(&spans, "rows", (1..=3).map(fetch)).await;
/// assert_eq!(rows, [2, 4, 6]);
/// # }
/// ```
pub async fn all<F: Future>(spans: &Spans, name: &str, futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut outputs = quorum(spans, name, usize::MAX, futures).await;
    outputs.sort_unstable_by_key(|(position, _)| *position);
    outputs.into_iter().map(|(_, output)| output).collect()
}

/// Runs all futures at once and awaits the first that is done. Tells which it was; the others are dropped, and their
/// calls end as cancelled. `None` if there are no futures.
///
/// ```
/// # use opentelemetry_sdk::trace::SdkTracerProvider;
/// # use standoff_agent::{Spans, groups};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let spans = Spans::new(&SdkTracerProvider::builder().build());
/// # async fn read(replica: u32) -> u32 { if replica == 2 { 7 } else { std::future::pending().await } }
/// let first = groups::any(&spans, "read", (1..=3).map(read)).await;
/// assert_eq!(first, Some((1, 7)));
/// # }
/// ```
pub async fn any<F: Future>(
    spans: &Spans,
    name: &str,
    futures: impl IntoIterator<Item = F>,
) -> Option<(usize, F::Output)> {
    quorum(spans, name, 1, futures).await.pop()
}

/// Runs all futures at once and awaits the first `needed` that are done, or all if there are fewer. Tells which they were,
/// in the order in which they were done; the others are dropped, and their calls end as cancelled.
///
/// ```
/// # use opentelemetry_sdk::trace::SdkTracerProvider;
/// # use standoff_agent::{Spans, groups};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let spans = Spans::new(&SdkTracerProvider::builder().build());
/// # async fn write(replica: u32) -> bool { if replica == 3 { std::future::pending().await } else { true } }
/// let written = groups::quorum(&spans, "write", 2, (1..=3).map(write)).await;
/// assert_eq!(written, [(0, true), (1, true)]);
/// # }
/// ```
pub async fn quorum<F: Future>(
    spans: &Spans,
    name: &str,
    needed: usize,
    futures: impl IntoIterator<Item = F>,
) -> Vec<(usize, F::Output)> {
    let futures: Vec<F> = futures.into_iter().collect();
    let needed = needed.min(futures.len());
    if needed == 0 {
        return Vec::new();
    }
    let group = spans.quorum(name, count(needed), count(futures.len()));
    let mut running: FuturesUnordered<_> = futures
        .into_iter()
        .enumerate()
        .map(|(position, future)| numbered(position, group.branch(format!("{name} {position}"), future)))
        .collect();
    let mut done = Vec::with_capacity(needed);
    while done.len() < needed
        && let Some(output) = running.next().await
    {
        done.push(output);
    }
    done
}

async fn numbered<F: Future>(position: usize, branch: CallFuture<F>) -> (usize, F::Output) {
    (position, branch.await)
}

fn count(waits: usize) -> u32 {
    u32::try_from(waits).unwrap_or(u32::MAX)
}
