//! Handshakes: who may take part, and as whom.

use std::time::Duration;

use standoff_protocol::stream::{Hello, PROTOCOL_VERSION, RelayHello, TEXT_BYTES_MAX};
use tonic::Status;

use crate::instances::Identity;
use crate::known::InstanceKey;

/// The longest lease that an instance may ask for. Silence beyond it helps nobody.
const LEASE_MAX: Duration = Duration::from_secs(300);

/// Who an instance says it is.
pub(super) fn identity(hello: Hello) -> Result<Identity, Status> {
    check_version("instance", hello.protocol_version)?;
    let instance = hello.instance.unwrap_or_default();
    if instance.instance_id.is_empty() {
        return Err(Status::invalid_argument(
            "the hello names no instance: set service.instance.id",
        ));
    }
    let process = instance.process.unwrap_or_default();
    let texts = [
        &instance.instance_id,
        &instance.service_name,
        &instance.service_namespace,
        &process.host,
    ];
    if texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(Status::invalid_argument(format!(
            "the instance's names are longer than the {TEXT_BYTES_MAX} bytes that are accepted"
        )));
    }
    Ok(Identity {
        key: InstanceKey {
            instance_id: instance.instance_id,
            incarnation: instance.incarnation,
        },
        service: instance.service_name,
        namespace: instance.service_namespace,
        process,
        lease: (hello.lease_ms > 0).then(|| Duration::from_millis(hello.lease_ms.into()).min(LEASE_MAX)),
        cannot_be_asked: hello.cannot_be_asked,
    })
}

/// The name of a relay.
pub(super) fn relay_name(hello: RelayHello) -> Result<String, Status> {
    check_version("relay", hello.protocol_version)?;
    if hello.name.len() > TEXT_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "the relay's name is longer than the {TEXT_BYTES_MAX} bytes that are accepted"
        )));
    }
    Ok(hello.name)
}

fn check_version(who: &str, version: u32) -> Result<(), Status> {
    if version == PROTOCOL_VERSION {
        return Ok(());
    }
    Err(Status::failed_precondition(format!(
        "this collector speaks protocol version {PROTOCOL_VERSION}, the {who} speaks {version}: use the same release of both"
    )))
}
