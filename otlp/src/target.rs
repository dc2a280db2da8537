//! What a call waits for, by the names that it gives.
//!
//! Whoever instruments for standoff says `standoff.target`. Of everybody else the semantic conventions say where the call
//! goes: in several generations, and not always where one would look. A wrong name is worse than none: nothing is known
//! about a name that nobody serves, hence it is live, but a name that means something else may be served by others.

use std::borrow::Cow;

use crate::attributes::Attributes;
use crate::keys::Key;

/// The resource that a call named `name` needs until a handler accepts it; empty if it does not say.
pub(crate) fn target(attributes: &Attributes<'_>, name: &str) -> String {
    if let Some(said) = attributes.text(Key::Target) {
        return said.into_owned();
    }
    let is_messaging = is_messaging(attributes);
    if is_messaging && awaits_messages(attributes) {
        return String::new();
    }
    let queue = if is_messaging { queue(attributes, name) } else { None };
    let said = queue
        .or_else(|| attributes.text(Key::RpcService))
        .or_else(|| rpc_service(attributes))
        .or_else(|| attributes.text(Key::PeerName))
        .or_else(|| attributes.text(Key::PeerService));
    if let Some(said) = said {
        return said.into_owned();
    }
    // The server of a message is the broker, which answers nobody.
    if is_messaging {
        return String::new();
    }
    address(attributes)
        .or_else(|| database(attributes))
        .or_else(|| authority(&attributes.text(Key::Url)?))
        .unwrap_or_default()
}

fn is_messaging(attributes: &Attributes<'_>) -> bool {
    [Key::MessagingSystem, Key::Destination, Key::Routing]
        .iter()
        .any(|key| attributes.get(*key).is_some())
}

/// Whoever waits for messages, or settles one, does not wait for a consumer of that queue.
fn awaits_messages(attributes: &Attributes<'_>) -> bool {
    let operation = attributes.text(Key::MessagingOperation);
    operation.is_some_and(|it| matches!(it.as_ref(), "receive" | "process" | "settle" | "deliver" | "ack"))
}

/// The queue or topic that a message goes to.
fn queue<'a>(attributes: &'a Attributes<'_>, name: &'a str) -> Option<Cow<'a, str>> {
    let destination = attributes.text(Key::Destination);
    // Some instrumentations know that there is a name but not which.
    let destination = destination.filter(|name| !matches!(name.as_ref(), "(temporary)" | "(anonymous)" | "<default>"));
    destination
        .or_else(|| attributes.text(Key::Routing))
        .or_else(|| of_span_name(name))
}

/// `rpc.b` of `rpc.b send` or `send rpc.b`, as the conventions, older and current, have spans named.
fn of_span_name(name: &str) -> Option<Cow<'_, str>> {
    const OPERATIONS: [&str; 4] = ["send", "publish", "create", "request"];
    let (first, rest) = name.split_once(' ')?;
    if OPERATIONS.contains(&first) {
        return (!matches!(rest, "" | "<default>")).then_some(rest.into());
    }
    let (start, last) = name.rsplit_once(' ')?;
    (OPERATIONS.contains(&last) && !start.is_empty()).then_some(start.into())
}

/// `shop.Cart` of `shop.Cart/Add`.
fn rpc_service<'a>(attributes: &'a Attributes<'_>) -> Option<Cow<'a, str>> {
    let method = attributes.text(Key::RpcMethod)?;
    let (service, _) = method.trim_start_matches('/').rsplit_once('/')?;
    (!service.is_empty()).then(|| Cow::Owned(service.to_owned()))
}

/// Host and port.
fn address(attributes: &Attributes<'_>) -> Option<String> {
    let of = |address: Key, port: Key| {
        let address = attributes.text(address)?;
        match attributes.text(port) {
            // Some say the port in both.
            Some(port) if has_port(&address, &port) => Some(address.into_owned()),
            Some(port) => Some(crate::attributes::cut(&format!("{address}:{port}")).to_owned()),
            // A host alone may offer anything.
            None => None,
        }
    };
    of(Key::ServerAddress, Key::ServerPort).or_else(|| of(Key::NetPeerName, Key::NetPeerPort))
}

/// Whether an address ends with its port. Of an address of IPv6 only one in brackets can.
fn has_port(address: &str, port: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(host, said)| said == port && (!host.contains(':') || host.ends_with(']')))
}

