//! A relay, and services that report to it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use standoff_agent::relay::{Relay, Settings, Upstream};
use standoff_agent::{Agent, Spans};
use tokio::runtime::Runtime;

pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(crate) struct World {
    relay: Option<Relay>,
    pub(crate) stream: SocketAddr,
    pub(crate) otlp_grpc: Option<SocketAddr>,
    pub(crate) otlp_http: Option<SocketAddr>,
    pub(crate) runtime: Runtime,
}

pub(crate) fn settings() -> Settings {
    Settings {
        stream: ANY_PORT,
        http: Some(ANY_PORT),
        otlp_grpc: None,
        otlp_http: None,
        name: "relay".into(),
        heartbeat: Duration::from_secs(1),
        lease: Duration::from_secs(3),
        max_open: Duration::from_secs(600),
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

impl World {
    pub(crate) fn new(upstreams: Vec<Box<dyn Upstream>>) -> Self {
        Self::on(runtime(), upstreams)
    }

    pub(crate) fn on(runtime: Runtime, upstreams: Vec<Box<dyn Upstream>>) -> Self {
        Self::with(settings(), runtime, upstreams)
    }

    /// With OTLP.
    pub(crate) fn with_otlp(upstreams: Vec<Box<dyn Upstream>>) -> Self {
        let settings = Settings {
            otlp_grpc: Some(ANY_PORT),
            otlp_http: Some(ANY_PORT),
            ..settings()
        };
        Self::with(settings, runtime(), upstreams)
    }

    fn with(settings: Settings, runtime: Runtime, upstreams: Vec<Box<dyn Upstream>>) -> Self {
        let relay = runtime.block_on(Relay::start(settings, upstreams)).unwrap();
        Self {
            stream: relay.stream(),
            otlp_grpc: relay.otlp_grpc(),
            otlp_http: relay.otlp_http(),
            relay: Some(relay),
            runtime,
        }
    }

    pub(crate) fn service(&self, name: &str) -> Service {
        let agent = Agent::builder()
            .upstream(format!("http://{}", self.stream))
            .report_after(Duration::from_millis(20))
            .start()
            .unwrap();
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", name.to_owned()),
                KeyValue::new("service.instance.id", name.to_owned()),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(agent.processor())
            .build();
        let spans = Spans::new(&provider);
        Service {
            agent,
            spans,
            _provider: provider,
        }
    }

    pub(crate) fn stop(&mut self) {
        if let Some(relay) = self.relay.take() {
            self.runtime.block_on(relay.stop());
        }
    }

    /// Starts another relay where the one before was.
    pub(crate) fn start_again(&mut self, upstreams: Vec<Box<dyn Upstream>>) {
        let settings = Settings {
            stream: self.stream,
            otlp_grpc: self.otlp_grpc,
            otlp_http: self.otlp_http,
            ..settings()
        };
        self.relay = Some(self.runtime.block_on(Relay::start(settings, upstreams)).unwrap());
    }

    /// Asks the status page.
    pub(crate) fn get(&self, path: &str) -> String {
        let address = self.relay.as_ref().and_then(Relay::http).unwrap();
        request(address, &format!("GET {path} HTTP/1.1\r\n"), "")
    }

    /// Sends spans, as JSON.
    pub(crate) fn post(&self, body: &str) -> String {
        let head = "POST /v1/traces HTTP/1.1\r\nContent-Type: application/json\r\n";
        request(self.otlp_http.unwrap(), head, body)
    }
}

fn request(address: SocketAddr, head: &str, body: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        connection,
        "{head}Host: relay\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) struct Service {
    pub(crate) agent: Agent,
    pub(crate) spans: Spans,
    _provider: SdkTracerProvider,
}
