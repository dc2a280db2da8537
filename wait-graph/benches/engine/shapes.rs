//! The shapes that are measured: how each comes to be with so many open waits, and what goes on in it then.

use standoff_wait_graph::Event;

mod calls;
pub(crate) mod chains;
mod resources;

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
    /// Whether deadlocks come and go in it, which are then asked for as soon as they may have.
    pub(crate) is_explained: bool,
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
        is_explained: true,
    },
    plain("worst: somebody waited for joins a chain", || {
        Box::<chains::Joined>::default()
    }),
];

const fn plain(name: &'static str, make: fn() -> Box<dyn Shape>) -> Named {
    Named {
        name,
        make,
        is_explained: false,
    }
}
