//! What is forgotten when, and what has to be kept of it.
//!
//! A start that comes late may need what is forgotten for want of room, and a call would look queued without it. So
//! every call above such a span counts as answered: unknown is live.

use std::time::Duration;

use crate::limits::{EXPIRY_SPACING, MEMORY_AGE};
use crate::slab::Slot;
use crate::span::SpanId;
use crate::wait_for::{Fate, TaskIx};

use super::Spans;
use super::derive::Reason;
use super::fates::fate_by;
use super::record::{Flag, NO_NODE, nanoseconds};

impl Spans {
    /// Forgets what is older than a minute, except ended spans that open ones need. Does something at most once a second.
    pub(crate) fn expire(&mut self, now: Duration) {
        if let Some(cutoff) = self.overdue(now) {
            // What is kept of what is forgotten follows from what is derived.
            self.catch_up();
            let mut ended = Vec::new();
            while let Some(slot) = self.ended.pop(cutoff, &mut self.store) {
                ended.push(slot);
            }
            let answered = self.answered.forget_before(cutoff);
            self.keep_fates_of_handlers(&ended);
            self.keep_answered(&answered);
            self.early_finishes.forget_before(cutoff);
            let pools = self.pools.forget_before(cutoff);
            self.gone.forget_before(cutoff);
            let may_be_pools = self.pools_forgotten_until.is_some();
            self.pools_forgotten_until = self.pools_forgotten_until.filter(|until| *until > now);
            self.forget_all(&ended, &answered);
            if may_be_pools && self.pools_forgotten_until.is_none() {
                self.look_at_all_capacities();
            }
            for name in pools {
                if let Some(symbol) = self.store.symbols.find(&name) {
                    self.look_at_capacity(symbol);
                }
            }
            self.readmit(now);
            self.derive_pending();
            self.clear_up();
        }
    }

    /// What is as old as that is to be forgotten, if there is any. Says so at most once a second.
    fn overdue(&mut self, now: Duration) -> Option<u64> {
        if self
            .expired_at
            .is_some_and(|at| now < at.saturating_add(EXPIRY_SPACING))
        {
            return None;
        }
        self.expired_at = Some(now);
        let cutoff = nanoseconds(now.checked_sub(MEMORY_AGE)?);
        let is_overdue = self.ended.reaches_back_to(cutoff, &self.store)
            || self.answered.reaches_back_to(cutoff)
            || self.early_finishes.reaches_back_to(cutoff)
            || self.pools.reaches_back_to(cutoff)
            || self.gone.reaches_back_to(cutoff)
            || self.pools_forgotten_until.is_some_and(|until| until <= now);
        is_overdue.then_some(cutoff)
    }

    fn is_crowded(&self) -> bool {
        self.ended.len() > self.limits.ended_spans + self.needed
            || self.answered.len() > self.limits.answered
            || self.early_finishes.len() > self.limits.early_finishes
            || self.pools.len() > self.limits.pools
            || self.gone.len() > self.limits.instances
    }

    /// Forgets the oldest where there is too much.
    pub(super) fn make_room(&mut self, now: Duration) {
        if !self.is_crowded() {
            return;
        }
        // What is kept of what is forgotten follows from what is derived.
        self.catch_up();
        let limit = self.limits.ended_spans + self.needed;
        let mut ended = Vec::new();
        if self.ended.len() > limit {
            let excess = self.ended.len().saturating_sub(limit - limit / 8);
            while ended.len() < excess
                && let Some(slot) = self.ended.pop(u64::MAX, &mut self.store)
            {
                ended.push(slot);
            }
        }
        let mut forgotten = ended.len();
        let mut answered = Vec::new();
        if self.answered.len() > self.limits.answered {
            answered = self.answered.make_room(self.limits.answered);
            forgotten += answered.len();
        }
        self.keep_fates_of_handlers(&ended);
        self.keep_answered(&answered);
        let ids: Vec<SpanId> = ended.iter().map(|slot| self.store.id(*slot)).collect();
        self.keep_answered(&ids);
        if self.early_finishes.len() > self.limits.early_finishes {
            forgotten += self.early_finishes.make_room(self.limits.early_finishes).len();
        }
        if self.pools.len() > self.limits.pools {
            forgotten += self.pools.make_room(self.limits.pools).len();
            let was_so = self.pools_forgotten_until.is_some();
            self.pools_forgotten_until = Some(now.saturating_add(MEMORY_AGE));
            if !was_so {
                self.look_at_all_capacities();
            }
        }
        if self.gone.len() > self.limits.instances {
            forgotten += self.gone.make_room(self.limits.instances).len();
        }
        self.anomalies.forgotten_early += forgotten as u64;
        self.forget_all(&ended, &answered);
        self.derive_pending();
    }

    fn forget_all(&mut self, ended: &[Slot], answered: &[SpanId]) {
        for slot in ended {
            self.forget(*slot);
        }
        for id in answered {
            if let Some(slot) = self.store.known(*id) {
                self.store[slot].set(Flag::Answered, false);
                self.place_word(slot);
            }
        }
    }

    /// Forgets an ended span. What is beneath it is derived again later, so that many may be forgotten at once.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.effort.earn();
        self.chains_changed(slot);
        if self.needs_above(slot) {
            self.shift_need_above(slot, false);
        }
        self.needed -= usize::from(self.store[slot].is_needed());
        self.ended.remove(slot, &mut self.store[slot]);
        if self.store[slot].is_handle() {
            self.leave_conversation(slot);
            self.detach_handler(slot);
        }
        self.store[slot].set(Flag::Answered, false);
        self.drop_kept_fate(slot);
        self.place_word(slot);
        let record = &self.store[slot];
        if record.node != NO_NODE {
            self.tasks_of_unseen
                .insert((slot, record.instance), TaskIx(record.node));
        }
        let is_named = record.first_child.is_some() || record.is(Flag::Hinted);
        self.store.clear(slot);
        if is_named {
            self.revision += 1;
            self.pending.push(slot, Reason::BOTH);
        }
    }

    fn keep_fates_of_handlers(&mut self, ended: &[Slot]) {
        for slot in ended {
            let record = &self.store[*slot];
            if !record.is_handle() {
                continue;
            }
            let fate = fate_by(record.state());
            let mut calls = Vec::new();
            if record.is(Flag::Converses) {
                calls = self.answered_in_conversation(*slot);
            } else if let Some(parent) = record.above().some().filter(|it| self.store[*it].is_known()) {
                calls.extend(self.calls_for(parent).into_iter().flatten());
            }
            for call in calls {
                self.keep_fate(call, fate);
            }
        }
    }

    fn keep_answered(&mut self, stand_ins: &[SpanId]) {
        for id in stand_ins {
            if let Some(slot) = self.store.known(*id) {
                for call in self.calls_for(slot).into_iter().flatten() {
                    self.keep_fate(call, Fate::Answered);
                }
            }
        }
    }

    /// The calls that are answered if this call, or the call above this span, is: itself, and the wait it is part of.
    fn calls_for(&self, slot: Slot) -> Option<[Slot; 2]> {
        let wait = self.store.wait_at(slot).some()?;
        Some([self.store.landmark(slot), wait])
    }
}
