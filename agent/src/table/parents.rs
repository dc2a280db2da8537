//! What the chain of parents above a span comes to, within this instance.
//!
//! Spans that neither wait nor serve are not reported; instead each reported span names as its parent what the chain
//! above it leads to. A span keeps that answer for its children, so a chain is never walked.

use standoff_protocol::stream::Role;

/// What the chain above a span leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Above {
    /// There is no parent.
    Nothing,
    /// The parent is in another process.
    Remote(u64),
    /// A call is the nearest span above that is reported.
    Call(u64),
    /// A handle is the nearest span above that is reported.
    Handle(u64),
    /// No call and no handle is above. `span_id` is the topmost span there is, and `remote` its parent in another
    /// process; 0 if it has none.
    Top { span_id: u64, remote: u64 },
}

impl Above {
    /// What children of a span find above themselves, if this is above the span and the span itself does not count.
    pub(crate) fn through(self, span_id: u64) -> Above {
        match self {
            Above::Nothing => Above::Top { span_id, remote: 0 },
            Above::Remote(remote) => Above::Top { span_id, remote },
            Above::Call(_) | Above::Handle(_) | Above::Top { .. } => self,
        }
    }

    /// The parent to report for a span of this role: its id (0 for none) and whether it is in another process.
    pub(crate) fn parent_of(self, role: Role) -> (u64, bool) {
        match self {
            Above::Nothing => (0, false),
            Above::Remote(remote) => (remote, true),
            Above::Call(span_id) | Above::Handle(span_id) => (span_id, false),
            // A handle answers the call above it, also through spans around it: a server's middleware, for instance.
            // For all else it matters which of the instance's own spans it belongs to.
            Above::Top { remote, .. } if role == Role::Handle && remote != 0 => (remote, true),
            Above::Top { span_id, .. } => (span_id, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_comes_to_its_nearest_call_or_handle() {
        assert_eq!(Above::Call(1).through(2).through(3), Above::Call(1));
        assert_eq!(Above::Handle(1).through(2).parent_of(Role::Call), (1, false));
    }

    #[test]
    fn without_one_it_comes_to_the_topmost_span() {
        assert_eq!(Above::Nothing.through(1).through(2).parent_of(Role::Call), (1, false));
        assert_eq!(Above::Remote(9).through(1).through(2).parent_of(Role::Call), (1, false));
    }

    #[test]
    fn a_handle_looks_through_to_the_caller() {
        assert_eq!(
            Above::Remote(9).through(1).through(2).parent_of(Role::Handle),
            (9, true)
        );
        assert_eq!(Above::Nothing.through(1).parent_of(Role::Handle), (1, false));
    }
}
