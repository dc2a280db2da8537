//! Spans end: by themselves, with all beneath them, to the benefit of the next, or with their instance.

use standoff_wait_graph::{Event, InstanceId, Role, Span, SpanId};

use super::acts::Pick;
use super::{Traffic, resources, target};
use crate::history::Input;

impl Traffic {
    pub(super) fn finish(&mut self, id: SpanId) {
        self.open.retain(|span| span.id != id);
        self.input(Input::Event(Event::Finished(id)));
    }

    pub(super) fn finish_all(&mut self, pick: Pick) {
        let Some(top) = self.pick(pick, |_| true).map(|span| span.id) else {
            return;
        };
        let mut tree = vec![top];
        for span in &self.open {
            if span.parent.is_some_and(|parent| tree.contains(&parent.id)) {
                tree.push(span.id);
            }
        }
        for id in tree.into_iter().rev() {
            self.finish(id);
        }
    }

    pub(super) fn hand_over(&mut self, pick: Pick) {
        let Some(hold) = self.pick(pick, |span| matches!(span.role, Role::Hold(_))).cloned() else {
            return;
        };
        let wants = |span: &&Span| target(&span.role).is_some_and(|it| resources(&hold.role).contains(it));
        let next = self.open.iter().find(wants).cloned();
        self.finish(hold.id);
        if let Some(call) = next {
            self.finish(call.id);
            self.start_span(call.instance, call.parent, call.task, None, hold.role);
        }
    }

    pub(super) fn lose(&mut self, pick: Pick, says_again: bool) {
        let place = usize::from(pick) % self.instances.len();
        let gone = self.instances[place];
        let next = InstanceId(1 + self.instances.iter().map(|id| id.0).max().unwrap_or_default());
        self.instances[place] = next;
        let (lost, left): (Vec<Span>, Vec<Span>) = self.open.drain(..).partition(|span| span.instance == gone);
        self.open = left;
        self.input(Input::Event(Event::InstanceGone(gone)));
        if says_again {
            for mut span in lost {
                span.instance = next;
                self.open.push(span.clone());
                self.input(Input::Event(Event::Started(span)));
            }
        }
    }
}
