//! Random traffic as services would cause it: calls that are queued, accepted and answered across instances, locks
//! handed on, pools whose members come and go, instances that fall silent and die.
//!
//! A history is drawn as acts that refer to what is open by place, so that leaving some of them out, which is how a
//! failure is shrunk, leaves a sensible history.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use standoff_wait_graph::{
    Call, Event, Handle, Hold, InstanceId, Member, Parent, Quorum, Role, Span, SpanId, TraceId, WaitGroup,
};

use crate::history::{Input, Step};

/// Of all kinds together; few, so that they meet. The first half are processes and locks, the others pools.
const NAMES: u8 = 8;
/// How many instances run at a time.
const INSTANCES: u8 = 4;
/// Ids go through all numbers below this prime in an order of their own: nothing may depend on ids growing.
const IDS: u64 = 1999;

/// Which one of many, taken modulo their number; 0 is the latest.
type Pick = u8;

#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A handle opens: for an open call whose target has a unit free, or as a request from outside.
    Accept {
        call: Option<Pick>,
        instance: Pick,
        link: Link,
        names: Names,
        capacity: Option<u32>,
        is_rude: bool,
    },
    /// A task calls.
    Call {
        by: By,
        target: Option<Want>,
        units: u32,
        group: Option<(u8, Option<Quorum>)>,
        is_detached: bool,
        timeout: Option<u16>,
        conversation: Option<u8>,
    },
    /// A handler calls whoever has caused it, directly or through others.
    CallBack {
        handle: Pick,
        cause: Pick,
    },
    /// A task takes units, where there are any unless it is rude.
    Hold {
        by: By,
        names: Names,
        units: u32,
        capacity: Option<u32>,
        is_rude: bool,
    },
    /// Somebody joins a pool.
    Join {
        instance: Pick,
        pool: u8,
        units: u32,
    },
    /// A span that is neither of these.
    Nest {
        under: Pick,
        remote: bool,
    },
    /// A span ends.
    Finish(Pick),
    /// A span ends with everything beneath it.
    FinishAll(Pick),
    /// Whoever is queued for what a hold holds gets it.
    HandOver(Pick),
    Answered(Pick),
    Silent(Pick),
    Back(Pick),
    /// An instance dies; another takes its place, and may say again what was open under its own number.
    Gone {
        instance: Pick,
        says_again: bool,
    },
    /// A start comes once more, perhaps with another content.
    SayAgain {
        span: Pick,
        differently: bool,
    },
    Describe {
        instance: Pick,
        service: u8,
    },
    Pass {
        milliseconds: u32,
    },
}

/// How a handle is linked to the call that it answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Link {
    Direct,
    /// Through a structural span in the caller's instance, open or ended.
    Structural {
        is_ended: bool,
    },
    /// Through a call inside the call.
    InnerCall,
    /// By a conversation only.
    Conversation(u8),
}

