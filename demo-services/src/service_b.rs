//! ServiceB: its result for an id is twice the id, which it computes alone; but for 42 it asks ServiceA.
//!
//! That is the mistake that standoff is to find: ServiceA needs `{:server_a, 42}`, which is waiting for this very result.

use async_trait::async_trait;

use crate::integer;
use crate::process::{Exit, Server};
use crate::rpc::Client;
use crate::service::Definition;
use crate::service_a::SERVICE_A;

/// The id for which ServiceB asks ServiceA.
pub const DEADLOCK_ID: i64 = 42;

/// ServiceB.
pub const SERVICE_B: Definition = Definition {
    name: "service-b",
    process: "server_b",
    server: |id, client| Box::new(ServerB { id, client }),
};

/// The process `{:server_b, id}`.
struct ServerB {
    id: i64,
    client: Client,
}

#[async_trait]
impl Server for ServerB {
    async fn handle(&mut self, _request: Vec<u8>) -> Result<Vec<u8>, Exit> {
        if self.id != DEADLOCK_ID {
            return Ok(integer::encode(self.id.wrapping_mul(2)));
        }
        match self.client.ask(SERVICE_A.name, self.id).await {
            Ok(result) => Ok(integer::encode(result)),
            Err(error) => Err(Exit::because(&error)),
        }
    }
}
