//! What the collector, or the lack of it, tells the monitor.

use standoff_protocol::api::{Alert, Snapshot, Stats};

/// One piece of news. Nothing in it has been made safe to draw yet; `app` does that on the way in.
#[derive(Clone, Debug)]
pub(crate) enum Update {
    /// Connected: everything that is known just now.
    Snapshot(Snapshot),
    /// An alert has begun to fire, has changed or has been resolved.
    Alert(Box<Alert>),
    /// The collector's figures.
    Stats(Stats),
    /// An event that this version does not understand, and why.
    NotUnderstood(String),
    /// The connection was lost or could not be made, and why.
    Disconnected(String),
}
