//! How an instance is instrumented: an agent, and a tracer provider that knows who the instance is.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use standoff_agent::{Agent, Connection, Spans};

use super::{Settings, StartError};

/// How often an agent is asked whether it is connected. It tells nobody by itself.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The instrumentation of one instance.
pub struct Telemetry {
    agent: Agent,
    spans: Spans,
    // Spans can be started for as long as their provider lives.
    provider: SdkTracerProvider,
}

impl Telemetry {
    /// Starts an agent for the instance `instance` of `service`. A service would also add the span processor of its
    /// tracing backend here.
    pub fn start(service: &str, instance: &str, settings: &Settings) -> Result<Self, StartError> {
        let agent = Agent::builder()
            .upstream(settings.upstream.as_str())
            .report_after(settings.report_after)
            .lease(settings.lease)
            .start()
            .map_err(|source| StartError::Agent {
                instance: instance.to_owned(),
                source,
            })?;
        let resource = Resource::builder()
            .with_service_name(service.to_owned())
            .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(agent.processor())
            .build();
        Ok(Self {
            agent,
            spans: Spans::new(&provider),
            provider,
        })
    }

    /// Starts the spans of this instance.
    pub fn spans(&self) -> Spans {
        self.spans.clone()
    }

    /// Starts spans of any kind.
    pub fn provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    /// Until the collector has welcomed this instance.
    pub async fn connected(&self) {
        while self.agent.counters().connection != Connection::Connected {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What the agent has done.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Says goodbye to the collector: nothing of this instance is open any more.
    pub async fn shutdown(self) {
        // It waits for the collector for a bounded time, which must not hold up the runtime's other tasks.
        let goodbye = tokio::task::spawn_blocking(move || {
            self.agent.shutdown();
            self.provider.shutdown()
        });
        if !matches!(goodbye.await, Ok(Ok(()))) {
            tracing::debug!("the tracer provider had been shut down before");
        }
    }
}
