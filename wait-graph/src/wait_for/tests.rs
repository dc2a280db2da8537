//! The picture against a plain model of it.

mod backward;
mod deferred;
mod history;
mod model;
mod passes;
mod rows;
mod shapes;
