//! What there is to be drawn: acts that refer to what is open by place.

use proptest::collection::vec;
use proptest::prelude::*;
use standoff_wait_graph::Quorum;

use super::NAMES;

/// Which one of many, taken modulo their number; 0 is the latest.
pub(super) type Pick = u8;

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
    Knot(Knot),
}

/// What makes deadlocks, and what makes them larger or smaller.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Knot {
    /// Servers that call one another in a ring, each queued for the next or, but for the last, accepted.
    Ring { servers: u8, is_queued: bool },
    /// Everybody who holds a unit of a pool calls for some more of them.
    Pool { holders: u8, units: u32 },
    /// A server that asks others, so many of which must answer, and all of which ask it.
    Fork { branches: u8, needed: u32 },
    /// Two servers that wait call each other.
    Join { one: Pick, other: Pick },
    /// One of several calls of somebody ends.
    Cut(Pick),
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
pub(crate) struct Names(pub(super) Vec<Want>);

pub(crate) fn acts() -> impl Strategy<Value = Vec<Act>> {
    prop_oneof![
        8 => vec(act(), 1..30),
        5 => vec(act(), 20..90),
        2 => vec(act(), 80..300),
        5 => vec(prop_oneof![9 => act(), 2 => knot().prop_map(Act::Knot)], 5..60),
    ]
}

fn knot() -> impl Strategy<Value = Knot> {
    let pick = any::<Pick>;
    let near = || 0..6u8;
    prop_oneof![
        2 => (2..12u8, any::<bool>()).prop_map(|(servers, is_queued)| Knot::Ring { servers, is_queued }),
        2 => (2..9u8, 1..3u32).prop_map(|(holders, units)| Knot::Pool { holders, units }),
        2 => (2..6u8, 1..4u32).prop_map(|(branches, needed)| Knot::Fork { branches, needed }),
        3 => (near(), pick()).prop_map(|(one, other)| Knot::Join { one, other }),
        2 => near().prop_map(Knot::Cut),
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
