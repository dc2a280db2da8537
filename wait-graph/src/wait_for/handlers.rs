//! Which tasks handle which waits.

use crate::deadlock::CallState;

use super::decide::Suspect;
use super::ids::{Slot, TaskIx, WaitIx};
use super::picture::Picture;
use super::records::{Edge, SPILLED, Wait};
use super::rows::{Chained, Links, NONE, Rows};

/// What one task handles.
struct Handled<'a>(&'a mut Rows<Wait>, &'a mut Rows<Edge>);

impl Chained for Handled<'_> {
    fn links(&mut self, node: u32) -> &mut Links {
        if node & SPILLED == 0 {
            &mut self.0[node].neighbours
        } else {
            &mut self.1[node & !SPILLED].of_task
        }
    }
}

/// The handlers of one wait but the first.
struct MoreHandlers<'a>(&'a mut Rows<Edge>);

impl Chained for MoreHandlers<'_> {
    fn links(&mut self, node: u32) -> &mut Links {
        &mut self.0[node].of_wait
    }
}

/// Stands before the first handler of a wait.
pub(super) const FIRST: u32 = NONE - 1;

impl Picture {
    /// Precondition: this span does not handle this wait yet.
    pub(crate) fn add_handler(&mut self, wait: WaitIx, task: TaskIx, span: Slot) {
        let (wait, task) = (wait.0, task.0);
        self.touch_wait(wait);
        let before = self.waits[wait].state();
        if before == CallState::Queued {
            self.leave_queue(wait);
        }
        self.link_handler(wait, task, span);
        self.refresh_wait(wait);
        // One more handler makes it no harder.
        if before != CallState::Accepted {
            self.suspect(Suspect::Wait(wait));
        }
    }

    /// Precondition: this span handles this wait.
    pub(crate) fn remove_handler(&mut self, wait: WaitIx, span: Slot) {
        self.touch_wait(wait.0);
        self.unlink_handler(wait.0, span);
        self.requeue(wait.0);
    }

    fn link_handler(&mut self, wait: u32, task: u32, span: Slot) {
        self.waits[wait].live_handlers += u32::from(!self.tasks[task].is_dead);
        if self.waits[wait].handler == NONE {
            self.waits[wait].handler = task;
            self.waits[wait].handler_span = span;
            Handled(&mut self.waits, &mut self.edges).push(&mut self.tasks[task].first_handled, wait);
            return;
        }
        let edge = self.edges.insert(Edge {
            wait,
            task,
            span,
            of_wait: Links::NONE,
            of_task: Links::NONE,
        });
        self.edge_of.insert((wait, span), edge);
        MoreHandlers(&mut self.edges).push(&mut self.waits[wait].more_handlers, edge);
        Handled(&mut self.waits, &mut self.edges).push(&mut self.tasks[task].first_handled, edge | SPILLED);
    }

    /// Takes a handler away, whatever follows from it for the wait.
    pub(super) fn unlink_handler(&mut self, wait: u32, span: Slot) {
        let row = &self.waits[wait];
        debug_assert!(row.handler != NONE, "it has no handlers");
        let task = if row.handler_span == span {
            let task = row.handler;
            Handled(&mut self.waits, &mut self.edges).take_out(&mut self.tasks[task].first_handled, wait);
            self.waits[wait].handler = NONE;
            self.waits[wait].handler_span = Slot(NONE);
            let next = self.waits[wait].more_handlers;
            if next != NONE {
                self.promote(next);
            }
            task
        } else if let Some(edge) = self.edge_of.get(&(wait, span)) {
            self.remove_edge(*edge)
        } else {
            debug_assert!(false, "it does not handle this");
            return;
        };
        self.waits[wait].live_handlers -= u32::from(!self.tasks[task].is_dead);
    }

    /// Makes another handler the first.
    fn promote(&mut self, edge: u32) {
        let Edge { wait, span, .. } = self.edges[edge];
        let task = self.remove_edge(edge);
        self.waits[wait].handler = task;
        self.waits[wait].handler_span = span;
        Handled(&mut self.waits, &mut self.edges).push(&mut self.tasks[task].first_handled, wait);
    }

    /// The task whose edge it was.
    fn remove_edge(&mut self, edge: u32) -> u32 {
        let Edge { wait, task, span, .. } = self.edges[edge];
        MoreHandlers(&mut self.edges).take_out(&mut self.waits[wait].more_handlers, edge);
        Handled(&mut self.waits, &mut self.edges).take_out(&mut self.tasks[task].first_handled, edge | SPILLED);
        self.edge_of.remove(&(wait, span));
        self.edges.remove(edge);
        task
    }

    /// The next handler of a wait: where it is, its task, its span.
    pub(super) fn handler_after(&self, wait: u32, place: u32) -> Option<(u32, u32, Slot)> {
        let row = &self.waits[wait];
        let next = match place {
            FIRST if row.handler == NONE => return None,
            FIRST => return Some((SPILLED, row.handler, row.handler_span)),
            SPILLED => row.more_handlers,
            edge => self.edges[edge].of_wait.next,
        };
        (next != NONE).then(|| (next, self.edges[next].task, self.edges[next].span))
    }

    /// The next of what a task handles: where it is, the wait, the span by which it handles it.
    pub(super) fn handled_after(&self, task: u32, place: u32) -> Option<(u32, u32, Slot)> {
        let next = match place {
            FIRST => self.tasks[task].first_handled,
            edge if edge & SPILLED != 0 => self.edges[edge & !SPILLED].of_task.next,
            wait => self.waits[wait].neighbours.next,
        };
        if next == NONE {
            None
        } else if next & SPILLED == 0 {
            Some((next, next, self.waits[next].handler_span))
        } else {
            let edge = &self.edges[next & !SPILLED];
            Some((next, edge.wait, edge.span))
        }
    }
}