/// The database, where it has no address: for display, since nobody says who holds what in it.
fn database(attributes: &Attributes<'_>) -> Option<String> {
    let system = attributes.text(Key::DbSystem)?;
    let Some(namespace) = attributes.text(Key::DbNamespace) else {
        return Some(system.into_owned());
    };
    Some(crate::attributes::cut(&format!("{system}/{namespace}")).to_owned())
}

/// `host:8080` of `http://user@host:8080/path`; with the port that the scheme implies if it has none.
fn authority(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() {
        return None;
    }
    // The last colon of `[::1]` does not begin a port.
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    match scheme {
        _ if has_port => Some(host.to_owned()),
        "http" => Some(format!("{host}:80")),
        "https" => Some(format!("{host}:443")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Value;

    fn check(said: &[(&str, &str)], name: &str, expected: &str) {
        let mut attributes = Attributes::default();
        for (key, value) in said {
            attributes.add(Key::of(key.as_bytes()).expect(key), Value::Text((*value).into()));
        }
        assert_eq!(target(&attributes, name), expected, "{said:?} {name}");
    }

    #[test]
    fn the_first_name_counts() {
        let mut said = vec![
            ("server.port", "5672"),
            ("server.address", "host"),
            ("peer.service", "older"),
            ("service.peer.name", "peer"),
            ("rpc.service", "rpc"),
            ("messaging.destination.name", "queue"),
            ("standoff.target", "said"),
        ];
        for expected in ["said", "queue", "rpc", "peer", "older", "host:5672", "", ""] {
            check(&said, "name", expected);
            said.pop();
        }
    }

    #[test]
    fn older_names_count() {
        check(&[("messaging.destination", "q")], "n", "q");
        check(&[("net.peer.name", "h"), ("net.peer.port", "1")], "n", "h:1");
        check(&[("net.peer.ip", "::1"), ("net.peer.port", "1")], "n", "::1:1");
        check(&[("http.url", "http://h:8080/x?y#z")], "n", "h:8080");
        check(&[("rpc.method", "shop.Cart/Add")], "n", "shop.Cart");
        check(&[("rpc.method", "Add"), ("peer.service", "p")], "n", "p");
    }

    #[test]
    fn a_broker_is_not_what_a_message_waits_for() {
        let broker = [
            ("server.address", "broker"),
            ("server.port", "5672"),
            ("messaging.system", "rabbitmq"),
        ];
        check(&broker, "n", "");
        check(&[("peer.service", "service-b"), broker[0], broker[2]], "n", "service-b");
    }

    #[test]
    fn queues_are_found_where_libraries_put_them() {
        let system = ("messaging.system", "rabbitmq");
        check(
            &[system, ("messaging.destination", "(temporary)")],
            "rpc.b send",
            "rpc.b",
        );
        check(&[system], "send rpc.b", "rpc.b");
        check(&[system], "publish <default>", "");
        check(&[system], "charge the card", "");
        let by_key = [
            system,
            ("messaging.destination", ""),
            ("messaging.rabbitmq.routing_key", "rpc.n"),
        ];
        check(&by_key, "publish <default>", "rpc.n");
    }

    #[test]
    fn whoever_waits_for_messages_waits_for_no_consumer() {
        for operation in ["messaging.operation.type", "messaging.operation"] {
            check(&[("messaging.destination.name", "q"), (operation, "receive")], "n", "");
            check(&[("messaging.destination.name", "q"), (operation, "send")], "n", "q");
        }
    }

    #[test]
    fn a_port_is_said_once() {
        check(&[("server.address", "h:80"), ("server.port", "80")], "n", "h:80");
        check(&[("server.address", "h80"), ("server.port", "80")], "n", "h80:80");
        check(
            &[("server.address", "[::1]:80"), ("server.port", "80")],
            "n",
            "[::1]:80",
        );
        check(&[("server.address", "h")], "n", "");
    }

    #[test]
    fn urls_and_databases() {
        check(&[("url.full", "https://user:word@h/x")], "n", "h:443");
        check(&[("url.full", "http://[::1]/")], "n", "[::1]:80");
        check(&[("url.full", "http://[::1]:8/")], "n", "[::1]:8");
        check(&[("url.full", "unix:/run/x")], "n", "");
        check(&[("url.full", "http:///x")], "n", "");
        check(&[("db.system", "redis"), ("db.name", "0")], "n", "redis/0");
        check(&[("db.system.name", "postgresql")], "n", "postgresql");
    }
}
