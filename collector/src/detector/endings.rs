//! What becomes of spans of which only the end is told.
//!
//! Nearly all of them concern nobody, and only [`crate::ended`] hears of them. The graph is told of those that stand above
//! what it knows, as spans that have ended, and what follows from them is its own business:
//!
//! ```text
//!   call ◀── structural ◀── structural ◀── handle       all but the call told at their ends only, in any order
//!     │           └─ known to the graph once it names or knows both neighbours
//!     └─ answered, once the walk up from the handle arrives here
//! ```
//!
//! - A span that the graph names (as somebody's parent, or as the handle that he runs under) is entered, and the span above
//!   that likewise.
//! - From a handle that has ended it is walked up, through what has ended of the instance in which its caller is. If that
//!   arrives at something that the graph knows, it says that it was answered. If it arrives at a span of which nothing was
//!   heard, a mark stays there, and is redeemed when that span starts, or moves on when its end is told.
//! - A handle without a caller that is known answers by its conversation: it is entered if a call of that is open, or when
//!   one starts.
//!
//! Whatever is entered is true, so it does not matter what comes first.

use std::sync::Arc;
use std::time::Duration;

use standoff_protocol::api::Resolution;
use standoff_protocol::stream::{self, Ended};
use standoff_wait_graph::{
    Call, Event, Handle, Hold, InstanceId, Member, Mention, Parent, Role, Span, SpanId, TraceId,
};

use super::Detector;
use crate::ended::{EndedSpan, News};

/// The most spans that one walk passes. As many as the library keeps beneath one call.
const WALK_MAX: usize = 256;

/// How many are looked at together before the first of them is taken in.
const TOGETHER: usize = 32;

/// Of a span that has started, what may lead to spans that have ended.
#[derive(Debug)]
pub(super) struct Beginning {
    id: SpanId,
    instance: InstanceId,
    parent: Option<SpanId>,
    task: Option<SpanId>,
    /// Of a call.
    conversation: Option<Arc<str>>,
}

impl Beginning {
    pub(super) fn of(span: &Span) -> Self {
        let is_call = matches!(span.role, Role::Call(_));
        Self {
            id: span.id,
            instance: span.instance,
            parent: span.parent.map(|parent| parent.id),
            task: span.task,
            conversation: span.conversation.clone().filter(|_| is_call),
        }
    }
}

impl Detector {
    /// Spans have ended of whose start nothing was said.
    pub(super) fn ended_all(&mut self, now: Duration, instance: InstanceId, ended: &[Ended]) {
        self.events_total += ended.len() as u64;
        for together in ended.chunks(TOGETHER) {
            self.ended.look_ahead(together.iter().map(|it| SpanId(it.span_id)));
            for it in together {
                self.ended(now, instance, it);
            }
        }
    }

    fn ended(&mut self, now: Duration, instance: InstanceId, ended: &Ended) {
        let span = EndedSpan {
            id: SpanId(ended.span_id),
            parent: (ended.parent_span_id != 0).then_some(Parent {
                id: SpanId(ended.parent_span_id),
                remote: ended.parent_is_remote,
            }),
            instance,
            role: ended.role(),
        };
        let is_handle = span.role == stream::Role::Handle;
        let conversation = (is_handle && !ended.conversation_id.is_empty()).then_some(&*ended.conversation_id);
        match self.graph.mention(span.id) {
            Mention::Open => self.ended_after_all(now, span.id),
            Mention::Ended => {}
            Mention::Named => {
                self.enter(now, &span, conversation);
                if self.ended.take_marks(span.id, instance) {
                    self.apply(now, &Event::Answered(span.id), Resolution::Finished);
                }
                self.enter_above(now, &span);
            }
            Mention::Nothing if conversation.is_some_and(|it| self.graph.converses(it)) => {
                self.enter(now, &span, conversation);
                self.enter_above(now, &span);
            }
            Mention::Nothing => match self.ended.remember(now, span) {
                News::Nothing => {}
                News::Ended | News::EndedAboveHandler if is_handle => {
                    if let Some(conversation) = conversation {
                        self.ended.converse(now, conversation, span);
                    }
                    if let Some(parent) = span.parent {
                        self.answer_above(now, parent.id, None);
                    }
                }
                News::Ended => {}
                News::EndedAboveHandler => self.answer_beyond(now, span),
            },
        }
    }

    /// A span that is open has ended. Whoever can be asked tells how it did.
    fn ended_after_all(&mut self, now: Duration, id: SpanId) {
        let owner = self.graph.span(id).map(|span| span.instance());
        if owner.is_none_or(|owner| !self.instances.answers(owner)) {
            self.apply(now, &Event::Finished(id), Resolution::Finished);
        }
    }

    /// The graph is told of a span that has ended.
    fn enter(&mut self, now: Duration, ended: &EndedSpan, conversation: Option<&str>) {
        // First its end, so that it is never open.
        self.apply(now, &Event::Finished(ended.id), Resolution::Finished);
        let span = Span {
            id: ended.id,
            trace: TraceId::default(),
            instance: ended.instance,
            parent: ended.parent,
            task: None,
            name: "".into(),
            conversation: conversation.map(Into::into),
            role: role(ended.role),
            started_at: now,
        };
        self.apply(now, &Event::Started(span), Resolution::Finished);
    }

