//! Who belongs to whom: which calls are waits, which task a span belongs to, which call a handle answers.
//!
//! Everything here follows parents:
//!
//! ```text
//!   client (instance 1)                          server (instance 2)
//!   ───────────────────                          ───────────────────
//!   handle ◀─────┐  the task of the call
//!     structural │
//!       call ────┴──── a wait ◀────────────────┐
//!         structural                           │ answers
//!           call      part of the same wait    │
//!             structural ◀── remote parent ── handle      a task
//!                                               handle    the same task
//! ```
//!
//! Nothing is known here of resources, nor of what is live.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use standoff_wait_graph::{InstanceId, Role, Span, SpanId};

use super::chains::inherit;
use super::facts::{Facts, Fate};
use super::parents::Parents;

/// The identity of a task: the span that stands for it. Together with its instance, since that span may be unseen, and
/// two instances that claim the same unseen span do not share a thread of control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskId {
    pub(crate) span: SpanId,
    pub(crate) instance: InstanceId,
}

/// How far above a call a handler of its conversation is looked for. A conversation passes a few services; hints that
/// lead in circles end here too.
const ANCESTORS_MAX: usize = 1000;

/// All links between the spans of one set of facts.
#[derive(Debug)]
pub(crate) struct Links {
    parents: Parents,
    /// For each known span the nearest call or handle at or above it in its instance.
    landmarks: BTreeMap<SpanId, SpanId>,
    /// For each known call the wait that it is part of: the outermost open call of those directly inside one another.
    waits: BTreeMap<SpanId, SpanId>,
    /// The task of each wait, open hold and open handle.
    tasks: BTreeMap<SpanId, TaskId>,
    /// The open handles that answer each wait.
    handlers: BTreeMap<SpanId, Vec<SpanId>>,
    /// The calls that each ended handle answered.
    answered_by: BTreeMap<SpanId, Vec<SpanId>>,
    /// What handlers that have ended mean for each wait.
    fates: BTreeMap<SpanId, Fate>,
    /// For each wait all spans at which it is found. Only needed where there is a deadlock, so not before somebody asks.
    stand_ins: OnceCell<BTreeMap<SpanId, Vec<SpanId>>>,
    /// Waits that may or may not be those that an open handle answers.
    uncertain: BTreeSet<SpanId>,
    /// Open handles of which it is not certain what they answer.
    pub(crate) ambiguous_handles: u64,
}

/// Where a span runs.
#[derive(Clone, Copy)]
enum Home {
    /// In this handle, or under this detached call.
    Under(SpanId),
    /// In no handler: this is its topmost ancestor.
    Topmost(SpanId),
}

impl Links {
    pub(crate) fn of(facts: &Facts) -> Self {
        let parents = Parents::of(facts);
        let landmarks = landmarks(facts, &parents);
        let waits = waits(facts, &parents, &landmarks);
        let homes = homes(facts, &parents);
        let outermost_handles = outermost_handles(facts, &parents, &landmarks);
        let tasks = tasks(facts, &waits, &homes, &outermost_handles);
        let mut links = Self {
            parents,
            landmarks,
            waits,
            tasks,
            handlers: BTreeMap::new(),
            answered_by: BTreeMap::new(),
            fates: BTreeMap::new(),
            stand_ins: OnceCell::new(),
            uncertain: BTreeSet::new(),
            ambiguous_handles: 0,
        };
        links.add_handlers(facts);
        links.add_fates(facts);
        links
    }

    /// How many open spans have parents that lead back to them.
    pub(crate) fn open_on_loops(&self, facts: &Facts) -> usize {
        facts.open.keys().filter(|id| self.parents.is_on_loop(**id)).count()
    }

    /// The open calls that are waits.
    pub(crate) fn waits(&self) -> impl Iterator<Item = SpanId> {
        self.waits
            .iter()
            .filter(|(call, wait)| call == wait)
            .map(|(call, _)| *call)
    }

