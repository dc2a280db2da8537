//! Events as a collector has them: 64-bit span ids, and names that are text, each event with its own.

use std::sync::Arc;
use std::time::Duration;

use standoff_wait_graph::{
    Call, Event, Handle, Hold, InstanceId, Parent, Quorum, Role, Span, SpanId, TraceId, WaitGroup,
};

/// How many instances there are. A name is always served by the same one.
const INSTANCES: u64 = 64;

/// Ids, and chances, that are the same in every run.
#[derive(Default)]
pub(crate) struct Source {
    ids: u64,
    chances: u64,
}

/// What is above a span.
#[derive(Clone, Copy)]
pub(crate) enum Above {
    Nothing,
    /// In the same process.
    Local(SpanId),
    /// Came with a message.
    Remote(SpanId),
}

impl Source {
    /// One of several with ids of their own.
    pub(crate) fn starting_at(number: u64) -> Self {
        Self {
            ids: number << 32,
            chances: number << 32,
        }
    }

    /// A new id, in no order.
    pub(crate) fn id(&mut self) -> SpanId {
        self.ids += 1;
        SpanId(mix(self.ids))
    }

    /// A number below another.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.chances += 1;
        (mix(self.chances ^ 0x5bd1_e995_0000_0000) % limit.max(1) as u64) as usize
    }
}

/// Steele, Lea and Flood, *Fast splittable pseudorandom number generators* (2014): its last step, which gives each number
/// another one.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The instance of the resource or client of that number.
pub(crate) fn instance(number: usize) -> InstanceId {
    InstanceId(number as u64 % INSTANCES)
}

fn started(id: SpanId, instance: InstanceId, above: Above, name: &str, role: Role) -> Event {
    let parent = match above {
        Above::Nothing => None,
        Above::Local(id) => Some(Parent { id, remote: false }),
        Above::Remote(id) => Some(Parent { id, remote: true }),
    };
    Event::Started(Span {
        id,
        trace: TraceId(1),
        instance,
        parent,
        task: None,
        name: name.into(),
        conversation: None,
        role,
        started_at: Duration::ZERO,
    })
}

pub(crate) fn call(id: SpanId, instance: InstanceId, above: Above, target: String) -> Event {
    started(id, instance, above, "call", Role::Call(call_of(target)))
}

pub(crate) fn call_in_group(id: SpanId, instance: InstanceId, above: Above, target: String, quorum: Quorum) -> Event {
    let group = Some(WaitGroup {
        name: "replicas".into(),
        quorum: Some(quorum),
    });
    let call = Call {
        group,
        ..call_of(target)
    };
    started(id, instance, above, "call", Role::Call(call))
}

fn call_of(target: String) -> Call {
    Call {
        target: Some(target.into()),
        units: 1,
        group: None,
        detached: false,
        timeout: Some(Duration::from_secs(5)),
    }
}

/// A handle of one resource, or of none.
pub(crate) fn handle(id: SpanId, instance: InstanceId, above: Above, resource: Option<String>) -> Event {
    let resources: Vec<Arc<str>> = resource.into_iter().map(Into::into).collect();
    let role = Role::Handle(Handle {
        resources,
        capacity: None,
    });
    started(id, instance, above, "handle request", role)
}

pub(crate) fn hold(id: SpanId, instance: InstanceId, above: Above, resource: String, capacity: Option<u32>) -> Event {
    let role = Role::Hold(Hold {
        resources: vec![resource.into()],
        capacity,
        units: 1,
    });
    started(id, instance, above, "hold", role)
}

/// A span that is neither of these.
pub(crate) fn structural(id: SpanId, instance: InstanceId, above: Above) -> Event {
    started(id, instance, above, "step", Role::Structural)
}

/// The same call or hold, for so many units.
pub(crate) fn for_units(mut event: Event, number: u32) -> Event {
    if let Event::Started(span) = &mut event {
        match &mut span.role {
            Role::Call(call) => call.units = number,
            Role::Hold(hold) => hold.units = number,
            Role::Handle(_) | Role::Member(_) | Role::Structural => {}
        }
    }
    event
}

/// The same span in a conversation.
pub(crate) fn in_conversation(mut event: Event, name: &str) -> Event {
    if let Event::Started(span) = &mut event {
        span.conversation = Some(name.into());
    }
    event
}

pub(crate) fn finished(id: SpanId) -> Event {
    Event::Finished(id)
}

/// The name of a server process.
pub(crate) fn server(number: usize) -> String {
    format!("{{:server, {number}}}")
}
