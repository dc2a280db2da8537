//! What is known: which spans are open, and what is remembered of those that have ended.
//!
//! The facts are a set: each event adds to it, and the same events in any order and number leave the same facts. What
//! they mean together is not decided here but in [`super::links`] and [`super::picture`], from scratch, so that no
//! conclusion outlives its reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use standoff_wait_graph::{Anomalies, Event, InstanceId, Limits, Role, Span, SpanId};

use super::links::Links;
use super::memory::Memory;
use super::oddities;
use super::parents::Parents;
use super::served::Served;

/// How long ended spans, early finishes and the like are remembered.
const MEMORY_AGE: Duration = Duration::from_secs(60);
/// How often forgetting is worth a look.
const EXPIRY_SPACING: Duration = Duration::from_secs(1);

/// Everything that events have said and that is not forgotten.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(super) limits: Limits,
    /// Open spans. Never one of an instance that is gone.
    pub(crate) open: BTreeMap<SpanId, Span>,
    /// Ended spans, for as long as [`Facts::expire`] says. Disjoint from `open`.
    pub(crate) ended: Memory<SpanId, Ended>,
    /// Spans that were on a loop of parents of which a span was forgotten: they stay without a parent.
    pub(crate) cut: BTreeSet<SpanId>,
    /// Finishes that came before their start, which they will cancel. Disjoint from `open` and `ended`.
    early_finishes: Memory<SpanId, ()>,
    /// Calls, or stand-ins of calls, said to have been answered.
    pub(crate) answered: Memory<SpanId, ()>,
    /// What is remembered of open calls after the span or the word that said it is forgotten. Only open calls.
    pub(crate) fates: BTreeMap<SpanId, Fate>,
    /// Instances that are not gone.
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    gone: Memory<InstanceId, ()>,
    pub(crate) served: Served,
    /// Names to which members that have ended contributed.
    pools: Memory<Arc<str>, ()>,
    /// Until then, any name may be one of a pool that had to be forgotten.
    pools_forgotten_until: Option<Duration>,
    /// Open spans for which there was no room in `open`; the smallest comes in when there is.
    refused: BTreeMap<SpanId, Span>,
    /// Instances with more of them than could be kept at all.
    refused_untold: BTreeSet<InstanceId>,
    expired_at: Option<Duration>,
    pub(crate) anomalies: Anomalies,
}

/// A span that is not open any more.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) span: Span,
    pub(crate) end: End,
}

/// How a span ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Finished,
    /// Its instance went, and the span with it.
    Lost,
}

/// What a handler that has ended means for the call that it answered. Later ones are stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Orphaned,
    Answered,
}

impl From<End> for Fate {
    fn from(end: End) -> Self {
        match end {
            End::Finished => Self::Answered,
            End::Lost => Self::Orphaned,
        }
    }
}

/// An instance that is not gone.
#[derive(Debug, Default)]
pub(crate) struct Instance {
    pub(crate) service: Option<Arc<str>>,
    pub(crate) silent: bool,
}

impl Facts {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// A span that is open or remembered.
    pub(crate) fn span(&self, id: SpanId) -> Option<&Span> {
        self.open
            .get(&id)
            .or_else(|| self.ended.get(&id).map(|ended| &ended.span))
    }

    /// All spans that are open or remembered.
    pub(crate) fn spans(&self) -> impl Iterator<Item = &Span> {
        self.open
            .values()
            .chain(self.ended.iter().map(|(_, ended)| &ended.span))
    }

    pub(crate) fn is_silent(&self, instance: InstanceId) -> bool {
        self.instances.get(&instance).is_some_and(|it| it.silent)
    }

    /// Whether members have contributed to the name within memory.
    pub(crate) fn had_members(&self, name: &Arc<str>) -> bool {
        self.pools.contains(name) || self.pools_forgotten_until.is_some()
    }

    /// The spans of an instance that are open, or should be and were refused.
    pub(crate) fn open_of(&self, instance: InstanceId) -> impl Iterator<Item = &Span> {
        let all = self.open.values().chain(self.refused.values());
        all.filter(move |span| span.instance == instance)
    }

