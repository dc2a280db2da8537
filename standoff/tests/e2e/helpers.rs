//! The helpers of the agent library in services against a real collector: what deadlocks through them fires, with the right
//! names, and what does not is not told of.

mod actors;
#[path = "../../../agent/tests/integrations/echo.rs"]
mod echo;
mod groups;
mod lapin;
mod locks;
mod tower;

use std::future::Future;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use standoff_agent::sync::Mutex;
use standoff_agent::{Agent, Spans};
use standoff_protocol::api::{Alert, AlertState};
use tokio::task::JoinSet;

use crate::support::{Collector, held};

/// An instrumented service of one instance, and what it is doing. All of it ends when this is dropped.
struct Service {
    spans: Spans,
    agent: Agent,
    tasks: JoinSet<()>,
    _provider: SdkTracerProvider,
}

impl Service {
    fn start(collector: &Collector, name: &str) -> Self {
        let agent = Agent::builder().upstream(collector.upstream()).start().unwrap();
        let identity = [("service.name", name), ("service.instance.id", name)];
        let resource = Resource::builder_empty()
            .with_attributes(identity.map(|(key, value)| KeyValue::new(key, value.to_owned())));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_span_processor(agent.processor())
            .build();
        Self {
            spans: Spans::new(&provider),
            agent,
            tasks: JoinSet::new(),
            _provider: provider,
        }
    }

    /// Does something within a handle of its own.
    fn does(&mut self, name: &str, what: impl Future<Output = ()> + Send + 'static) {
        let task = self.spans.handle(name.to_owned()).start();
        self.tasks.spawn(async move { task.run(what).await });
    }

    /// Two tasks that each have one of two locks, and want the other's.
    fn deadlocks(&mut self, names: [&'static str; 2]) {
        let locks = names.map(|name| std::sync::Arc::new(Mutex::new(&self.spans, name, ())));
        let both = std::sync::Arc::new(tokio::sync::Barrier::new(2));
        for (first, second) in [(0, 1), (1, 0)] {
            let (first, second) = (locks[first].clone(), locks[second].clone());
            let both = both.clone();
            self.does("takes two locks", async move {
                let _one = first.lock().await;
                both.wait().await;
                let _other = second.lock().await;
            });
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.agent.shutdown();
    }
}

/// The only alert that fires, and what its core occupies, sorted.
async fn fires(collector: &Collector) -> (Alert, Vec<String>) {
    let alert = collector.alert(AlertState::Firing).await;
    assert_eq!(collector.alerts().await.len(), 1);
    let mut names: Vec<String> = held(&alert).into_iter().map(str::to_owned).collect();
    names.sort_unstable();
    (alert, names)
}

/// Nothing of what is going on is told of. What is going on has to be reported by now; a deadlock that comes after it does
/// fire, and so shows that the collector had a chance to be wrong.
async fn stays_silent(collector: &Collector, service: &mut Service) {
    service.deadlocks(["marker 1", "marker 2"]);
    let (_, names) = fires(collector).await;
    assert_eq!(names, ["marker 1", "marker 2"]);
}

/// Waits until the collector knows of so many calls.
async fn knows_calls(collector: &Collector, calls: u64) {
    let what = format!("{calls} open calls");
    collector.stats(&what, |stats| stats.open_calls >= calls).await;
}

/// Longer than any test.
async fn compute() {
    tokio::time::sleep(Duration::from_secs(600)).await;
}
