//! Random traffic as services would cause it: calls that are queued, accepted and answered across instances, locks
//! handed on, pools whose members come and go, instances that fall silent and die.
//!
//! A history is drawn as acts that refer to what is open by place, so that leaving some of them out, which is how a
//! failure is shrunk, leaves a sensible history.

mod acts;
mod beginnings;
mod endings;
mod knots;

use std::sync::Arc;
use std::time::Duration;

use standoff_wait_graph::{Call, Event, Hold, InstanceId, Member, Parent, Role, Span, WaitGroup};

use crate::history::{Input, Step};
pub(crate) use acts::acts;
use acts::{Act, Names, Pick, Want};

/// Of all kinds together; few, so that they meet. The first half are processes and locks, the others pools.
const NAMES: u8 = 8;
/// How many instances run at a time.
const INSTANCES: u8 = 4;
/// Ids go through all numbers below this prime in an order of their own: nothing may depend on ids growing.
const IDS: u64 = 1999;

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
            Act::Knot(knot) => self.knot(knot),
            Act::Pass { milliseconds } => {
                self.after += Duration::from_millis((*milliseconds).into());
                self.input(Input::Expire);
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
