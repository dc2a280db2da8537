//! The engine of standoff: open spans in, deadlocks out.
//!
//! A pure data structure. It does no input or output, reads no clock, spawns nothing, and cannot fail: time is an
//! argument, and odd input is counted as an [anomaly](Anomalies).
//!
//! ```
//! use std::time::Duration;
//! use standoff_wait_graph::*;
//!
//! /// A span of an instance, beneath another one or the topmost.
//! fn span(id: u64, instance: u64, parent: Option<Parent>, role: Role) -> Event {
//!     Event::Started(Span {
//!         id: SpanId(id),
//!         trace: TraceId::default(),
//!         instance: InstanceId(instance),
//!         parent,
//!         task: None,
//!         name: "request".into(),
//!         conversation: None,
//!         role,
//!         started_at: Duration::ZERO,
//!     })
//! }
//! let call = |target: &str| {
//!     Role::Call(Call { target: Some(target.into()), units: 1, group: None, detached: false, timeout: None })
//! };
//! let handle = |name: &str| Role::Handle(Handle { resources: vec![name.into()], capacity: None });
//! let within = |id| Some(Parent { id: SpanId(id), remote: false });
//! let from = |id| Some(Parent { id: SpanId(id), remote: true });
//!
//! let mut graph = WaitGraph::new(Limits::default());
//! for event in [
//!     span(1, 1, None, call("A")),
//!     span(2, 2, from(1), handle("A")),   // A handles the request …
//!     span(3, 2, within(2), call("B")),   // … and calls B,
//!     span(4, 3, from(3), handle("B")),   // which handles that …
//!     span(5, 3, within(4), call("A")),   // … and calls A, which is waiting.
//! ] {
//!     assert!(graph.deadlocks().is_empty());
//!     graph.apply(Duration::ZERO, &event);
//! }
//! assert_eq!(graph.deadlocks()[0].summary(), "A → B → A");
//!
//! graph.apply(Duration::from_secs(5), &Event::Finished(SpanId(5)));
//! assert!(graph.deadlocks().is_empty());
//! ```
//!
//! # How it is made
//!
//! Each step knows only the one before it, and tells the next one what has changed:
//!
//! ```text
//!   events ──▶ spans ──────────────▶ wait_for ─────────▶ explain ─────────────▶ episodes
//!              what is open and       tasks, waits and    what causes it, who    which is
//!              remembered, and who    resources, and      suffers from it, and   which over
//!              belongs to whom        who is dead         what is said of it     time
//! ```
//!
//! - **Work is done where something changes.** An event costs what it may have changed; the dead part is looked at only
//!   when somebody asks for deadlocks.
//! - **Order does not matter.** The facts are a set. The same events in another order, or twice, give the same report.
//! - **Unknown is live.** Whatever is not known, contradictory, silent or forgotten for want of room counts as able to
//!   proceed. It may hide a deadlock, and it never invents one.
//! - **Nothing is unbounded.** [`Limits`] has a number for everything that is kept, and [`Anomalies`] a counter for
//!   what did not fit.
//! - **Nothing recurses**, however long chains of parents or of waits are.

mod anomalies;
mod deadlock;
mod episodes;
mod explain;
mod graph;
mod hashing;
mod limits;
mod names;
mod slab;
mod span;
mod spans;
mod symbols;
#[cfg(test)]
mod testing;
mod wait_for;

pub use anomalies::Anomalies;
pub use deadlock::{
    BLAST_MAX, BLOCKED_BY_MAX, CallState, Capacity, DeadTask, DeadWait, Deadlock, Resource, VICTIMS_MAX,
    WAITS_OF_VICTIM_MAX,
};
pub use episodes::{Change, Episodes};
pub use explain::{to_dot, to_mermaid};
pub use graph::{Applied, Mention, OpenSpan, Settled, WaitGraph};
pub use limits::Limits;
pub use span::{Call, Event, Handle, Hold, InstanceId, Member, Parent, Quorum, Role, Span, SpanId, TraceId, WaitGroup};