    /// Whether every span that should be open is.
    pub(crate) fn is_complete(&self) -> bool {
        self.refused.is_empty() && self.refused_untold.is_empty()
    }

    /// Names an instance. Returns whether that changed anything.
    pub(crate) fn describe(&mut self, id: InstanceId, service: Arc<str>) -> bool {
        let Some(instance) = self.instance(id) else {
            return false;
        };
        let changed = instance.service.as_ref() != Some(&service);
        instance.service = Some(service);
        changed
    }

    /// Returns whether the event changed anything.
    pub(crate) fn apply(&mut self, now: Duration, event: &Event) -> bool {
        match event {
            Event::Started(span) => self.start(now, span.clone()),
            Event::Finished(id) => self.finish(now, *id),
            Event::Answered(id) => self.answer(now, *id),
            Event::InstanceSilent(id) => self.set_silent(*id, true),
            Event::InstanceBack(id) => self.set_silent(*id, false),
            Event::InstanceGone(id) => self.lose(now, *id),
        }
    }

    fn start(&mut self, now: Duration, span: Span) -> bool {
        // An instance that was taken to be gone is back under another number, and its span was never lost.
        let was_lost = |ended: &Ended| ended.end == End::Lost && ended.span.instance != span.instance;
        if self.ended.get(&span.id).is_some_and(was_lost) {
            let loops = Parents::of(self).loops_of(&BTreeSet::from([span.id]));
            self.ended.forget(&span.id);
            self.cut(loops);
        }
        if let Some(known) = self.span(span.id).or_else(|| self.refused.get(&span.id)) {
            self.anomalies.contradicting_starts += u64::from(!same_content(known, &span));
            return false;
        }
        self.anomalies.long_names += u64::from(oddities::is_wordy(&span));
        let is_gone = self.gone.contains(&span.instance);
        let has_instance = self.instance(span.instance).is_some();
        if has_instance {
            self.record_service(&span);
        }
        if self.early_finishes.forget(&span.id).is_some() {
            self.remember_end(now, span, End::Finished);
        } else if is_gone {
            self.anomalies.late_starts += 1;
            self.remember_end(now, span, End::Lost);
        } else if self.is_full() || !has_instance {
            return self.refuse(now, span);
        } else {
            self.open.insert(span.id, span);
        }
        true
    }

    /// A handle serves what it occupies. A member's handlers may all be too short to be reported.
    fn record_service(&mut self, span: &Span) {
        let (names, offers) = match &span.role {
            Role::Handle(handle) => (&handle.resources, handle.capacity.is_some()),
            Role::Member(member) => (&member.resources, false),
            Role::Call(_) | Role::Hold(_) | Role::Structural => return,
        };
        for name in names {
            self.anomalies.forgotten_early += self.served.record(name, span.instance, offers, self.limits.served);
        }
    }

    fn finish(&mut self, now: Duration, id: SpanId) -> bool {
        if let Some(span) = self.open.remove(&id).or_else(|| self.refused.remove(&id)) {
            self.remember_end(now, span, End::Finished);
            self.readmit();
            return true;
        }
        if let Some(ended) = self.ended.get_mut(&id) {
            let was_lost = ended.end == End::Lost;
            ended.end = End::Finished;
            return was_lost;
        }
        self.early_finishes.remember(now, id, ());
        false
    }

    fn answer(&mut self, now: Duration, id: SpanId) -> bool {
        let is_news = !self.answered.contains(&id);
        self.answered.remember(now, id, ());
        is_news
    }

    fn set_silent(&mut self, id: InstanceId, silent: bool) -> bool {
        let Some(instance) = self.instance(id) else {
            return false;
        };
        std::mem::replace(&mut instance.silent, silent) != silent
    }

    fn lose(&mut self, now: Duration, id: InstanceId) -> bool {
        self.gone.remember(now, id, ());
        self.served.forget(id);
        let was_known = self.instances.remove(&id).is_some();
        let was_complete = self.is_complete();
        self.refused_untold.remove(&id);
        let open = self.open.extract_if(.., |_, span| span.instance == id);
        let lost: Vec<Span> = open
            .chain(self.refused.extract_if(.., |_, span| span.instance == id))
            .map(|it| it.1)
            .collect();
        for span in lost {
            self.remember_end(now, span, End::Lost);
        }
        self.readmit();
        was_known || !was_complete
    }

