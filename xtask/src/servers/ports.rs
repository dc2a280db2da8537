//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use anyhow::{Context, Result};

/// Below the ports that systems give to outgoing connections (from 32768 on Linux, from 49152 elsewhere). While a
/// server is stopped, its port must not go to a client; a client that keeps trying to reconnect could even be given
/// the very port it is trying, and end up connected to itself.
const PORTS: Range<u16> = 15_000..30_000;

/// How many ports are tried before giving up: so many taken in a row means that nearly all are.
const TRIES_MAX: usize = 200;

/// A port on which nothing listens. Somebody else may take it before it is used, but the choice is random, so that is
/// as unlikely as the range is large.
pub(super) fn free() -> Result<u16> {
    (0..TRIES_MAX)
        .map(|_| rand::random_range(PORTS))
        .find(|&port| is_free(port))
        .with_context(|| format!("no free port between {} and {}", PORTS.start, PORTS.end))
}

pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_in_range_and_can_be_bound() {
        let port = free().unwrap();
        assert!(PORTS.contains(&port));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(!is_free(port));
        drop(listener);
        assert!(is_free(port));
    }
}
