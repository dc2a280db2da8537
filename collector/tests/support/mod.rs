//! A collector on ports that nobody else has.

use std::net::{Ipv4Addr, SocketAddr};

use standoff_collector::{Collector, Settings, Times};

pub(crate) async fn started() -> Collector {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = Settings {
        http: any_port,
        stream: any_port,
        otlp_grpc: Some(any_port),
        otlp_http: Some(any_port),
        data_dir: None,
        times: Times::default(),
    };
    Collector::start(settings).await.unwrap()
}
