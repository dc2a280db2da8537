//! How much the graph keeps, and for how long. Nothing in it grows beyond these.

use std::time::Duration;

/// How long ended spans, early finishes and the like are remembered. The design fixes a minute: more than any report
/// is delayed by, short enough to be held in memory.
pub(crate) const MEMORY_AGE: Duration = Duration::from_secs(60);

/// Forgetting is not urgent, and looks at everything: once a second is enough.
pub(crate) const EXPIRY_SPACING: Duration = Duration::from_secs(1);

/// A million open waits, which the design promises, each with its handle.
const OPEN_SPANS_MAX: usize = 1 << 21;
/// A minute of 4,000 long calls a second. Beyond that, what ended longest ago is forgotten earlier.
const ENDED_SPANS_MAX: usize = 1 << 18;
/// Finishes overtake their starts only within one source's reordering, of which a minute brings far fewer.
const EARLY_FINISHES_MAX: usize = 1 << 16;
/// Said only of calls whose handler was never reported, once for each refuted suspect.
const ANSWERED_MAX: usize = 1 << 16;
/// Names times instances: four instances that each serve 65,536 ids.
const SERVED_MAX: usize = 1 << 18;
/// Pools are queues and worker groups, of which a large system has thousands.
const POOLS_MAX: usize = 1 << 16;
/// Far above the number of processes that one collector could hear.
const INSTANCES_MAX: usize = 1 << 16;
/// Refused spans that are kept apart, to know when the last of them has ended.
const REFUSED_MAX: usize = 1 << 16;
/// A conversation has one call and one handler, or a few where it passes several services or is asked again.
const CONVERSATION_PAIRS_MAX: usize = 256;

/// The most that a graph keeps of each kind. The defaults suit a collector; tests use small ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open spans, together with the ended ones that they still need. Beyond it starts are refused, and the graph
    /// reports nothing until what it refused has ended: a picture with holes proves nothing.
    pub open_spans: usize,
    /// Ended spans that are remembered although no open one needs them.
    pub ended_spans: usize,
    /// Finishes whose start has not come yet.
    pub early_finishes: usize,
    /// Calls said to be answered by a handler that was not reported.
    pub answered: usize,
    /// Pairs of a name and an instance that has served it.
    pub served: usize,
    /// Names of pools whose members have ended.
    pub pools: usize,
    /// Instances, and as many that are gone.
    pub instances: usize,
    /// Refused spans that are kept apart until there is room or they have ended. Of what is beyond even this only the
    /// instance is known, so the graph reports nothing until that instance has gone.
    pub refused: usize,
    /// Pairs of a call and a handler in one conversation, each of which may belong together. Where there are more, a
    /// conversation tells nothing of its calls, and they count as live.
    pub conversation_pairs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_spans: OPEN_SPANS_MAX,
            ended_spans: ENDED_SPANS_MAX,
            early_finishes: EARLY_FINISHES_MAX,
            answered: ANSWERED_MAX,
            served: SERVED_MAX,
            pools: POOLS_MAX,
            instances: INSTANCES_MAX,
            refused: REFUSED_MAX,
            conversation_pairs: CONVERSATION_PAIRS_MAX,
        }
    }
}
