//! Deadlocks of gRPC services, each of which serves one request at a time.

use std::future::Future;
use std::net::SocketAddr;

use standoff_agent::Text;
use standoff_agent::tower::{ClientLayer, ServerLayer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status};
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{Layer as _, ServiceBuilder};

use super::echo::{Echo, say};
use super::{Service, compute, fires, knows_calls, stays_silent};
use crate::support::Collector;

/// A service that listens, and is yet to be told what to do.
struct Listening {
    service: Service,
    name: &'static str,
    listener: TcpListener,
}

impl Listening {
    async fn start(collector: &Collector, name: &'static str) -> Self {
        Self {
            service: Service::start(collector, name),
            name,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Serves one request at a time.
    fn serve<F>(self, answer: impl Fn(String) -> F + Send + Sync + 'static) -> Service
    where
        F: Future<Output = Result<String, Status>> + Send + 'static,
    {
        let name = self.name;
        self.serve_as(name, answer)
    }

    /// Serves one request at a time, as this resource.
    fn serve_as<F>(mut self, resource: impl Into<Text>, answer: impl Fn(String) -> F + Send + Sync + 'static) -> Service
    where
        F: Future<Output = Result<String, Status>> + Send + 'static,
    {
        let handles = ServerLayer::new(&self.service.spans).resource(resource).capacity(1);
        let layers = ServiceBuilder::new()
            .layer(GlobalConcurrencyLimitLayer::new(1))
            .layer(handles)
            .into_inner();
        let server = Server::builder().layer(layers).add_service(Echo::new(answer));
        let incoming = TcpListenerStream::new(self.listener);
        self.service
            .tasks
            .spawn(async move { server.serve_with_incoming(incoming).await.unwrap() });
        self.service
    }
}

/// A client of the service `name`.
fn client(service: &Service, name: &'static str, address: SocketAddr) -> standoff_agent::tower::Client<Channel> {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy();
    ClientLayer::new(&service.spans).target(name).layer(channel)
}

#[tokio::test]
async fn two_services_that_call_each_other() {
    let collector = Collector::start().await;
    let a = Listening::start(&collector, "stock").await;
    let b = Listening::start(&collector, "prices").await;
    let mut requester = Service::start(&collector, "requester");
    let request = client(&requester, "stock", a.address());
    let (to_a, to_b) = (
        client(&b.service, "stock", a.address()),
        client(&a.service, "prices", b.address()),
    );
    // Stock asks prices, which asks stock.
    let _a = a.serve(move |text| say(to_b.clone(), Request::new(text)));
    let _b = b.serve(move |text| say(to_a.clone(), Request::new(text)));
    requester.does("request", async move {
        say(request, Request::new("42".to_owned())).await.unwrap();
    });
    let (alert, names) = fires(&collector).await;
    assert_eq!(names, ["prices", "stock"]);
    assert_eq!(alert.summary, "prices → stock → prices");
    assert!(alert.core.iter().all(|task| task.name == "test.Echo/Say"));
}

/// Nobody names a target, so it is the address of the server; tonic has to be told to put it into its requests.
#[tokio::test]
async fn two_services_that_go_by_their_addresses() {
    let collector = Collector::start().await;
    let a = Listening::start(&collector, "stock").await;
    let b = Listening::start(&collector, "prices").await;
    let mut requester = Service::start(&collector, "requester");
    let client = |service: &Service, address: SocketAddr| {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let origin = endpoint.uri().clone();
        // Outermost, so that what the layer sees has the address.
        ServiceBuilder::new()
            .map_request(move |request: http::Request<Body>| with_origin(request, &origin))
            .layer(ClientLayer::new(&service.spans))
            .service(endpoint.connect_lazy())
    };
    let request = client(&requester, a.address());
    let (to_a, to_b) = (client(&b.service, a.address()), client(&a.service, b.address()));
    let mut addresses = [a.address().to_string(), b.address().to_string()];
    let _a = a.serve_as(addresses[0].clone(), move |text| say(to_b.clone(), Request::new(text)));
    let _b = b.serve_as(addresses[1].clone(), move |text| say(to_a.clone(), Request::new(text)));
    requester.does("request", async move {
        say(request, Request::new("42".to_owned())).await.unwrap();
    });
    let (_, names) = fires(&collector).await;
    addresses.sort_unstable();
    assert_eq!(names, addresses);
}

fn with_origin(mut request: http::Request<Body>, origin: &http::Uri) -> http::Request<Body> {
    let mut parts = origin.clone().into_parts();
    parts.path_and_query = request.uri().path_and_query().cloned();
    *request.uri_mut() = http::Uri::from_parts(parts).unwrap();
    request
}

#[tokio::test]
async fn a_service_that_takes_its_time_is_no_deadlock() {
    let collector = Collector::start().await;
    let a = Listening::start(&collector, "stock").await;
    let b = Listening::start(&collector, "prices").await;
    let mut requester = Service::start(&collector, "requester");
    let (request, to_b) = (
        client(&requester, "stock", a.address()),
        client(&a.service, "prices", b.address()),
    );
    let _a = a.serve(move |text| say(to_b.clone(), Request::new(text)));
    let _b = b.serve(async |text| {
        compute().await;
        Ok(text)
    });
    for _ in 0..3 {
        let request = request.clone();
        requester.does("request", async move {
            say(request, Request::new("7".to_owned())).await.unwrap();
        });
    }
    // Three requests, of which one is served and asks.
    knows_calls(&collector, 4).await;
    stays_silent(&collector, &mut requester).await;
}
