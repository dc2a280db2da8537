//! What is known of the names in a script while it is read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{ErrorKind, NameUse, Place, ScriptError};
use crate::script::Name;

/// Every server and pool that has been mentioned.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: BTreeMap<Name, Known>,
}

#[derive(Debug)]
struct Known {
    used: NameUse,
    capacity: u32,
    /// Where it was first mentioned, in bytes.
    first: usize,
}

/// A name in a script, and what stands at it.
#[derive(Debug)]
pub(crate) struct Mention<'a> {
    pub(crate) name: &'a str,
    pub(crate) part: Range<usize>,
    /// The capacity, and its place.
    pub(crate) capacity: Option<(u32, Range<usize>)>,
}

impl Names {
    /// Takes note of a mention.
    pub(crate) fn mention(&mut self, script: &str, mention: &Mention<'_>, used: NameUse) -> Result<Name, ScriptError> {
        let said = mention.capacity.as_ref();
        let Some((name, known)) = self.known.get_key_value(mention.name) else {
            let name: Name = mention.name.into();
            let capacity = said.map_or(1, |(units, _)| *units);
            self.known.insert(
                Arc::clone(&name),
                Known {
                    used,
                    capacity,
                    first: mention.part.start,
                },
            );
            return Ok(name);
        };
        let first = Place::of(script, known.first);
        if known.used != used {
            let kind = ErrorKind::ServerAndPool {
                name: mention.name.to_owned(),
                used,
                first_used: known.used,
                first,
            };
            return Err(ScriptError::new(kind, script, mention.part.clone()));
        }
        match said {
            Some((units, part)) if *units != known.capacity => {
                let kind = ErrorKind::SecondCapacity {
                    name: mention.name.to_owned(),
                    capacity: known.capacity,
                    first,
                };
                Err(ScriptError::new(kind, script, part.clone()))
            }
            Some(_) | None => Ok(Arc::clone(name)),
        }
    }

    /// Servers, then pools, with their capacities.
    pub(crate) fn into_resources(self) -> (BTreeMap<Name, u32>, BTreeMap<Name, u32>) {
        let (servers, pools): (BTreeMap<_, _>, BTreeMap<_, _>) = self
            .known
            .into_iter()
            .partition(|(_, known)| known.used == NameUse::Server);
        let capacities =
            |all: BTreeMap<Name, Known>| all.into_iter().map(|(name, known)| (name, known.capacity)).collect();
        (capacities(servers), capacities(pools))
    }
}
