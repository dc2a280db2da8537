//! Names of the attributes by which a span says what it waits for and what it occupies.
//!
//! `docs/attributes.md` is the reference for users.

/// `call`, `handle`, `hold`, `member` or `none`: overrides the role that follows from the span's kind.
pub const ROLE: &str = "standoff.role";
/// On a handle or hold: the resources of which this span occupies a unit. On a member: those to which it contributes.
pub const RESOURCE: &str = "standoff.resource";
/// On a handle or hold: the resource's capacity, when no members declare it.
pub const CAPACITY: &str = "standoff.capacity";
/// On a call, hold or member: units asked for, held or contributed. Without it, 1.
pub const UNITS: &str = "standoff.units";
/// On a call: the resource a unit of which is needed until a handler accepts.
pub const TARGET: &str = "standoff.target";
/// On a call: the caller gives up after this many milliseconds.
pub const TIMEOUT_MS: &str = "standoff.timeout_ms";
/// On a call: calls of one task with the same value form one wait group.
pub const WAIT_GROUP: &str = "standoff.wait.group";
/// On a call: how many of its group must finish.
pub const WAIT_NEEDED: &str = "standoff.wait.needed";
/// On a call: how many calls its group has in all.
pub const WAIT_SIZE: &str = "standoff.wait.size";
/// On a call: the enclosing handler does not wait for it.
pub const DETACHED: &str = "standoff.detached";
/// The span id of the enclosing handle as 16 hexadecimal digits, where the parent chain is not exported in full.
pub const TASK: &str = "standoff.task";

/// Names that OpenTelemetry's semantic conventions give.
pub mod semconv {
    /// What a call waits for, in order of preference, when [`super::TARGET`] is absent. `server.address` counts only
    /// together with [`SERVER_PORT`].
    pub const TARGETS: [&str; 4] = [MESSAGING_DESTINATION_NAME, RPC_SERVICE, SERVICE_PEER_NAME, PEER_SERVICE];
    /// The queue or topic of a message.
    pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
    /// The correlation id of a message.
    pub const MESSAGING_CONVERSATION_ID: &str = "messaging.message.conversation_id";
    /// The called service of a remote procedure call.
    pub const RPC_SERVICE: &str = "rpc.service";
    /// The name of the called service.
    pub const SERVICE_PEER_NAME: &str = "service.peer.name";
    /// The older form of [`SERVICE_PEER_NAME`].
    pub const PEER_SERVICE: &str = "peer.service";
    /// The called host.
    pub const SERVER_ADDRESS: &str = "server.address";
    /// The called port.
    pub const SERVER_PORT: &str = "server.port";
    /// Why a span failed; `timeout` and `cancelled` are told apart.
    pub const ERROR_TYPE: &str = "error.type";
    /// The name of the service that an instance is a copy of.
    pub const SERVICE_NAME: &str = "service.name";
    /// The namespace of [`SERVICE_NAME`].
    pub const SERVICE_NAMESPACE: &str = "service.namespace";
    /// The identity of an instance.
    pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
}