    /// The instance, entered if it is new. `None` if it is gone, or one too many.
    fn instance(&mut self, id: InstanceId) -> Option<&mut Instance> {
        let has_room = self.instances.len() < self.limits.instances || self.instances.contains_key(&id);
        let is_welcome = has_room && !self.gone.contains(&id);
        is_welcome.then(|| self.instances.entry(id).or_default())
    }

    fn remember_end(&mut self, now: Duration, span: Span, end: End) {
        self.fates.remove(&span.id);
        if let Role::Member(member) = &span.role {
            for name in &member.resources {
                self.pools.remember(now, Arc::clone(name), ());
            }
        }
        self.ended.remember(now, span.id, Ended { span, end });
    }

    fn is_full(&self) -> bool {
        let limit = self.limits.open_spans;
        // Nobody has to count what is needed while all that is remembered would fit.
        self.open.len() + self.ended.len() >= limit && self.open.len() + self.needed_by_open().len() >= limit
    }

    /// What cannot be kept at all might be the handler of a call, so that call counts as answered: unknown is live.
    fn refuse(&mut self, now: Duration, span: Span) -> bool {
        self.anomalies.refused_starts += 1;
        if self.refused.len() < self.limits.refused {
            self.refused.insert(span.id, span);
        } else {
            self.refused_untold.insert(span.instance);
            if let Some(parent) = span.parent {
                self.answer(now, parent.id);
            }
        }
        true
    }

    fn readmit(&mut self) {
        while !self.is_full()
            && let Some((id, span)) = self.refused.pop_first()
        {
            if self.instance(span.instance).is_none() {
                self.refused.insert(id, span);
                return;
            }
            self.open.insert(id, span);
        }
    }
}

/// Forgetting.
impl Facts {
    /// Whether something should be forgotten before its minute is over.
    pub(crate) fn is_crowded(&self) -> bool {
        self.has_too_many_ended()
            || self.answered.len() > self.limits.answered
            || self.early_finishes.len() > self.limits.early_finishes
            || self.pools.len() > self.limits.pools
            || self.gone.len() > self.limits.instances
    }

    fn has_too_many_ended(&self) -> bool {
        let limit = self.limits.ended_spans;
        self.ended.len() > limit && self.ended.len() > limit + self.needed_by_open().len()
    }

    /// Whether there is something for [`Facts::expire`] to forget. Says so at most once a second.
    pub(crate) fn is_overdue(&mut self, now: Duration) -> bool {
        if self
            .expired_at
            .is_some_and(|at| now < at.saturating_add(EXPIRY_SPACING))
        {
            return false;
        }
        self.expired_at = Some(now);
        now.checked_sub(MEMORY_AGE).is_some_and(|cutoff| {
            self.ended.reaches_back_to(cutoff)
                || self.answered.reaches_back_to(cutoff)
                || self.early_finishes.reaches_back_to(cutoff)
                || self.pools.reaches_back_to(cutoff)
                || self.gone.reaches_back_to(cutoff)
                || self.pools_forgotten_until.is_some_and(|until| until <= now)
        })
    }

    /// Forgets what is older than a minute, except ended spans that open ones need. `links` must be those of `self`.
    pub(crate) fn expire(&mut self, now: Duration, links: &Links) {
        let Some(cutoff) = now.checked_sub(MEMORY_AGE) else {
            return;
        };
        let needed = self.needed_by_open();
        let parents = Parents::of(self);
        let ended = self.ended.forget_before(cutoff, |id| needed.contains(id));
        self.cut(parents.loops_of(&ended.iter().map(|(id, _)| *id).collect()));
        self.keep_fates_of_handlers(&ended, links);
        let answered = self.answered.forget_before(cutoff, |_| false);
        self.keep_answered(answered.iter().map(|(id, ())| *id), links);
        self.early_finishes.forget_before(cutoff, |_| false);
        self.pools.forget_before(cutoff, |_| false);
        self.gone.forget_before(cutoff, |_| false);
        self.pools_forgotten_until = self.pools_forgotten_until.filter(|until| *until > now);
        self.readmit();
    }