    /// What has ended above a span that the graph has just been told of is entered, too.
    fn enter_above(&mut self, now: Duration, ended: &EndedSpan) {
        self.enter_named(now, ended.parent.map(|parent| parent.id));
    }

    fn enter_named(&mut self, now: Duration, named: Option<SpanId>) {
        let mut next = named;
        for _ in 0..WALK_MAX {
            let Some(id) = next.filter(|id| self.graph.mention(*id) == Mention::Named) else {
                return;
            };
            let Some(ended) = self.ended.get(id) else { return };
            self.ended.pass(id);
            self.enter(now, &ended, None);
            next = ended.parent.map(|parent| parent.id);
        }
    }

    /// A handler has ended beneath this link, and whatever the link is beneath of in its own instance was answered.
    fn answer_beyond(&mut self, now: Duration, link: EndedSpan) {
        if let Some(parent) = link.parent.filter(|parent| !parent.remote) {
            self.answer_above(now, parent.id, Some(link));
        }
    }

    /// A handler has ended beneath a span, and beneath that link to it, if one is given.
    fn answer_above(&mut self, now: Duration, above: SpanId, link: Option<EndedSpan>) {
        let (mut above, mut link) = (above, link);
        for _ in 0..WALK_MAX {
            if matches!(self.graph.mention(above), Mention::Open | Mention::Ended) {
                let answered = link.map_or(above, |link| {
                    // Whether it leads there is for the graph to say.
                    self.enter(now, &link, None);
                    link.id
                });
                return self.apply(now, &Event::Answered(answered), Resolution::Finished);
            }
            let Some(ended) = self.ended.get(above) else {
                return self.ended.mark(now, above, link.map(|link| link.instance));
            };
            let is_elsewhere = link.is_some_and(|link| link.instance != ended.instance);
            let Some(parent) = ended.parent.filter(|parent| !parent.remote) else {
                return;
            };
            if ended.role == stream::Role::Handle || is_elsewhere {
                return;
            }
            (above, link) = (parent.id, Some(ended));
        }
    }

    /// What is to be known of spans before they start: the ends of those that have ended already.
    pub(super) fn ended_before(&self, spans: &[Span]) -> Vec<SpanId> {
        if self.ended.is_empty() {
            return Vec::new();
        }
        self.ended.look_ahead(spans.iter().map(|span| span.id));
        let ids = spans.iter().map(|span| span.id);
        ids.filter(|id| self.ended.get(*id).is_some()).collect()
    }

    /// Those of the spans that are about to start to which something may belong that has ended. What is known has been
    /// through this before.
    pub(super) fn beginnings(&self, spans: &[Span]) -> Vec<Beginning> {
        if self.ended.is_empty() {
            return Vec::new();
        }
        let is_news = |span: &&Span| matches!(self.graph.mention(span.id), Mention::Nothing | Mention::Named);
        spans.iter().filter(is_news).map(Beginning::of).collect()
    }

    /// Spans have started: what has ended may belong to them.
    pub(super) fn begun(&mut self, now: Duration, beginnings: Vec<Beginning>) {
        for it in beginnings {
            if self.ended.take_marks(it.id, it.instance) {
                self.apply(now, &Event::Answered(it.id), Resolution::Finished);
            }
            // A handler with what is known of it, before it is entered as one that is merely above.
            if let Some(conversation) = it.conversation {
                for (handler, is_certain) in self.ended.handlers(&conversation) {
                    self.converse(now, it.id, (&handler, is_certain), &conversation);
                }
            }
            self.enter_named(now, it.parent);
            self.enter_named(now, it.task);
        }
    }

    /// A handler has ended in the conversation of a call.
    fn converse(&mut self, now: Duration, call: SpanId, (handler, is_certain): (&EndedSpan, bool), conversation: &str) {
        match self.graph.mention(handler.id) {
            Mention::Nothing | Mention::Named => {
                self.enter(now, handler, Some(conversation));
                self.enter_above(now, handler);
            }
            // The graph knows its conversation.
            Mention::Open => {}
            Mention::Ended if is_certain => {}
            // It was entered without, and nobody can say whether it has caused the call or answers it.
            Mention::Ended => self.apply(now, &Event::Answered(call), Resolution::Finished),
        }
    }
}

/// What is left of a role when nothing but the end is told.
fn role(role: stream::Role) -> Role {
    let resources = vec![];
    match role {
        stream::Role::Structural => Role::Structural,
        stream::Role::Call => Role::Call(Call {
            target: None,
            units: 1,
            group: None,
            detached: false,
            timeout: None,
        }),
        stream::Role::Handle => Role::Handle(Handle::default()),
        stream::Role::Hold => Role::Hold(Hold {
            resources,
            capacity: None,
            units: 1,
        }),
        stream::Role::Member => Role::Member(Member { resources, units: 1 }),
    }
}
