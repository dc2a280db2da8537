//! Which calls a handle answers whose parent leads to none: those of its conversation.
//!
//! A conversation may go on through the handler, so no call that it has caused is one that it answers. If there are
//! several left, it is not certain which of them an open handle answers; one that has ended counts for all of them.
//!
//! That is a matter of each pair of a call and a handle. A conversation passes a few services; where it has more pairs
//! than [`Limits::conversation_pairs`](crate::Limits::conversation_pairs), it correlates nothing, and it is not certain of
//! any of its calls whether it is answered.

use std::collections::{BTreeMap, BTreeSet};

use crate::hashing::IdMap;
use crate::slab::Slot;
use crate::symbols::Symbol;

use super::Spans;
use super::fates::fate_by;
use super::record::{Flag, State};

/// How far above a call a handler of its conversation is looked for. A conversation passes a few services; chains that
/// loop through hints end here too.
const ANCESTORS_MAX: usize = 1000;

/// To look at so many calls, handles or pairs counts as one visit.
const LOOKS_PER_VISIT: usize = 8;

/// All conversations of open calls and of handles that need them.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    by_name: IdMap<Symbol, Conversation>,
    /// Those to be looked at again.
    changed: Vec<Symbol>,
    /// How many handles need one.
    handles: usize,
    /// Open handles of which it is not certain what they answer.
    ambiguous: u64,
}

#[derive(Debug, Default)]
struct Conversation {
    /// Open calls.
    calls: BTreeSet<Slot>,
    /// Known handles that answer no call by their parent, and the waits that each answers instead.
    handles: BTreeMap<Slot, Vec<Slot>>,
    /// Its waits, if there are too many pairs: of none it is certain whether it is answered.
    crowd: BTreeSet<Slot>,
    /// How many handles are open while that is so.
    crowding: u64,
    has_changed: bool,
}

impl Conversations {
    pub(super) fn ambiguous(&self) -> u64 {
        self.ambiguous
    }

    /// Whether a call of it is open.
    pub(super) fn has_calls(&self, name: Symbol) -> bool {
        self.by_name.get(&name).is_some_and(|it| !it.calls.is_empty())
    }

    /// Whether any is to be looked at again.
    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// All of them are to be looked at again.
    pub(super) fn change_all(&mut self) {
        let mut names: Vec<Symbol> = self.by_name.keys().copied().collect();
        names.sort_unstable();
        for name in names {
            self.change(name);
        }
    }

    fn change(&mut self, name: Symbol) {
        if let Some(conversation) = self.by_name.get_mut(&name)
            && !std::mem::replace(&mut conversation.has_changed, true)
        {
            self.changed.push(name);
        }
    }
}

impl Spans {
    /// A call with a conversation has opened.
    pub(super) fn join_as_call(&mut self, slot: Slot) {
        if let Some(name) = self.store.conversation(slot) {
            self.conversations.by_name.entry(name).or_default().calls.insert(slot);
            self.conversations.change(name);
        }
    }

    /// It has ended.
    pub(super) fn leave_as_call(&mut self, slot: Slot) {
        if let Some(name) = self.store.conversation(slot)
            && let Some(conversation) = self.conversations.by_name.get_mut(&name)
        {
            conversation.calls.remove(&slot);
            self.conversations.change(name);
        }
    }

    /// A handle answers no call by its parent.
    pub(super) fn join_conversation(&mut self, slot: Slot) {
        if let Some(name) = self.store.conversation(slot) {
            self.store[slot].set(Flag::Converses, true);
            let conversation = self.conversations.by_name.entry(name).or_default();
            conversation.handles.insert(slot, Vec::new());
            self.conversations.handles += 1;
            self.conversations.change(name);
        }
    }

    /// A handle answers a call by its parent, or is forgotten.
    pub(super) fn leave_conversation(&mut self, slot: Slot) {
        if !self.store[slot].is(Flag::Converses) {
            return;
        }
        self.detach_handler(slot);
        self.store[slot].set(Flag::Converses, false);
        if let Some(name) = self.store.conversation(slot)
            && let Some(conversation) = self.conversations.by_name.get_mut(&name)
        {
            conversation.handles.remove(&slot);
            self.conversations.handles -= 1;
        }
    }

    /// An open call is part of another wait now.
    pub(super) fn conversation_changed(&mut self, slot: Slot) {
        if let Some(name) = self.store.conversation(slot) {
            self.conversations.change(name);
        }
    }

    /// The chain of parents above everything beneath a span has changed.
    pub(super) fn chains_changed(&mut self, slot: Slot) {
        if self.conversations.handles == 0 {
            return;
        }
        let mut seen = BTreeSet::new();
        let mut next = vec![slot];
        while let Some(slot) = next.pop() {
            if !seen.insert(slot) {
                continue;
            }
            if !self.effort.spend(1) {
                return;
            }
            self.conversation_changed(slot);
            let mut child = self.store[slot].first_child;
            while child.is_some() {
                next.push(child);
                child = self.store[child].next;
            }
            next.extend(self.store.hinting(slot));
        }
    }