    /// Forgets the oldest where there is too much. `links` must be those of `self`.
    ///
    /// A start that comes late may need what is forgotten here, and a call would look queued for want of it. So every
    /// call above a forgotten span counts as answered: unknown is live.
    pub(crate) fn make_room(&mut self, now: Duration, links: &Links) {
        let mut forgotten = 0;
        if self.has_too_many_ended() {
            let needed = self.needed_by_open();
            let parents = Parents::of(self);
            let ended = self
                .ended
                .make_room(self.limits.ended_spans + needed.len(), |id| needed.contains(id));
            self.cut(parents.loops_of(&ended.iter().map(|(id, _)| *id).collect()));
            forgotten += ended.len();
            self.keep_fates_of_handlers(&ended, links);
            self.keep_answered(ended.iter().map(|(id, _)| *id), links);
        }
        if self.answered.len() > self.limits.answered {
            let answered = self.answered.make_room(self.limits.answered, |_| false);
            forgotten += answered.len();
            self.keep_answered(answered.iter().map(|(id, ())| *id), links);
        }
        if self.early_finishes.len() > self.limits.early_finishes {
            forgotten += self
                .early_finishes
                .make_room(self.limits.early_finishes, |_| false)
                .len();
        }
        if self.pools.len() > self.limits.pools {
            forgotten += self.pools.make_room(self.limits.pools, |_| false).len();
            self.pools_forgotten_until = Some(now.saturating_add(MEMORY_AGE));
        }
        if self.gone.len() > self.limits.instances {
            forgotten += self.gone.make_room(self.limits.instances, |_| false).len();
        }
        self.anomalies.forgotten_early += forgotten as u64;
    }

    /// The ended spans that lie above open ones, and those that these name as their task. An ended handle is the last
    /// that is needed of a chain: whoever is below it asks for nothing above it.
    fn needed_by_open(&self) -> BTreeSet<SpanId> {
        let parents = Parents::of(self);
        let above = |span: &Span| parents.parent(span).map(|parent| parent.id);
        let mut needed = BTreeSet::new();
        let mut next: Vec<SpanId> = self
            .open
            .values()
            .flat_map(|span| above(span).into_iter().chain(span.task))
            .collect();
        while let Some(id) = next.pop() {
            if let Some(ended) = self.ended.get(&id)
                && needed.insert(id)
                && !matches!(ended.span.role, Role::Handle(_))
            {
                next.extend(above(&ended.span));
            }
        }
        needed
    }

    /// Forgetting a span of a loop leaves the others as they are.
    fn cut(&mut self, members: BTreeSet<SpanId>) {
        self.cut.extend(members);
        let Self { cut, open, ended, .. } = self;
        cut.retain(|id| open.contains_key(id) || ended.contains(id));
    }

    fn keep_fates_of_handlers(&mut self, ended: &[(SpanId, Ended)], links: &Links) {
        for (id, ended) in ended {
            for call in links.answered_by(*id) {
                self.keep_fate(*call, ended.end.into());
            }
        }
    }

    fn keep_answered(&mut self, stand_ins: impl Iterator<Item = SpanId>, links: &Links) {
        for stand_in in stand_ins {
            for call in links.calls_for(stand_in) {
                self.keep_fate(call, Fate::Answered);
            }
        }
    }

    fn keep_fate(&mut self, call: SpanId, fate: Fate) {
        if self.open.contains_key(&call) {
            let kept = self.fates.entry(call).or_insert(fate);
            *kept = fate.max(*kept);
        }
    }
}

/// Whether two starts say the same. When it started is told by its age and so never exactly the same twice.
fn same_content(one: &Span, other: &Span) -> bool {
    let Span {
        id,
        trace,
        instance,
        parent,
        task,
        name,
        conversation,
        role,
        started_at: _,
    } = one;
    *id == other.id
        && *trace == other.trace
        && *instance == other.instance
        && *parent == other.parent
        && *task == other.task
        && *name == other.name
        && *conversation == other.conversation
        && *role == other.role
}
