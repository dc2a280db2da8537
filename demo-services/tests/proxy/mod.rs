//! A way to a server that can be cut and mended, as if the server went away and came back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections for as long as it is not cut.
pub(crate) struct Proxy {
    whole: Arc<watch::Sender<bool>>,
}

impl Proxy {
    /// A proxy before the server of `url`, and the URL by which to reach the server through it.
    pub(crate) async fn before(url: &str) -> (Proxy, String) {
        let (scheme, rest) = url.split_once("://").unwrap();
        let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
        let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
        let default_port = if scheme == "redis" { 6379 } else { 5672 };
        let target = if server.contains(':') {
            server.to_owned()
        } else {
            format!("{server}:{default_port}")
        };

        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .unwrap();
        let through = url.replacen(server, &listener.local_addr().unwrap().to_string(), 1);
        let whole = Arc::new(watch::Sender::new(true));
        tokio::spawn(accept(listener, target, whole.clone()));
        (Proxy { whole }, through)
    }

    /// Closes all connections, and new ones as soon as they are made.
    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Forwards connections again.
    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn accept(listener: TcpListener, target: String, whole: Arc<watch::Sender<bool>>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let (target, mut whole) = (target.clone(), whole.subscribe());
        tokio::spawn(async move {
            if !*whole.borrow_and_update() {
                return;
            }
            let Ok(mut server) = TcpStream::connect(target).await else {
                return;
            };
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                _ = whole.changed() => {}
            }
        });
    }
}
