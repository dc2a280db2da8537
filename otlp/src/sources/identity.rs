//! Who a source is.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use standoff_protocol::stream::{self, Hello, PROTOCOL_VERSION};

use crate::attributes::cut;
use crate::signal::Instance;

/// What stands for an instance of which nothing is known at all, as SDKs call a service that nobody has named.
const NOBODY: &str = "unknown_service";

/// The identity of a source: a hash of its names, which is its incarnation as well.
///
/// Two sources that share one would be taken for one. That needs names that were made up by somebody who knows the seed,
/// or chance: of ten thousand sources, once in 10¹¹ processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity(u64);

impl Identity {
    pub(super) fn of(instance: &Instance, seed: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        instance.service_namespace.hash(&mut hasher);
        instance.service_name.hash(&mut hasher);
        instance.instance_id.hash(&mut hasher);
        Identity(hasher.finish())
    }
}

/// How it introduces itself. What it does not say of itself is left open: its lease, and its process.
pub(super) fn hello(instance: &Instance, identity: Identity) -> Hello {
    let names = [&instance.instance_id, &instance.service_name];
    let name = names.into_iter().find(|name| !name.is_empty());
    let named = stream::Instance {
        service_name: cut(&instance.service_name).to_owned(),
        service_namespace: cut(&instance.service_namespace).to_owned(),
        instance_id: name.map_or(NOBODY, |name| cut(name)).to_owned(),
        incarnation: identity.0,
        process: None,
    };
    Hello {
        protocol_version: PROTOCOL_VERSION,
        instance: Some(named),
        lease_ms: 0,
        cannot_be_asked: true,
    }
}