    /// The wait for which a span may stand as the parent of a handler.
    pub(crate) fn wait_at(&self, id: SpanId) -> Option<SpanId> {
        self.landmarks
            .get(&id)
            .and_then(|landmark| self.waits.get(landmark))
            .copied()
    }

    /// The open calls that are answered if this call, or the call above this structural span, is.
    pub(crate) fn calls_for(&self, id: SpanId) -> impl Iterator<Item = SpanId> {
        let call = self
            .landmarks
            .get(&id)
            .filter(|landmark| self.waits.contains_key(landmark));
        call.copied().into_iter().chain(self.wait_at(id))
    }

    /// All spans that may be the parent of a handler that answers this call.
    pub(crate) fn stand_ins(&self, call: SpanId) -> &[SpanId] {
        let all = self.stand_ins.get_or_init(|| {
            let mut all: BTreeMap<SpanId, Vec<SpanId>> = BTreeMap::new();
            for id in self.landmarks.keys().copied() {
                if let Some(wait) = self.wait_at(id) {
                    all.entry(wait).or_default().push(id);
                }
            }
            all
        });
        self.wait_at(call)
            .and_then(|wait| all.get(&wait))
            .map_or(&[], Vec::as_slice)
    }

    pub(crate) fn task(&self, span: SpanId) -> Option<TaskId> {
        self.tasks.get(&span).copied()
    }

    /// The open handles that answer a wait.
    pub(crate) fn handlers(&self, wait: SpanId) -> &[SpanId] {
        self.handlers.get(&wait).map_or(&[], Vec::as_slice)
    }

    /// The calls that an ended handle answered.
    pub(crate) fn answered_by(&self, handle: SpanId) -> &[SpanId] {
        self.answered_by.get(&handle).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn fate(&self, wait: SpanId) -> Option<Fate> {
        self.fates.get(&wait).copied()
    }

    pub(crate) fn is_uncertain(&self, wait: SpanId) -> bool {
        self.uncertain.contains(&wait)
    }

    fn add_handlers(&mut self, facts: &Facts) {
        let conversations = self.conversations(facts);
        let crowded = self.crowded(facts, &conversations);
        for span in facts.spans().filter(|span| matches!(span.role, Role::Handle(_))) {
            let parent = self.parents.parent(span);
            let by_parent = parent.and_then(|parent| self.wait_at(parent.id));
            let is_crowded = parent.and_then(|parent| self.wait_at(parent.id)).is_none()
                && span.conversation.as_ref().is_some_and(|name| crowded.contains(name));
            let by_conversation = || {
                let named = span.conversation.as_ref().and_then(|name| conversations.get(name));
                let named = named.filter(|_| !is_crowded);
                // A conversation may go on through the handler: no call that it has caused is one that it answers.
                let named = named.into_iter().flatten().copied();
                named
                    .filter(|wait| !is_beneath(facts, &self.parents, *wait, span.id))
                    .collect()
            };
            let answered: Vec<SpanId> = by_parent.map_or_else(by_conversation, |wait| vec![wait]);
            if !facts.open.contains_key(&span.id) {
                let direct = parent
                    .into_iter()
                    .flat_map(|parent| self.calls_for(parent.id))
                    .collect::<Vec<_>>();
                self.answered_by.insert(span.id, [answered, direct].concat());
            } else if is_crowded {
                self.ambiguous_handles += 1;
            } else if answered.len() > 1 {
                self.ambiguous_handles += 1;
                self.uncertain.extend(answered);
            } else {
                for wait in answered {
                    self.handlers.entry(wait).or_default().push(span.id);
                }
            }
        }
    }

    /// The conversations with more pairs of a wait and a handle than are looked at. It is not certain of any of their
    /// calls whether it is answered.
    fn crowded<'a>(
        &mut self,
        facts: &'a Facts,
        conversations: &BTreeMap<&'a Arc<str>, BTreeSet<SpanId>>,
    ) -> BTreeSet<&'a Arc<str>> {
        let mut handles: BTreeMap<_, usize> = BTreeMap::new();
        for span in facts.spans().filter(|span| matches!(span.role, Role::Handle(_))) {
            let wait = self.parents.parent(span).and_then(|parent| self.wait_at(parent.id));
            if let (Some(name), None) = (&span.conversation, wait) {
                *handles.entry(name).or_default() += 1;
            }
        }
        let pairs = |name, waits: usize| waits * handles.get(name).copied().unwrap_or(0);
        let crowded = conversations
            .iter()
            .filter(|(name, waits)| pairs(*name, waits.len()) > facts.limits.conversation_pairs);
        let crowded: BTreeMap<_, _> = crowded.collect();
        self.uncertain
            .extend(crowded.values().flat_map(|waits| waits.iter().copied()));
        crowded.into_keys().copied().collect()
    }

    /// The waits of each conversation.
    fn conversations<'a>(&self, facts: &'a Facts) -> BTreeMap<&'a Arc<str>, BTreeSet<SpanId>> {
        let mut conversations: BTreeMap<_, BTreeSet<SpanId>> = BTreeMap::new();
        for span in facts.open.values().filter(|span| is_call(span)) {
            if let (Some(name), Some(wait)) = (&span.conversation, self.waits.get(&span.id)) {
                conversations.entry(name).or_default().insert(*wait);
            }
        }
        conversations
    }

    fn add_fates(&mut self, facts: &Facts) {
        let of_handles = facts
            .ended
            .iter()
            .flat_map(|(id, ended)| self.answered_by(*id).iter().map(|call| (*call, Fate::from(ended.end))));
        let said = facts.answered.iter().map(|(id, ())| (*id, Fate::Answered));
        let kept = facts.fates.iter().map(|(call, fate)| (*call, *fate));
        let all: Vec<(SpanId, Fate)> = of_handles.chain(said).chain(kept).collect();
        for (id, fate) in all {
            if let Some(wait) = self.wait_at(id) {
                let known = self.fates.entry(wait).or_insert(fate);
                *known = fate.max(*known);
            }
        }
    }
}

