//! The attributes that we read, by all the names that they have or had.
//!
//! The semantic conventions have renamed much, and libraries lag behind by years, so older names count as well.

use standoff_protocol::attributes::{self, semconv};

macro_rules! keys {
    ($($(#[$doc:meta])* $key:ident = $($name:expr)=>+;)+) => {
        /// An attribute that we read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Key {
            $($(#[$doc])* $key,)+
        }

        const NAMES: &[(&str, Key)] = &[$($(($name, Key::$key),)+)+];
    };
}

keys! {
    Role = attributes::ROLE;
    Resource = attributes::RESOURCE;
    Capacity = attributes::CAPACITY;
    Units = attributes::UNITS;
    Target = attributes::TARGET;
    TimeoutMs = attributes::TIMEOUT_MS;
    WaitGroup = attributes::WAIT_GROUP;
    WaitNeeded = attributes::WAIT_NEEDED;
    WaitSize = attributes::WAIT_SIZE;
    Detached = attributes::DETACHED;
    Task = attributes::TASK;
    ErrorType = semconv::ERROR_TYPE;

    MessagingSystem = "messaging.system";
    /// The older one is from before 1.17 of the semantic conventions, and still what instrumentations of RabbitMQ send.
    Destination = semconv::MESSAGING_DESTINATION_NAME => "messaging.destination";
    Routing = "messaging.rabbitmq.destination.routing_key" => "messaging.rabbitmq.routing_key";
    /// The older one is from before 1.17.
    Conversation = semconv::MESSAGING_CONVERSATION_ID => "messaging.conversation_id";
    /// The older one is from before 1.26.
    MessagingOperation = "messaging.operation.type" => "messaging.operation";

    RpcService = semconv::RPC_SERVICE;
    /// Since 1.39 fully qualified, and then it says the service as well.
    RpcMethod = "rpc.method";
    PeerName = semconv::SERVICE_PEER_NAME;
    PeerService = semconv::PEER_SERVICE;
    ServerAddress = semconv::SERVER_ADDRESS;
    ServerPort = semconv::SERVER_PORT;
    /// From before 1.21, as is the port.
    NetPeerName = "net.peer.name" => "net.peer.ip";
    NetPeerPort = "net.peer.port";
    /// The older one is from before 1.21.
    Url = "url.full" => "http.url";

    /// The older one is from before 1.25.
    DbSystem = "db.system.name" => "db.system";
    /// The older one is from before 1.25.
    DbNamespace = "db.namespace" => "db.name";

    CodeFunction = "code.function.name" => "code.function";
    /// Only beside the older function name.
    CodeNamespace = "code.namespace";
    CodeFile = "code.file.path" => "code.filepath";
    CodeLine = "code.line.number" => "code.lineno";

    LogfireSpanType = "logfire.span_type";
    LogfirePendingParent = "logfire.pending_parent_id";
    TwinMark = "$span.partial";
    TwinSpanId = "$span.span_id";

    PartialEvent = "partial.event";
    PartialFrequency = "partial.frequency";
    PartialBodyType = "partial.body.type";
}

/// Attributes that matter of a span that has ended.
pub(crate) const OF_ENDED: [Key; 5] = [
    Key::Role,
    Key::ErrorType,
    Key::Conversation,
    Key::LogfireSpanType,
    Key::TwinMark,
];

/// Attributes by which a log record is more than a log record.
pub(crate) const OF_RECORDS: [Key; 3] = [Key::PartialEvent, Key::PartialFrequency, Key::PartialBodyType];

/// Lengths of names, as a set. Longer names than 63 bytes are none of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths(u64);

impl Lengths {
    /// Those of all names of the keys. Most attributes are not ours, and most of these already differ in length.
    pub(crate) const fn of(keys: &[Key]) -> Self {
        let mut set = 0;
        let mut name = 0;
        while name < NAMES.len() {
            let mut key = 0;
            while key < keys.len() {
                if keys[key] as u8 == NAMES[name].1 as u8 {
                    set |= 1 << NAMES[name].0.len();
                }
                key += 1;
            }
            name += 1;
        }
        Lengths(set)
    }

    #[inline]
    pub(crate) fn contains(self, len: usize) -> bool {
        len < 64 && self.0 >> len & 1 == 1
    }
}

/// Where in [`NAMES`], sorted by length, those of a length begin: they are few.
const LEN_MAX: usize = 48;

/// The names by length.
static BY_LEN: [&[(&str, Key)]; LEN_MAX] = {
    const SORTED: [(&str, Key); NAMES.len()] = sorted();
    let mut table: [&[(&str, Key)]; LEN_MAX] = [&[]; LEN_MAX];
    let mut len = 0;
    while len < LEN_MAX {
        let mut from = 0;
        while from < SORTED.len() && SORTED[from].0.len() < len {
            from += 1;
        }
        let mut to = from;
        while to < SORTED.len() && SORTED[to].0.len() == len {
            to += 1;
        }
        const ALL: &[(&str, Key)] = &SORTED;
        table[len] = ALL.split_at(to).0.split_at(from).1;
        len += 1;
    }
    table
};

/// All names, the shortest first.
const fn sorted() -> [(&'static str, Key); NAMES.len()] {
    let mut sorted = [NAMES[0]; NAMES.len()];
    let mut filled = 0;
    let mut len = 0;
    while len < LEN_MAX {
        let mut name = 0;
        while name < NAMES.len() {
            if NAMES[name].0.len() == len {
                sorted[filled] = NAMES[name];
                filled += 1;
            }
            name += 1;
        }
        len += 1;
    }
    assert!(filled == NAMES.len(), "a name is longer than LEN_MAX");
    sorted
}

impl Key {
    /// The attribute of this name, if we read it.
    #[inline]
    pub(crate) fn of(name: &[u8]) -> Option<Key> {
        let candidates = BY_LEN.get(name.len())?;
        candidates
            .iter()
            .find(|(known, _)| known.as_bytes() == name)
            .map(|(_, key)| *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_key() {
        for (name, key) in NAMES {
            assert_eq!(Key::of(name.as_bytes()), Some(*key), "{name}");
        }
        assert_eq!(Key::of(b"standoff.rolf"), None);
        assert_eq!(Key::of(b""), None);
        assert_eq!(Key::of(&[b'x'; 1000]), None);
    }

    #[test]
    fn lengths_are_those_of_the_names() {
        let lengths = Lengths::of(&OF_ENDED);
        let len = |name: &str| lengths.contains(name.len());
        assert!(OF_ENDED.iter().all(|key| {
            let mut names = NAMES.iter().filter(|(_, known)| known == key);
            names.all(|(name, _)| len(name))
        }));
        assert!(!len("http.request.method"), "an attribute like any other");
        assert!(!lengths.contains(64 + attributes::ROLE.len()));
    }
}
