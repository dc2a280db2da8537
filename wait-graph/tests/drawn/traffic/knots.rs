//! Deadlocks on purpose, since large ones hardly come about by chance: rings, pools that are exhausted by those who wait
//! for them, alternatives all of which are dead, and what makes two of them one, or one of them two.

use std::sync::Arc;

use standoff_wait_graph::{Call, Handle, Hold, Parent, Quorum, Role, Span, SpanId, WaitGroup};

use super::acts::{Knot, Pick};
use super::{Traffic, resources_occupied, target};

impl Traffic {
    pub(super) fn knot(&mut self, knot: &Knot) {
        match *knot {
            Knot::Ring { servers, is_queued } => self.ring(servers, is_queued),
            Knot::Pool { holders, units } => self.exhaust(holders, units),
            Knot::Fork { branches, needed } => self.fork(branches, needed),
            Knot::Join { one, other } => self.join(one, other),
            Knot::Cut(pick) => self.cut(pick),
        }
    }

    /// Each calls the next, and the last the first: everybody is queued, or all but the last are accepted.
    fn ring(&mut self, servers: u8, is_queued: bool) {
        let first = self.spans;
        let name = |number: u8| -> Arc<str> { format!("ring-{first}-{}", number % servers).into() };
        let mut caller = None;
        for number in 0..servers {
            let above = caller.filter(|_| !is_queued);
            let server = self.serve(number, above, Some(name(number)));
            caller = Some(self.call(number, server, name(number + 1), 1, None));
        }
    }

    /// Everybody who holds a unit of a pool needs some more.
    fn exhaust(&mut self, holders: u8, units: u32) {
        let pool: Arc<str> = format!("pool-{}", self.spans).into();
        for number in 0..holders {
            let task = self.serve(number, None, None);
            let role = Role::Hold(Hold {
                resources: vec![Arc::clone(&pool)],
                capacity: Some(holders.into()),
                units: 1,
            });
            self.start(self.instance(number), local(task), role);
            self.call(number, task, Arc::clone(&pool), units, None);
        }
    }

    /// A server asks several, so many of which must answer, and each of them asks it.
    fn fork(&mut self, branches: u8, needed: u32) {
        let name: Arc<str> = format!("fork-{}", self.spans).into();
        let asking = self.serve(0, None, Some(Arc::clone(&name)));
        let group = WaitGroup {
            name: "branches".into(),
            quorum: Some(Quorum {
                needed,
                size: branches.into(),
            }),
        };
        for number in 1..=branches {
            let branch: Arc<str> = format!("{name}-{number}").into();
            let call = self.call(0, asking, Arc::clone(&branch), 1, Some(group.clone()));
            let asked = self.serve(number, Some(call), Some(branch));
            self.call(number, asked, Arc::clone(&name), 1, None);
        }
    }

    /// Two servers that wait already call each other, too: if both are dead, they belong together now.
    fn join(&mut self, one: Pick, other: Pick) {
        let is_waiting = |span: &Span| {
            let is_served = matches!(span.role, Role::Handle(_)) && !resources_occupied(span).is_empty();
            is_served && self.calls_of(span.id).next().is_some()
        };
        let [one, other] = [one, other].map(|pick| self.pick(pick, is_waiting).cloned());
        let (Some(one), Some(other)) = (one, other) else { return };
        for (by, on) in [(&one, &other), (&other, &one)] {
            if let Some(name) = resources_occupied(on).first() {
                self.start(by.instance, local(by.id), call_role(Arc::clone(name), 1, None));
            }
        }
    }

    /// Somebody who waits for several things waits for one less.
    fn cut(&mut self, pick: Pick) {
        let is_one_of_several = |span: &Span| {
            let parent = span.parent.filter(|_| target(&span.role).is_some());
            parent.is_some_and(|parent| self.calls_of(parent.id).nth(1).is_some())
        };
        if let Some(id) = self.pick(pick, is_one_of_several).map(|span| span.id) {
            self.finish(id);
        }
    }

    /// The open calls directly beneath a span.
    fn calls_of(&self, id: SpanId) -> impl Iterator<Item = &Span> {
        let is_beneath = move |span: &Span| span.parent.is_some_and(|parent| parent.id == id);
        let open = self.open.iter();
        open.filter(move |span| is_beneath(span) && target(&span.role).is_some())
    }

    fn serve(&mut self, instance: Pick, answers: Option<SpanId>, name: Option<Arc<str>>) -> SpanId {
        let role = Role::Handle(Handle {
            resources: name.into_iter().collect(),
            capacity: None,
        });
        let parent = answers.map(|id| Parent { id, remote: true });
        self.start(self.instance(instance), parent, role)
    }

    fn call(&mut self, instance: Pick, task: SpanId, name: Arc<str>, units: u32, group: Option<WaitGroup>) -> SpanId {
        self.start(self.instance(instance), local(task), call_role(name, units, group))
    }
}

fn call_role(name: Arc<str>, units: u32, group: Option<WaitGroup>) -> Role {
    Role::Call(Call {
        target: Some(name),
        units,
        group,
        detached: false,
        timeout: None,
    })
}

fn local(id: SpanId) -> Option<Parent> {
    Some(Parent { id, remote: false })
}