/// Who does something.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// An open handle, directly or in a structural span beneath it, or by naming it as its task.
    Handle(Pick, Beneath),
    /// Something beneath any open span of whatever kind.
    Any(Pick),
    /// A client: spans under a parent that nobody has seen.
    Client(u8),
    /// The topmost span itself.
    Nobody(Pick),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Beneath {
    Directly,
    Structural,
    ByHint,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Want {
    Name(u8),
    /// What some open span occupies.
    Occupied(Pick),
}

#[derive(Clone, Debug)]
pub(crate) struct Names(Vec<Want>);

pub(crate) fn acts() -> impl Strategy<Value = Vec<Act>> {
    prop_oneof![
        8 => vec(act(), 1..30),
        5 => vec(act(), 20..90),
        2 => vec(act(), 80..300),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let pick = any::<Pick>;
    let want = || prop_oneof![2 => (0..NAMES).prop_map(Want::Name), 4 => pick().prop_map(Want::Occupied)];
    let names = || {
        let own = prop_oneof![4 => (0..NAMES).prop_map(Want::Name), 1 => pick().prop_map(Want::Occupied)];
        prop_oneof![6 => vec(own.clone(), 1), 1 => vec(own.clone(), 0), 1 => vec(own, 2..4)].prop_map(Names)
    };
    let capacity = || prop::option::weighted(0.25, 1..4u32);
    let units = || prop_oneof![14 => Just(1u32), 1 => 2..4u32];
    let quorum = || (0..4u32, 1..5u32).prop_map(|(needed, size)| Quorum { needed, size });
    let is_rude = || prop::bool::weighted(0.05);
    let link = prop_oneof![
        8 => Just(Link::Direct),
        3 => any::<bool>().prop_map(|is_ended| Link::Structural { is_ended }),
        1 => Just(Link::InnerCall),
        1 => (0..3u8).prop_map(Link::Conversation),
    ];
    let accept = (
        prop::option::weighted(0.85, pick()),
        pick(),
        link,
        names(),
        capacity(),
        is_rude(),
    );
    let accept = accept.prop_map(|(call, instance, link, names, capacity, is_rude)| Act::Accept {
        call,
        instance,
        link,
        names,
        capacity,
        is_rude,
    });
    let call = (
        by(),
        prop::option::weighted(0.95, want()),
        units(),
        prop::option::weighted(0.2, (0..2u8, prop::option::weighted(0.9, quorum()))),
        prop::bool::weighted(0.05),
        prop::option::weighted(0.1, 0..5000u16),
        prop::option::weighted(0.15, 0..3u8),
    );
    let call = call.prop_map(
        |(by, target, units, group, is_detached, timeout, conversation)| Act::Call {
            by,
            target,
            units,
            group,
            is_detached,
            timeout,
            conversation,
        },
    );
    let hold = (by(), names(), units(), capacity(), is_rude());
    let hold = hold.prop_map(|(by, names, units, capacity, is_rude)| Act::Hold {
        by,
        names,
        units,
        capacity,
        is_rude,
    });
    let join = (pick(), 0..NAMES, 1..3u32);
    let pass = prop_oneof![6 => 1..30u32, 2 => 900..1100u32, 1 => 55_000..65_000u32];
    prop_oneof![
        20 => accept,
        30 => call,
        6 => (pick(), pick()).prop_map(|(handle, cause)| Act::CallBack { handle, cause }),
        10 => hold,
        4 => join.prop_map(|(instance, pool, units)| Act::Join { instance, pool, units }),
        5 => (pick(), prop::bool::weighted(0.2)).prop_map(|(under, remote)| Act::Nest { under, remote }),
        18 => pick().prop_map(Act::Finish),
        4 => pick().prop_map(Act::FinishAll),
        5 => pick().prop_map(Act::HandOver),
        2 => pick().prop_map(Act::Answered),
        1 => pick().prop_map(Act::Silent),
        1 => pick().prop_map(Act::Back),
        1 => (pick(), any::<bool>()).prop_map(|(instance, says_again)| Act::Gone { instance, says_again }),
        2 => (pick(), prop::bool::weighted(0.2)).prop_map(|(span, differently)| Act::SayAgain { span, differently }),
        1 => (pick(), 0..3u8).prop_map(|(instance, service)| Act::Describe { instance, service }),
        4 => pass.prop_map(|milliseconds| Act::Pass { milliseconds }),
    ]
}

fn by() -> impl Strategy<Value = By> {
    let beneath = prop_oneof![6 => Just(Beneath::Directly), 2 => Just(Beneath::Structural), 1 => Just(Beneath::ByHint)];
    prop_oneof![
        12 => (any::<Pick>(), beneath).prop_map(|(pick, beneath)| By::Handle(pick, beneath)),
        2 => any::<Pick>().prop_map(By::Any),
        3 => (0..4u8).prop_map(By::Client),
        1 => any::<Pick>().prop_map(By::Nobody),
    ]
}

/// What the acts come to.
pub(crate) fn steps(acts: &[Act]) -> Vec<Step> {
    let mut traffic = Traffic {
        open: Vec::new(),
        spans: 0,
        instances: (1..=u64::from(INSTANCES)).map(InstanceId).collect(),
        steps: Vec::new(),
        after: Duration::ZERO,
        now: Duration::ZERO,
    };
    for act in acts {
        traffic.act(act);
    }
    traffic.steps
}

struct Traffic {
    /// In the order in which they opened.
    open: Vec<Span>,
    spans: u64,
    /// Those that run now.
    instances: Vec<InstanceId>,
    steps: Vec<Step>,
    /// Passes before the next input.
    after: Duration,
    now: Duration,
}

fn name(number: u8) -> Arc<str> {
    let kind = if number < NAMES / 2 { "process" } else { "pool" };
    format!("{kind}-{number}").into()
}

fn resources(role: &Role) -> &[Arc<str>] {
    match role {
        Role::Handle(handle) => &handle.resources,
        Role::Hold(hold) => &hold.resources,
        Role::Member(member) => &member.resources,
        Role::Call(_) | Role::Structural => &[],
    }
}

fn target(role: &Role) -> Option<&Arc<str>> {
    match role {
        Role::Call(call) => call.target.as_ref(),
        Role::Handle(_) | Role::Hold(_) | Role::Member(_) | Role::Structural => None,
    }
}

impl Traffic {
    fn act(&mut self, act: &Act) {
        match act {
            Act::Accept {
                call,
                instance,
                link,
                names,
                capacity,
                is_rude,
            } => self.accept(*call, *instance, *link, names, *capacity, *is_rude),
            Act::Call {
                by,
                target,
                units,
                group,
                is_detached,
                timeout,
                conversation,
            } => {
                let role = Role::Call(Call {
                    target: target.and_then(|want| self.name(want)),
                    units: *units,
                    group: group.map(|(group, quorum)| WaitGroup {
                        name: format!("group-{group}").into(),
                        quorum,
                    }),
                    detached: *is_detached,
                    timeout: timeout.map(|it| Duration::from_millis(it.into())),
                });
                self.start_by(*by, role, conversation.map(conversation_name));
            }
            Act::CallBack { handle, cause } => self.call_back(*handle, *cause),
            Act::Hold {
                by,
                names,
                units,
                capacity,
                is_rude,
            } => {
                let mut resources = self.names(names);
                resources.retain(|name| *is_rude || !self.is_busy(name));
                let role = Role::Hold(Hold {
                    resources,
                    capacity: *capacity,
                    units: *units,
                });
                self.start_by(*by, role, None);
            }
            Act::Join { instance, pool, units } => {
                let role = Role::Member(Member {
                    resources: vec![name(*pool)],
                    units: *units,
                });
                self.start(self.instance(*instance), None, role);
            }
            Act::Nest { under, remote } => {
                if let Some((id, instance)) = self.pick(*under, |_| true).map(|span| (span.id, span.instance)) {
                    self.start(instance, Some(Parent { id, remote: *remote }), Role::Structural);
                }
            }
            Act::Finish(pick) => {
                if let Some(id) = self.pick(*pick, |_| true).map(|span| span.id) {
                    self.finish(id);
                }
            }
            Act::FinishAll(pick) => self.finish_all(*pick),
            Act::HandOver(pick) => self.hand_over(*pick),
            Act::Answered(pick) => {
                if let Some(id) = self
                    .pick(*pick, |span| target(&span.role).is_some())
                    .map(|span| span.id)
                {
                    self.input(Input::Event(Event::Answered(id)));
                }
            }
            Act::Silent(pick) => self.input(Input::Event(Event::InstanceSilent(self.instance(*pick)))),
            Act::Back(pick) => self.input(Input::Event(Event::InstanceBack(self.instance(*pick)))),
            Act::Gone { instance, says_again } => self.lose(*instance, *says_again),
            Act::SayAgain { span, differently } => {
                if let Some(mut span) = self.pick(*span, |_| true).cloned() {
                    if *differently {
                        span.role = Role::Structural;
                        span.name = "another".into();
                    }
                    self.input(Input::Event(Event::Started(span)));
                }
            }
            Act::Describe { instance, service } => {
                self.input(Input::Describe(
                    self.instance(*instance),
                    format!("service-{service}").into(),
                ));
            }
            Act::Pass { milliseconds } => {
                self.after += Duration::from_millis((*milliseconds).into());
                self.input(Input::Expire);
            }
        }
    }

    fn accept(
        &mut self,
        call: Option<Pick>,
        instance: Pick,
        link: Link,
        names: &Names,
        capacity: Option<u32>,
        is_rude: bool,
    ) {
        let instance = self.instance(instance);
        // Whoever is polite serves only what is free.
        let can_serve = |span: &Span| target(&span.role).is_some_and(|name| is_rude || !self.is_busy(name));
        let call = call.and_then(|pick| self.pick(pick, can_serve).cloned());
        let mut resources = self.names(names);
        resources.retain(|name| is_rude || !self.is_busy(name));
        let Some(call) = call else {
            self.start(instance, None, Role::Handle(Handle { resources, capacity }));
            return;
        };
        // What is called is what serves, but for odd ones.
        if resources.len() < 2 {
            resources = target(&call.role).cloned().into_iter().collect();
        }
        let mut conversation = None;
        let parent = match link {
            Link::Direct => Some(call.id),
            Link::Conversation(name) => {
                conversation = Some(conversation_name(name));
                None
            }
            Link::Structural { .. } | Link::InnerCall => {
                let role = match link {
                    Link::InnerCall => call.role.clone(),
                    Link::Structural { .. } | Link::Direct | Link::Conversation(_) => Role::Structural,
                };
                let id = self.start(
                    call.instance,
                    Some(Parent {
                        id: call.id,
                        remote: false,
                    }),
                    role,
                );
                if matches!(link, Link::Structural { is_ended: true }) {
                    self.finish(id);
                }
                Some(id)
            }
        };
        let parent = parent.map(|id| Parent { id, remote: true });
        let role = Role::Handle(Handle { resources, capacity });
        self.start_span(instance, parent, None, conversation, role);
    }

    fn call_back(&mut self, handle: Pick, cause: Pick) {
        let is_caused = |span: &Span| matches!(span.role, Role::Handle(_)) && span.parent.is_some();
        let Some(handle) = self.pick(handle, is_caused).cloned() else {
            return;
        };
        let above = |span: &&Span| {
            self.open
                .iter()
                .find(|it| Some(it.id) == span.parent.map(|parent| parent.id))
        };
        let causes: Vec<&Arc<str>> = std::iter::successors(Some(&handle), above)
            .skip(1)
            .take(self.open.len())
            .flat_map(resources_occupied)
            .collect();
        let Some(place) = usize::from(cause).checked_rem(causes.len()) else {
            return;
        };
        let role = Role::Call(Call {
            target: Some(Arc::clone(causes[place])),
            units: 1,
            group: None,
            detached: false,
            timeout: None,
        });
        let parent = Parent {
            id: handle.id,
            remote: false,
        };
        self.start(handle.instance, Some(parent), role);
    }

    fn start_by(&mut self, by: By, role: Role, conversation: Option<Arc<str>>) {
        let is_handle = |span: &Span| matches!(span.role, Role::Handle(_));
        let local = |id| Some(Parent { id, remote: false });
        let (instance, parent, task) = match by {
            By::Handle(pick, beneath) => {
                let Some((id, instance)) = self.pick(pick, is_handle).map(|span| (span.id, span.instance)) else {
                    return self.start_by(By::Client(pick % 4), role, conversation);
                };
                match beneath {
                    Beneath::Directly => (instance, local(id), None),
                    Beneath::Structural => {
                        let between = self.start(instance, local(id), Role::Structural);
                        (instance, local(between), None)
                    }
                    Beneath::ByHint => (instance, None, Some(id)),
                }
            }
            By::Any(pick) => {
                let Some((id, instance)) = self.pick(pick, |_| true).map(|span| (span.id, span.instance)) else {
                    return;
                };
                (instance, local(id), None)
            }
            // Ids that no span has.
            By::Client(number) => {
                let id = SpanId(IDS + 1 + u64::from(number));
                (self.instance(number), local(id), None)
            }
            By::Nobody(instance) => (self.instance(instance), None, None),
        };
        self.start_span(instance, parent, task, conversation, role);
    }

    fn start(&mut self, instance: InstanceId, parent: Option<Parent>, role: Role) -> SpanId {
        self.start_span(instance, parent, None, None, role)
    }

    fn start_span(
        &mut self,
        instance: InstanceId,
        parent: Option<Parent>,
        task: Option<SpanId>,
        conversation: Option<Arc<str>>,
        role: Role,
    ) -> SpanId {
        self.spans += 1;
        let id = SpanId(1 + self.spans * 773 % IDS);
        let span = Span {
            id,
            trace: TraceId::default(),
            instance,
            parent,
            task,
            name: format!("request-{}", self.spans % 3).into(),
            conversation,
            role,
            started_at: self.now,
        };
        self.open.push(span.clone());
        self.input(Input::Event(Event::Started(span)));
        id
    }

    fn finish(&mut self, id: SpanId) {
        self.open.retain(|span| span.id != id);
        self.input(Input::Event(Event::Finished(id)));
    }

    fn finish_all(&mut self, pick: Pick) {
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

    fn hand_over(&mut self, pick: Pick) {
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

    fn lose(&mut self, pick: Pick, says_again: bool) {
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

    fn input(&mut self, input: Input) {
        let after = std::mem::take(&mut self.after);
        self.now += after;
        self.steps.push(Step { after, input });
    }

    fn instance(&self, pick: Pick) -> InstanceId {
        self.instances[usize::from(pick) % self.instances.len()]
    }

    /// Whether all units are taken that somebody has spoken of.
    fn is_busy(&self, name: &Arc<str>) -> bool {
        let (mut held, mut capacity) = (0, 1);
        for span in self.open.iter().filter(|span| resources(&span.role).contains(name)) {
            match &span.role {
                Role::Handle(handle) => {
                    held += 1;
                    capacity = capacity.max(handle.capacity.unwrap_or(1));
                }
                Role::Hold(hold) => {
                    held += hold.units;
                    capacity = capacity.max(hold.capacity.unwrap_or(1));
                }
                Role::Member(member) => capacity += member.units,
                Role::Call(_) | Role::Structural => {}
            }
        }
        held >= capacity
    }

    /// One of the open spans of some kind.
    fn pick(&self, pick: Pick, kind: impl Fn(&Span) -> bool) -> Option<&Span> {
        let fitting: Vec<&Span> = self.open.iter().filter(|span| kind(span)).collect();
        let behind = usize::from(pick).checked_rem(fitting.len())?;
        fitting.iter().rev().nth(behind).copied()
    }

    fn name(&self, want: Want) -> Option<Arc<str>> {
        match want {
            Want::Name(number) => Some(name(number)),
            Want::Occupied(pick) => {
                let span = self.pick(pick, |span| !resources_occupied(span).is_empty())?;
                resources_occupied(span).first().cloned()
            }
        }
    }

    fn names(&self, names: &Names) -> Vec<Arc<str>> {
        names.0.iter().filter_map(|want| self.name(*want)).collect()
    }
}

fn resources_occupied(span: &Span) -> &[Arc<str>] {
    match span.role {
        Role::Handle(_) | Role::Hold(_) => resources(&span.role),
        Role::Call(_) | Role::Member(_) | Role::Structural => &[],
    }
}

fn conversation_name(number: u8) -> Arc<str> {
    format!("conversation-{number}").into()
}
