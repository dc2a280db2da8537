//! Whom the relay takes on. A collector would end the channel of anybody else.

use standoff_protocol::stream::{Hello, PROTOCOL_VERSION, TEXT_BYTES_MAX};

use super::Refusal;

/// Checks how an instance introduces itself.
pub(super) fn check(hello: &Hello) -> Result<(), Refusal> {
    if hello.protocol_version != PROTOCOL_VERSION {
        return Err(Refusal::Version(hello.protocol_version));
    }
    let Some(instance) = hello.instance.as_ref().filter(|it| !it.instance_id.is_empty()) else {
        return Err(Refusal::Nameless);
    };
    let host = instance.process.as_ref().map_or("", |process| &process.host);
    let texts = [
        instance.instance_id.as_str(),
        &instance.service_name,
        &instance.service_namespace,
        host,
    ];
    if texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(Refusal::NameTooLong);
    }
    Ok(())
}
