//! Which calls this instance has accepted: the parents of handlers that are open, and of those that have ended.
//!
//! It is kept for every handler, however short and whether reported or not, since it answers the question that refutes
//! a suspicion: "did you ever accept this call?". It knows parents and conversations as 64-bit keys and nothing else of
//! a span.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use standoff_protocol::stream::{AcceptanceQuestion, AcceptanceState};

use super::keys::IdMap;
use super::{SHARDS, shard_of};
use crate::owner::Owner;
use crate::primitives::Mutex;
use crate::record::Record;

/// How many ended handlers are remembered, for each shard: 131,072 in all, which is 13 s of 10,000 handlers a second,
/// and more than the 5 s that callers commonly wait. About 100 bytes each, hence at most 13 MB, in a busy service only.
pub(crate) const REMEMBERED_PER_SHARD_MAX: usize = 8192;

/// How much older than the collector says a call may be: its report took time to arrive. It errs on the side of
/// "forgotten", which refutes.
const AGE_SLACK: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Acceptances {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    accepted: IdMap<Accepted>,
    /// The keys of ended handlers, oldest first. An entry whose time is not [`Accepted::ended`] has been overtaken by a
    /// later one of the same key.
    ended: VecDeque<(u64, Duration)>,
    /// When the latest of the forgotten handlers ended.
    forgotten: Option<Duration>,
}

/// Invariant: some handler is open, or one has ended.
#[derive(Debug, Default)]
struct Accepted {
    /// The span id of an open handler; 0 if there is none.
    first: u64,
    /// Those of further ones, which is rare: a message delivered twice, a hedged request.
    further: Vec<u64>,
    /// When the last handler ended.
    ended: Option<Duration>,
}

/// A handler, and by what it may be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Serves {
    handle: u64,
    /// Its parent, and its conversation.
    keys: [Option<u64>; 2],
}

impl Serves {
    pub(crate) fn of(record: &Record) -> Self {
        let parent = (record.parent_span_id != 0).then_some(record.parent_span_id);
        let conversation = record.facts.conversation.as_ref();
        Serves {
            handle: record.span_id,
            keys: [parent, conversation.and_then(|id| conversation_key(id.as_str()))],
        }
    }

    fn keys(self) -> impl Iterator<Item = u64> {
        self.keys.into_iter().flatten()
    }
}

/// What is known of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) state: AcceptanceState,
    /// The open handlers, whatever the state.
    pub(crate) open: Vec<u64>,
}

impl Acceptances {
    /// A handler has begun.
    pub(crate) fn begin(&self, owner: Owner, serves: Serves) {
        for key in serves.keys() {
            if let Some(mut shard) = owner.lock(&self.shards[shard_of(key)]) {
                shard.accepted.entry(key).or_default().begin(serves.handle);
            }
        }
    }

    /// A handler has ended, or is to be taken for ended. There is no moment at which it is neither open nor ended.
    pub(crate) fn end(&self, owner: Owner, serves: Serves, now: Duration) {
        for key in serves.keys() {
            if let Some(mut shard) = owner.lock(&self.shards[shard_of(key)]) {
                shard.end(key, serves.handle, now);
            }
        }
    }

    /// Whether the call was ever accepted. A handler that has ended outweighs one that is open: the call is answered.
    pub(crate) fn answer(&self, owner: Owner, question: &AcceptanceQuestion, now: Duration) -> Answer {
        let began = now
            .saturating_sub(Duration::from_nanos(question.age_ns))
            .saturating_sub(AGE_SLACK);
        let conversation = conversation_key(&question.conversation_id);
        let keys = question
            .span_ids
            .iter()
            .copied()
            .chain([question.call_span_id])
            .chain(conversation);
        let (mut ended, mut forgotten, mut open) = (false, false, Vec::new());
        for key in keys.filter(|key| *key != 0) {
            let Some(shard) = owner.lock(&self.shards[shard_of(key)]) else {
                continue;
            };
            forgotten |= shard.forgotten.is_some_and(|latest| latest >= began);
            if let Some(accepted) = shard.accepted.get(&key) {
                ended |= accepted.ended.is_some();
                open.extend(accepted.open());
            }
        }
        // A handler may be found by its parent and by its conversation.
        open.sort_unstable();
        open.dedup();
        let state = match (ended, open.is_empty(), forgotten) {
            (true, _, _) => AcceptanceState::Ended,
            (false, false, _) => AcceptanceState::Open,
            (false, true, true) => AcceptanceState::Forgotten,
            (false, true, false) => AcceptanceState::Never,
        };
        Answer { state, open }
    }
}

impl Shard {
    fn end(&mut self, key: u64, handle: u64, now: Duration) {
        let accepted = self.accepted.entry(key).or_default();
        accepted.end(handle);
        // Threads may arrive here out of order; the later time counts.
        let now = accepted.ended.map_or(now, |ended| ended.max(now));
        accepted.ended = Some(now);
        self.ended.push_back((key, now));
        if self.ended.len() > REMEMBERED_PER_SHARD_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((key, at)) = self.ended.pop_front() else {
            return;
        };
        let Some(accepted) = self.accepted.get_mut(&key) else {
            return;
        };
        if accepted.ended != Some(at) {
            return;
        }
        accepted.ended = None;
        if accepted.open().next().is_none() {
            self.accepted.remove(&key);
        }
        self.forgotten = self.forgotten.max(Some(at));
    }
}

impl Accepted {
    /// Span ids of open handlers.
    fn open(&self) -> impl Iterator<Item = u64> {
        let first = (self.first != 0).then_some(self.first);
        first.into_iter().chain(self.further.iter().copied())
    }

