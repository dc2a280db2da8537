//! How what a helper knows of the span that it starts comes to the span processor.
//!
//! The processor would otherwise have to take the SDK's copy of the whole span to learn it. The helper leaves the facts
//! on its thread while it starts the span, and the processor, which the SDK calls on the same thread, takes them from
//! there. They belong to the span that is started in the helper's own [`Context`]: the very same one, not one that equals
//! it. Spans that other processors start meanwhile have others, with one exception, which is found out afterwards.

use std::cell::RefCell;

use opentelemetry::Context;
use opentelemetry::trace::SpanId;

use crate::record::Facts;

thread_local! {
    /// What the innermost helper is starting on this thread.
    static STARTING: RefCell<Option<Starting>> = const { RefCell::new(None) };
}

struct Starting {
    /// Where the helper's context is. Only ever compared.
    parent: usize,
    facts: Result<Facts, Taken>,
}

/// Who has taken the facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The agent whose processor it was.
    pub(crate) agent: u64,
    pub(crate) span_id: SpanId,
}

/// Starts a span with facts at hand for its processor. Returns also who has taken them: another span than the one that
/// was to be started, if another processor has started it in the very context that was handed to it.
#[inline(always)]
pub(crate) fn with_facts<S>(facts: Facts, parent: &Context, start: impl FnOnce() -> S) -> (S, Option<Taken>) {
    let parent = address(parent);
    // A thread that is ending keeps nothing.
    let around = STARTING.try_with(|starting| {
        let mut starting = starting.borrow_mut();
        // A start within a start is rare: a processor that makes calls.
        let outer = if starting.is_some() {
            starting.take().map(Box::new)
        } else {
            None
        };
        *starting = Some(Starting {
            parent,
            facts: Ok(facts),
        });
        Around { outer }
    });
    let started = start();
    (started, around.ok().and_then(Around::leave))
}

/// The facts of a span that is being started in `parent`, if a helper does so. Only the first to ask gets them.
#[inline]
pub(crate) fn take(parent: &Context, taken: Taken) -> Option<Facts> {
    let take = |starting: &RefCell<Option<Starting>>| {
        let mut starting = starting.try_borrow_mut().ok()?;
        let starting = starting
            .as_mut()
            .filter(|starting| starting.parent == address(parent))?;
        if starting.facts.is_err() {
            return None;
        }
        std::mem::replace(&mut starting.facts, Err(taken)).ok()
    };
    // A thread that is ending has none.
    STARTING.try_with(take).ok().flatten()
}

fn address(context: &Context) -> usize {
    std::ptr::from_ref(context).addr()
}

/// Puts back what was being started around a start, also when that ends in a panic.
struct Around {
    outer: Option<Box<Starting>>,
}

impl Around {
    fn leave(self) -> Option<Taken> {
        let taken = |starting: &RefCell<Option<Starting>>| match &starting.borrow().as_ref()?.facts {
            Ok(_) => None,
            Err(taken) => Some(*taken),
        };
        STARTING.try_with(taken).ok().flatten()
    }
}

impl Drop for Around {
    fn drop(&mut self) {
        let outer = self.outer.take();
        let restore = |starting: &RefCell<Option<Starting>>| match outer {
            None => *starting.borrow_mut() = None,
            Some(outer) => *starting.borrow_mut() = Some(*outer),
        };
        STARTING.try_with(restore).ok();
    }
}
