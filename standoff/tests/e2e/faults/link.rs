//! Links that lose everything without a word, and are healed.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::world::row;

/// Passes everything on to an address, or nothing: what was sent is neither refused nor lost, as on a link whose packets
/// are dropped and sent again.
pub(super) struct Proxy {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Proxy {
    pub(super) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut is_open = is_open.clone();
                tokio::spawn(async move {
                    is_open.wait_for(|it| *it).await.ok();
                    let Ok(server) = TcpStream::connect(to).await else {
                        return;
                    };
                    for stream in [&client, &server] {
                        stream.set_nodelay(true).ok();
                    }
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::join!(
                        pass(from_client, to_server, is_open.clone()),
                        pass(from_server, to_client, is_open)
                    );
                });
            }
        });
        Self { address, open }
    }

    pub(super) fn upstream(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn cut(&self) {
        self.open.send_replace(false);
    }

    pub(super) fn heal(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut is_open: watch::Receiver<bool>) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let opened = is_open.wait_for(|it| *it).await.is_ok();
        if !opened || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
    is_open.wait_for(|it| *it).await.ok();
    to.shutdown().await.ok();
}

/// Accepts connections, and never reads.
pub(super) struct Deaf {
    address: SocketAddr,
}

impl Deaf {
    pub(super) fn start() -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            while let Ok((connection, _)) = listener.accept() {
                kept.push(connection);
            }
        });
        Self { address }
    }

    pub(super) fn upstream(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Set for the test that runs itself in a network namespace.
const WITHIN: &str = "E2E_NAMESPACE";

/// Rules of this network namespace, which is nobody else's.
pub(super) struct Firewall;

impl Firewall {
    /// Runs the test again in a namespace where it may make rules, and is `None` when that has ended well, or says that
    /// there can be none. Within the namespace there is a firewall.
    pub(super) fn within_a_namespace(test: &str) -> Option<Self> {
        if std::env::var_os(WITHIN).is_some() {
            // The rule that delivers what is for this host comes behind those that drop.
            ip("link set lo up");
            ip("rule add pref 100 lookup local");
            ip("rule del pref 0");
            return Some(Self);
        }
        let unshare = |args: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(args).arg("--net");
            command
        };
        let can = |args: &[&str]| {
            unshare(args)
                .args(["ip", "rule"])
                .output()
                .is_ok_and(|it| it.status.success())
        };
        let Some(args) = [&[][..], &["--map-root-user"]].into_iter().find(|args| can(args)) else {
            row(
                "link cut by dropping rules",
                "no network namespaces here: only the silent proxy has cut links",
            );
            return None;
        };
        let itself = std::env::current_exe().unwrap();
        let again = unshare(args)
            .arg(itself)
            .args([test, "--exact", "--nocapture"])
            .env(WITHIN, "1")
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&again.stdout);
        let err = String::from_utf8_lossy(&again.stderr);
        assert!(again.status.success(), "{out}\n{err}");
        let seen = out.lines().find_map(|line| line.split(" │ ").nth(2)).unwrap();
        row("link cut by dropping rules", seen);
        None
    }

    pub(super) fn cut(&self, address: SocketAddr) {
        self.both_ways("add", address);
    }

    pub(super) fn heal(&self, address: SocketAddr) {
        self.both_ways("del", address);
    }

    fn both_ways(&self, verb: &str, address: SocketAddr) {
        for side in ["dport", "sport"] {
            ip(&format!(
                "rule {verb} pref 10 ipproto tcp {side} {} blackhole",
                address.port()
            ));
        }
    }
}

fn ip(args: &str) {
    let output = Command::new("ip").args(args.split(' ')).output().unwrap();
    assert!(
        output.status.success(),
        "ip {args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