/// Structural spans, holds and members neither run nor wait for anything: chains go through them.
fn is_link(span: &Span) -> bool {
    match span.role {
        Role::Structural | Role::Hold(_) | Role::Member(_) => true,
        Role::Call(_) | Role::Handle(_) => false,
    }
}

fn is_call(span: &Span) -> bool {
    matches!(span.role, Role::Call(_))
}

fn is_detached(span: &Span) -> bool {
    matches!(&span.role, Role::Call(call) if call.detached)
}

fn is_handle(span: &Span) -> bool {
    matches!(span.role, Role::Handle(_))
}

/// Whether one span is above another, in whatever instance.
fn is_beneath(facts: &Facts, parents: &Parents, id: SpanId, above: SpanId) -> bool {
    let up = |span: &&Span| parents.above(facts, span).or_else(|| facts.span(span.task?));
    std::iter::successors(facts.span(id), up)
        .take(ANCESTORS_MAX)
        .skip(1)
        .any(|span| span.id == above)
}

/// For each known span the nearest call or handle at or above it, through the links of its instance.
fn landmarks(facts: &Facts, parents: &Parents) -> BTreeMap<SpanId, SpanId> {
    let above = |id| {
        facts
            .span(id)
            .filter(|span| is_link(span))
            .and_then(|span| parents.local(facts, span))
    };
    let value = |id, above: Option<SpanId>| {
        if facts.span(id).is_some_and(is_link) {
            above
        } else {
            Some(id)
        }
    };
    inherit(
        facts.spans().map(|span| span.id),
        |id| above(id).map(|span| span.id),
        value,
    )
}

/// The nearest call or handle above a span in its instance.
fn landmark_above<'a>(
    facts: &'a Facts,
    parents: &Parents,
    landmarks: &BTreeMap<SpanId, SpanId>,
    span: &Span,
) -> Option<&'a Span> {
    landmarks
        .get(&parents.local(facts, span)?.id)
        .and_then(|id| facts.span(*id))
}

