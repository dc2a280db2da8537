//! The shapes that are measured: how each comes to be with so many open waits, and what goes on in it then.

use standoff_wait_graph::Event;

mod calls;
pub(crate) mod chains;
mod conversations;
mod nested;
mod resources;
mod storms;
mod wide;

/// Where events go.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Event);

/// Something that goes on.
pub(crate) trait Shape {
    /// Opens about so many waits.
    fn grow(&mut self, waits: usize, sink: Sink<'_>);
    /// A few events after which there are about as many waits as before.
    fn churn(&mut self, sink: Sink<'_>);
}

/// A shape by its name.
pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) make: fn() -> Box<dyn Shape>,
    /// When the deadlocks that come and go in it are asked for.
    pub(crate) asks: Asks,
    /// The most open waits of which there is any sense.
    pub(crate) largest: usize,
    /// The most for which the baselines are measured, too: in some shapes they take minutes for an event, or memory in
    /// the number of waits times holders.
    pub(crate) largest_beside: usize,
}

/// When deadlocks are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Never,
    /// As soon as they may have changed.
    AtOnce,
    /// As a collector does that has not told anybody of them: the more there are, the more rarely.
    Paced,
    /// As a collector does: like this, and at once when a wait of one ends.
    AtEnds,
}

/// All of them.
pub(crate) const SHAPES: &[Named] = &[
    plain("call trees", || Box::<calls::Trees>::default()),
    plain("queued, then accepted", || Box::<calls::Queues>::default()),
    plain("groups, 3 of 5", || Box::<calls::Groups>::default()),
    plain("chain grows at its tail", || Box::<chains::Tail>::default()),
    plain("chain grows at its head", || Box::<chains::Head>::default()),
    plain("hot lock handed over", || Box::<resources::HotLock>::default()),
    plain("pools of 100 units", || Box::<resources::Pools>::default()),
    plain("ring of two comes and goes", || Box::<resources::TwoRing>::default()),
    Named {
        name: "the same, explained",
        make: || Box::<resources::TwoRing>::default(),
        asks: Asks::AtOnce,
        largest: usize::MAX,
        largest_beside: usize::MAX,
    },
    Named {
        // A pass looks at all of them, and passes are called for all the time.
        largest: 100_000,
        ..hard("one conversation for all", || {
            Box::<conversations::OneForAll>::default()
        })
    },
    hard("reported from the innermost span", || {
        Box::<nested::BottomUp>::default()
    }),
    hard("reported from the last handle", || {
        Box::<nested::AnsweredFirst>::default()
    }),
    hard("waits for 2 to 64 units", || Box::<wide::Wide>::default()),
    hard("the same, half of them dies and lives", || {
        Box::new(wide::Wide::mortal())
    }),
    hard("storm of pairs", || Box::<storms::Storm>::default()),
    Named {
        name: "the same, explained now and then",
        make: || Box::<storms::Storm>::default(),
        asks: Asks::Paced,
        largest: 100_000,
        largest_beside: 100_000,
    },
    Named {
        name: "the same, each end judged at once",
        make: || Box::<storms::Storm>::default(),
        asks: Asks::AtEnds,
        largest: 100_000,
        largest_beside: 100_000,
    },
    hard("worst: somebody waited for joins a chain", || {
        Box::<chains::Joined>::default()
    }),
];

const fn plain(name: &'static str, make: fn() -> Box<dyn Shape>) -> Named {
    Named {
        name,
        make,
        asks: Asks::Never,
        largest: usize::MAX,
        largest_beside: usize::MAX,
    }
}

/// One that is made to be hard.
const fn hard(name: &'static str, make: fn() -> Box<dyn Shape>) -> Named {
    Named {
        largest_beside: 100_000,
        ..plain(name, make)
    }
}