    /// What an open or ended handle does to the calls of its conversation is undone. It is looked at again.
    pub(super) fn detach_from_conversation(&mut self, slot: Slot) {
        let Some(name) = self.store.conversation(slot) else {
            return;
        };
        self.conversations.change(name);
        let conversation = self.conversations.by_name.get_mut(&name);
        let waits = conversation
            .and_then(|it| it.handles.get_mut(&slot))
            .map(std::mem::take);
        self.undo(slot, &waits.unwrap_or_default());
    }

    pub(super) fn settle_conversations(&mut self) {
        while let Some(name) = self.conversations.changed.pop() {
            let Some(mut conversation) = self.conversations.by_name.remove(&name) else {
                continue;
            };
            conversation.has_changed = false;
            let (calls, handles) = (conversation.calls.len(), conversation.handles.len());
            let pairs_max = self.limits.conversation_pairs;
            let looks = calls + handles + calls.saturating_mul(handles).min(pairs_max);
            if !self.effort.spend((looks / LOOKS_PER_VISIT) as u64) {
                self.conversations.by_name.insert(name, conversation);
                return;
            }
            let waits: BTreeSet<Slot> = conversation.calls.iter().map(|call| self.store[*call].anchor).collect();
            let is_crowded = waits.len().saturating_mul(handles) > pairs_max;
            let (possible, crowd) = if is_crowded {
                (BTreeSet::new(), waits)
            } else {
                (waits, BTreeSet::new())
            };
            for (handle, answered) in &mut conversation.handles {
                let possible = possible.iter().copied();
                let now: Vec<Slot> = possible.filter(|wait| !self.is_beneath(*wait, *handle)).collect();
                if now != *answered || !self.is_done(*handle, &now) {
                    self.undo(*handle, answered);
                    self.do_for(*handle, &now);
                    *answered = now;
                }
            }
            self.crowd(&mut conversation, crowd);
            if !conversation.calls.is_empty() || !conversation.handles.is_empty() {
                self.conversations.by_name.insert(name, conversation);
            }
        }
    }

    /// Of these waits, and of no others, it is uncertain whether they are answered, since there are too many.
    fn crowd(&mut self, conversation: &mut Conversation, waits: BTreeSet<Slot>) {
        for wait in conversation.crowd.difference(&waits) {
            self.count_uncertain(*wait, false);
        }
        for wait in waits.difference(&conversation.crowd) {
            self.count_uncertain(*wait, true);
        }
        let handles = conversation
            .handles
            .keys()
            .filter(|handle| self.store[**handle].is_open());
        let crowding = if waits.is_empty() { 0 } else { handles.count() as u64 };
        let before = std::mem::replace(&mut conversation.crowding, crowding);
        self.conversations.ambiguous = self.conversations.ambiguous + crowding - before;
        conversation.crowd = waits;
    }

    /// The calls that a handle answers by its conversation.
    pub(super) fn answered_in_conversation(&self, handle: Slot) -> Vec<Slot> {
        let name = self.store.conversation(handle);
        let conversation = name.and_then(|name| self.conversations.by_name.get(&name));
        let answered = conversation.and_then(|it| it.handles.get(&handle));
        answered.cloned().unwrap_or_default()
    }

    fn is_done(&self, handle: Slot, waits: &[Slot]) -> bool {
        let record = &self.store[handle];
        match waits {
            [] => true,
            [_] if record.is_open() => record.is(Flag::Handles),
            _ => record.is(Flag::Counts),
        }
    }

    fn do_for(&mut self, handle: Slot, waits: &[Slot]) {
        let (is_open, state) = (self.store[handle].is_open(), self.store[handle].state());
        match waits {
            [] => {}
            [wait] if is_open => {
                self.store[handle].extra = wait.0;
                self.attach_handler(handle);
            }
            several => {
                self.store[handle].set(Flag::Counts, true);
                self.conversations.ambiguous += u64::from(is_open);
                for wait in several {
                    self.count_for(*wait, state, true);
                }
            }
        }
    }

    fn undo(&mut self, handle: Slot, waits: &[Slot]) {
        let record = &self.store[handle];
        let (call, state) = (Slot(record.extra), record.state());
        if record.is(Flag::Handles) {
            if let Some(wait) = self.wait(call) {
                self.picture.remove_handler(wait, handle);
            }
            self.store[handle].set(Flag::Handles, false);
        } else if record.is(Flag::Counts) {
            self.store[handle].set(Flag::Counts, false);
            self.conversations.ambiguous -= u64::from(state == State::Open);
            for wait in waits {
                self.count_for(*wait, state, false);
            }
        }
        self.store[handle].extra = Slot::NONE.0;
    }

    fn count_for(&mut self, wait: Slot, state: State, is_more: bool) {
        if state == State::Open {
            self.count_uncertain(wait, is_more);
        } else {
            self.count_fate(wait, fate_by(state), is_more);
        }
    }

    /// Whether one span is above another, in whatever instance.
    fn is_beneath(&self, slot: Slot, above: Slot) -> bool {
        let known = |slot: Slot| slot.some().filter(|slot| self.store[*slot].is_known());
        let up = |slot: &Slot| known(self.store[*slot].above()).or_else(|| known(self.store.hint(*slot)));
        std::iter::successors(Some(slot), up)
            .take(ANCESTORS_MAX)
            .skip(1)
            .any(|slot| slot == above)
    }
}