/// For each known call the outermost open one of those directly inside one another.
///
/// A detached call is a task of its own, so it is nobody's inner call.
fn waits(facts: &Facts, parents: &Parents, landmarks: &BTreeMap<SpanId, SpanId>) -> BTreeMap<SpanId, SpanId> {
    let outer = |id| {
        let inner = facts.span(id).filter(|span| !is_detached(span))?;
        landmark_above(facts, parents, landmarks, inner)
            .filter(|span| is_call(span))
            .map(|span| span.id)
    };
    let outermost = |id, above: Option<SpanId>| above.or(facts.open.contains_key(&id).then_some(id));
    inherit(
        facts.spans().filter(|span| is_call(span)).map(|span| span.id),
        outer,
        outermost,
    )
}

/// For each open handle the outermost open one of those directly inside one another.
fn outermost_handles(
    facts: &Facts,
    parents: &Parents,
    landmarks: &BTreeMap<SpanId, SpanId>,
) -> BTreeMap<SpanId, SpanId> {
    let outer = |id| {
        let above = landmark_above(facts, parents, landmarks, facts.open.get(&id)?)?;
        (is_handle(above) && facts.open.contains_key(&above.id)).then_some(above.id)
    };
    let open = facts.open.values().filter(|span| is_handle(span)).map(|span| span.id);
    inherit(open, outer, |id, above| above.or(Some(id)))
}

/// Where each open span runs.
fn homes(facts: &Facts, parents: &Parents) -> BTreeMap<SpanId, Home> {
    let is_root = |span: &Span| is_handle(span) || is_detached(span);
    // A hint counts if it names a handle or detached call of the same instance, open or remembered.
    let hinted = |span: &Span| {
        let hint = facts.span(span.task?)?;
        (is_root(hint) && hint.instance == span.instance && hint.id != span.id).then_some(hint.id)
    };
    let above = |id| {
        let span = facts.span(id).filter(|span| !is_root(span) && hinted(span).is_none())?;
        parents.local(facts, span).map(|above| above.id)
    };
    let home = |id, above: Option<Home>| {
        let span = facts.span(id)?;
        if is_root(span) {
            return Some(Home::Under(id));
        }
        if let Some(hint) = hinted(span) {
            return Some(Home::Under(hint));
        }
        // Spans under the same unseen local parent run together.
        let unseen = parents
            .parent(span)
            .filter(|parent| !parent.remote && facts.span(parent.id).is_none());
        above.or(Some(Home::Topmost(unseen.map_or(id, |parent| parent.id))))
    };
    inherit(facts.open.keys().copied(), above, home)
}

/// The task of each wait, open hold and open handle.
fn tasks(
    facts: &Facts,
    waits: &BTreeMap<SpanId, SpanId>,
    homes: &BTreeMap<SpanId, Home>,
    outermost_handles: &BTreeMap<SpanId, SpanId>,
) -> BTreeMap<SpanId, TaskId> {
    let mut tasks = BTreeMap::new();
    for span in facts.open.values() {
        let is_inner_call = is_call(span) && waits.get(&span.id) != Some(&span.id);
        if is_inner_call || matches!(span.role, Role::Structural | Role::Member(_)) {
            continue;
        }
        let id = match homes.get(&span.id).copied().unwrap_or(Home::Topmost(span.id)) {
            Home::Topmost(id) => id,
            Home::Under(root) if facts.open.contains_key(&root) => {
                outermost_handles.get(&root).copied().unwrap_or(root)
            }
            // What its handler has left behind: a call waits for itself alone, a hold stays with the ended handler.
            Home::Under(_) if is_call(span) => span.id,
            Home::Under(root) => root,
        };
        tasks.insert(
            span.id,
            TaskId {
                span: id,
                instance: span.instance,
            },
        );
    }
    tasks
}
