//! Values of options, as people write them.

use std::net::SocketAddr;
use std::time::Duration;

/// An address, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaybeAddress(pub(crate) Option<SocketAddr>);

/// Times as people write them: `20ms`, `1.5s`, `10m`; `0` needs no unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|it| Duration::try_from(it).ok())
        .ok_or_else(|| "a time is a number with a unit: 20ms, 5s, 10m".to_owned())
}

/// A time that makes no sense as nothing.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        other => other,
    }
}

/// Names of hosts are not looked up: what listens must be where it says.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "an address is an IP address with a port: 127.0.0.1:4380, [::1]:4380".to_owned())
}

pub(super) fn address_or_off(text: &str) -> Result<MaybeAddress, String> {
    match text {
        "off" => Ok(MaybeAddress(None)),
        text => address(text)
            .map(|it| MaybeAddress(Some(it)))
            .map_err(|error| format!("{error}, or `off`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port() {
        assert_eq!(address("[::1]:7").map(|it| it.port()), Ok(7));
        for wrong in ["127.0.0.1", "localhost:4380", ":4380", ""] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn some_addresses_may_be_off() {
        assert_eq!(address_or_off("off"), Ok(MaybeAddress(None)));
        assert_eq!(address_or_off("127.0.0.1:7").map(|it| it.0.is_some()), Ok(true));
        assert!(address_or_off("of").is_err());
    }

    #[test]
    fn times_are_written_with_a_unit() {
        assert_eq!(positive("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(positive("0").is_err());
        assert_eq!(duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["20", "-1s", "soon", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