    fn begin(&mut self, handle: u64) {
        if self.first == 0 {
            self.first = handle;
        } else {
            self.further.push(handle);
        }
    }

    fn end(&mut self, handle: u64) {
        if self.first == handle {
            self.first = self.further.pop().unwrap_or(0);
        } else if let Some(at) = self.further.iter().position(|open| *open == handle) {
            self.further.swap_remove(at);
        }
    }
}

fn conversation_key(conversation: &str) -> Option<u64> {
    if conversation.is_empty() {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    conversation.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn handle(handle: u64, parent: u64, conversation: &str) -> Serves {
        let parent = (parent != 0).then_some(parent);
        Serves {
            handle,
            keys: [parent, conversation_key(conversation)],
        }
    }

    fn question(span_ids: &[u64], conversation: &str, age: Duration) -> AcceptanceQuestion {
        AcceptanceQuestion {
            call_span_id: span_ids.first().copied().unwrap_or(0),
            span_ids: span_ids.to_vec(),
            conversation_id: conversation.to_owned(),
            age_ns: age.as_nanos() as u64,
        }
    }

    fn state(acceptances: &Acceptances, span_ids: &[u64], conversation: &str) -> AcceptanceState {
        acceptances
            .answer(Owner::this(), &question(span_ids, conversation, SECOND), 100 * SECOND)
            .state
    }

    #[test]
    fn a_handler_is_open_then_ended() {
        let acceptances = Acceptances::default();
        assert_eq!(state(&acceptances, &[7], ""), AcceptanceState::Never);
        acceptances.begin(Owner::this(), handle(1, 7, ""));
        let answer = acceptances.answer(Owner::this(), &question(&[7], "", SECOND), SECOND);
        assert_eq!(
            answer,
            Answer {
                state: AcceptanceState::Open,
                open: vec![1]
            }
        );
        acceptances.end(Owner::this(), handle(1, 7, ""), SECOND);
        assert_eq!(state(&acceptances, &[7], ""), AcceptanceState::Ended);
        assert_eq!(state(&acceptances, &[8], ""), AcceptanceState::Never);
    }

    #[test]
    fn any_span_beneath_the_call_counts() {
        let acceptances = Acceptances::default();
        acceptances.begin(Owner::this(), handle(1, 9, ""));
        assert_eq!(state(&acceptances, &[7, 8, 9], ""), AcceptanceState::Open);
    }

    #[test]
    fn the_conversation_counts_without_a_parent() {
        let acceptances = Acceptances::default();
        acceptances.begin(Owner::this(), handle(1, 0, "c"));
        assert_eq!(state(&acceptances, &[7], "c"), AcceptanceState::Open);
        assert_eq!(state(&acceptances, &[7], "d"), AcceptanceState::Never);
        assert_eq!(state(&acceptances, &[7], ""), AcceptanceState::Never);
    }

    #[test]
    fn one_ended_and_one_open_is_ended_and_names_the_open_one() {
        let acceptances = Acceptances::default();
        acceptances.begin(Owner::this(), handle(1, 7, ""));
        acceptances.begin(Owner::this(), handle(2, 7, ""));
        acceptances.end(Owner::this(), handle(1, 7, ""), SECOND);
        let answer = acceptances.answer(Owner::this(), &question(&[7], "", SECOND), SECOND);
        assert_eq!(
            answer,
            Answer {
                state: AcceptanceState::Ended,
                open: vec![2]
            }
        );
    }

    #[test]
    fn what_was_forgotten_after_the_call_began_is_admitted() {
        let acceptances = Acceptances::default();
        // All keys of one shard, so that exactly one is forgotten.
        let keys: Vec<u64> = (1..)
            .filter(|key| shard_of(*key) == 3)
            .take(REMEMBERED_PER_SHARD_MAX + 1)
            .collect();
        let asked = (1..).find(|key| shard_of(*key) == 3 && !keys.contains(key)).unwrap();
        for (nth, key) in keys.iter().enumerate() {
            let at = if nth == 0 { 10 * SECOND } else { 11 * SECOND };
            acceptances.begin(Owner::this(), handle(1, *key, ""));
            acceptances.end(Owner::this(), handle(1, *key, ""), at);
        }
        let ask = |age| {
            acceptances
                .answer(Owner::this(), &question(&[asked], "", age), 20 * SECOND)
                .state
        };
        assert_eq!(
            ask(8 * SECOND),
            AcceptanceState::Never,
            "forgotten more than the slack before the call began"
        );
        assert_eq!(ask(9 * SECOND), AcceptanceState::Forgotten, "within the slack");
        assert_eq!(ask(15 * SECOND), AcceptanceState::Forgotten);
        let remembered = acceptances
            .answer(Owner::this(), &question(&[keys[1]], "", 15 * SECOND), 20 * SECOND)
            .state;
        assert_eq!(remembered, AcceptanceState::Ended);
    }

    #[test]
    fn the_memory_is_bounded_also_for_one_key() {
        let acceptances = Acceptances::default();
        for nth in 0..3 * REMEMBERED_PER_SHARD_MAX as u64 {
            acceptances.begin(Owner::this(), handle(nth, 7, ""));
            acceptances.end(Owner::this(), handle(nth, 7, ""), Duration::from_nanos(nth));
        }
        let shard = acceptances.shards[shard_of(7)].lock().unwrap();
        assert_eq!((shard.ended.len(), shard.accepted.len()), (REMEMBERED_PER_SHARD_MAX, 1));
        assert_eq!(shard.forgotten, None, "the key itself is still remembered");
    }
}
