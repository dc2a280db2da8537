//! ServiceA: its result for an id is ServiceB's result plus one.

use async_trait::async_trait;

use crate::integer;
use crate::process::{Exit, Server};
use crate::rpc::Client;
use crate::service::Definition;
use crate::service_b::SERVICE_B;

/// ServiceA.
pub const SERVICE_A: Definition = Definition {
    name: "service-a",
    process: "server_a",
    server: |id, client| Box::new(ServerA { id, client }),
};

/// The process `{:server_a, id}`. It has no resource but itself: `process.rs` opens its handle span, and the call that
/// it makes is opened by the client.
struct ServerA {
    id: i64,
    client: Client,
}

#[async_trait]
impl Server for ServerA {
    async fn handle(&mut self, _request: Vec<u8>) -> Result<Vec<u8>, Exit> {
        match self.client.ask(SERVICE_B.name, self.id).await {
            Ok(result) => Ok(integer::encode(result.wrapping_add(1))),
            Err(error) => Err(Exit::because(&error)),
        }
    }
}
