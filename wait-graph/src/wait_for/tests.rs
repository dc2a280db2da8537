//! The picture against a plain model of it.

mod history;
mod model;
mod shapes;
