//! The relay: takes native streams from the services of its host, and passes them on to collectors.

#[doc(hidden)]
pub mod core;
