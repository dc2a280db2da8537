//! How many units a resource has, from what open spans say of it.

use standoff_wait_graph::Capacity;

/// What open spans say of one resource.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sayings {
    /// The units of its open members; `None` without any.
    pub(crate) members: Option<u64>,
    /// One of them belongs to a silent instance.
    pub(crate) member_is_silent: bool,
    /// Members have contributed within memory.
    pub(crate) had_members: bool,
    /// The largest capacity on an open hold.
    pub(crate) by_holds: Option<u64>,
    /// The largest capacity on an open handle.
    pub(crate) by_handles: Option<u64>,
    /// Instances have declared on handles what each of them offers, and more than one has served the name.
    pub(crate) offered_by_several: bool,
    /// An open handle or hold names it.
    pub(crate) is_named: bool,
    /// Units that open handles and holds occupy.
    pub(crate) held: u64,
}

impl Sayings {
    /// What is known of the capacity. Never less than what is in use, whatever was declared.
    pub(crate) fn capacity(&self) -> Capacity {
        match self.declared() {
            Capacity::Unknown => Capacity::Unknown,
            Capacity::Declared(units) => Capacity::Declared(units.max(self.held)),
            Capacity::Counted(units) => Capacity::Counted(units.max(self.held)),
        }
    }

    /// Whether more is in use than was declared.
    pub(crate) fn is_overfull(&self) -> bool {
        match self.declared() {
            Capacity::Unknown => false,
            Capacity::Declared(units) | Capacity::Counted(units) => self.held > units,
        }
    }

    fn declared(&self) -> Capacity {
        if let Some(units) = self.members {
            // A silent member may be gone or may be serving: nobody knows what the pool still has.
            return if self.member_is_silent {
                Capacity::Unknown
            } else {
                Capacity::Counted(units)
            };
        }
        if self.had_members || self.offered_by_several {
            return Capacity::Unknown;
        }
        match self.by_holds.max(self.by_handles) {
            Some(units) => Capacity::Declared(units),
            // Named without any capacity: exclusive.
            None if self.is_named => Capacity::Declared(1),
            None => Capacity::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named() -> Sayings {
        Sayings {
            is_named: true,
            held: 1,
            ..Sayings::default()
        }
    }

    #[test]
    fn nothing_said_is_unknown() {
        assert_eq!(Sayings::default().capacity(), Capacity::Unknown);
    }

    #[test]
    fn named_without_a_capacity_is_exclusive() {
        assert_eq!(named().capacity(), Capacity::Declared(1));
    }

    #[test]
    fn a_declared_capacity_wins_over_the_default() {
        assert_eq!(
            Sayings {
                by_holds: Some(3),
                ..named()
            }
            .capacity(),
            Capacity::Declared(3)
        );
        assert_eq!(
            Sayings {
                by_handles: Some(4),
                ..named()
            }
            .capacity(),
            Capacity::Declared(4)
        );
    }

    #[test]
    fn offers_of_several_instances_are_unknown_until_members_count() {
        let offered = Sayings {
            by_handles: Some(4),
            offered_by_several: true,
            ..named()
        };
        assert_eq!(offered.capacity(), Capacity::Unknown);
        assert_eq!(
            Sayings {
                members: Some(2),
                ..offered
            }
            .capacity(),
            Capacity::Counted(2)
        );
    }

    #[test]
    fn members_count_unless_one_is_silent_or_all_have_left() {
        let counted = Sayings {
            members: Some(2),
            had_members: true,
            by_holds: Some(9),
            ..named()
        };
        assert_eq!(counted.capacity(), Capacity::Counted(2));
        assert_eq!(
            Sayings {
                member_is_silent: true,
                ..counted.clone()
            }
            .capacity(),
            Capacity::Unknown
        );
        assert_eq!(
            Sayings {
                members: None,
                ..counted
            }
            .capacity(),
            Capacity::Unknown
        );
    }

    #[test]
    fn what_is_in_use_raises_it() {
        let overfull = Sayings { held: 3, ..named() };
        assert_eq!(
            (overfull.capacity(), overfull.is_overfull()),
            (Capacity::Declared(3), true)
        );
        let counted = Sayings {
            members: Some(2),
            held: 3,
            ..named()
        };
        assert_eq!(
            (counted.capacity(), counted.is_overfull()),
            (Capacity::Counted(3), true)
        );
        assert!(!named().is_overfull());
    }
}
