//! The library as its user holds it: building, starting, counting, shutting down.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use opentelemetry_sdk::trace::ShouldSample;

use crate::prepared::Taken;
use crate::record;
use crate::reporter;
use crate::settings::{self, ConfigError, Settings};
use crate::shared::{SHUTDOWN_WITHIN, Shared};
use crate::{CaptureProcessor, CaptureSampler, Counters};

/// The library at work in this process. Cheap to clone; all clones are the same agent.
///
/// It says goodbye when it is [shut down](Agent::shutdown), when its tracer provider is, or when nobody holds it, its
/// clones, its processor or its sampler any more.
#[derive(Clone, Debug)]
pub struct Agent {
    running: Arc<Running>,
}

/// Keeps the reporter running.
#[derive(Debug)]
pub(crate) struct Running {
    shared: Arc<Shared>,
    /// Tells the agents of this process apart.
    number: u64,
}

/// The agents of this process, by their numbers. Asked only when something odd has happened.
static AGENTS: Mutex<BTreeMap<u64, Weak<Running>>> = Mutex::new(BTreeMap::new());

/// A span has been taken for another one, whose facts it was recorded with. It is not kept: better unknown than wrong.
pub(crate) fn disown(taken: Taken) {
    let agents = AGENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let running = agents.get(&taken.agent).and_then(Weak::upgrade);
    drop(agents);
    if let Some(running) = running {
        let shared = running.shared();
        shared.table.disown(record::id(taken.span_id), shared.now());
    }
}

impl Running {
    fn new(shared: Arc<Shared>) -> Arc<Self> {
        let mut agents = AGENTS.lock().unwrap_or_else(PoisonError::into_inner);
        agents.retain(|_, running| running.strong_count() > 0);
        // Above all that are there: two agents never have one number at the same time.
        let number = agents.last_key_value().map_or(1, |(number, _)| number + 1);
        let running = Arc::new(Running { shared, number });
        agents.insert(number, Arc::downgrade(&running));
        running
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Agent {
    /// Begins with the default settings.
    pub fn builder() -> AgentBuilder {
        AgentBuilder {
            settings: Settings::default(),
        }
    }

    /// What tells the agent of starts and ends of spans: to be given to the tracer provider, whose resource then is the
    /// instance's identity.
    pub fn processor(&self) -> CaptureProcessor {
        CaptureProcessor::new(Arc::clone(&self.running))
    }

    /// A sampler that decides like `decides`, except that what it drops is recorded for standoff all the same: a dropped
    /// start would be a wait that nobody sees. The context of such a span still says that it is not sampled, so services
    /// further down decide as they would have. Every other processor of the provider has to be a
    /// [`SampledOnly`](crate::SampledOnly), or it exports what you did not want to have sampled.
    ///
    /// With it, spans that neither wait nor serve cost least: no copy is taken of them. It sees the attributes that a
    /// span is started with, not those that another processor adds.
    ///
    /// ```
    /// # use opentelemetry_sdk::trace::{BatchSpanProcessor, Sampler, SdkTracerProvider};
    /// # use opentelemetry_sdk::error::OTelSdkResult;
    /// # use standoff_agent::{Agent, SampledOnly};
    /// # #[derive(Debug)]
    /// # struct OtlpExporter;
    /// # impl opentelemetry_sdk::trace::SpanExporter for OtlpExporter {
    /// #     async fn export(&self, _: Vec<opentelemetry_sdk::trace::SpanData>) -> OTelSdkResult { Ok(()) }
    /// # }
    /// # fn exporter() -> OtlpExporter { OtlpExporter }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let agent = Agent::builder().start()?;
    /// // One trace in a hundred goes to the tracing backend, every start to standoff.
    /// let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.01)));
    /// let backend = BatchSpanProcessor::builder(exporter()).build();
    /// let provider = SdkTracerProvider::builder()
    ///     .with_sampler(agent.sampler(sampler))
    ///     .with_span_processor(agent.processor())
    ///     .with_span_processor(SampledOnly::new(backend))
    ///     .build();
    /// # provider.shutdown()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sampler(&self, decides: impl ShouldSample + 'static) -> CaptureSampler {
        CaptureSampler::new(Arc::clone(&self.running), Box::new(decides))
    }

    /// Tells the collector what there still is to tell and says goodbye: nothing of this instance is open any more.
    /// Waits for at most 2 s for that. What starts afterwards is not captured.
    pub fn shutdown(&self) {
        self.running.shared.stop();
        self.running.shared.wait_stopped(SHUTDOWN_WITHIN);
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.running.shared.counters()
    }
}

/// Settings of an agent that is yet to start.
#[derive(Clone, Debug)]
#[must_use = "nothing runs until `start` is called"]
pub struct AgentBuilder {
    settings: Settings,
}

impl AgentBuilder {
    /// The collector or relay to report to. `http://127.0.0.1:4381` unless set.
    pub fn upstream(mut self, url: impl Into<String>) -> Self {
        self.settings.upstream = url.into();
        self
    }

    /// Calls, handles and holds are reported once they are this old; 20 ms unless set. Zero is at once.
    pub fn report_after(mut self, age: Duration) -> Self {
        self.settings.report_after = age;
        self
    }

    /// How often the collector hears of this instance at least; 1 s unless set.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.settings.heartbeat = interval;
        self
    }

    /// How long the instance is to be believed alive without news of it; 3 s unless set. There will be at least three
    /// heartbeats in this time. A connection that is stuck for as long is given up and made anew.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// How often what is due is sent; 5 ms unless set.
    pub fn flush_every(mut self, interval: Duration) -> Self {
        self.settings.flush_every = interval;
        self
    }

    /// Lets `STANDOFF_UPSTREAM`, `STANDOFF_REPORT_AFTER`, `STANDOFF_HEARTBEAT` and `STANDOFF_LEASE` override what has
    /// been set before. Durations are written as `20ms`, `3s` or `0`.
    ///
    /// # Errors
    ///
    /// A variable has a value that cannot be understood.
    pub fn from_env(mut self) -> Result<Self, ConfigError> {
        self.settings
            .read(|variable| Some(std::env::var_os(variable)?.to_string_lossy().into_owned()))?;
        Ok(self)
    }

    /// Starts the agent's thread. It connects once a tracer provider has been built with
    /// [`Agent::processor`], and goes on trying for as long as it takes.
    ///
    /// # Errors
    ///
    /// A setting makes no sense, or the operating system has no thread to give.
    pub fn start(self) -> Result<Agent, StartError> {
        let Settings {
            upstream,
            report_after: _,
            heartbeat,
            lease,
            flush_every,
        } = &self.settings;
        let endpoint = Some(upstream)
            .filter(|url| settings::is_url(url))
            .and_then(|url| reporter::endpoint(url));
        let Some(endpoint) = endpoint else {
            return Err(StartError::Upstream(upstream.clone()));
        };
        for (setting, value) in [("heartbeat", heartbeat), ("lease", lease), ("flush_every", flush_every)] {
            if value.is_zero() {
                return Err(StartError::Zero(setting));
            }
        }
        let shared = Arc::new(Shared::new(self.settings));
        reporter::spawn(Arc::clone(&shared), endpoint)?;
        Ok(Agent {
            running: Running::new(shared),
        })
    }
}

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The upstream is not a URL that can be connected to.
    #[error("the upstream `{0}` is not a URL of the form `http://host:port`")]
    Upstream(String),
    /// A time that has to be above zero is not.
    #[error("the setting `{0}` is zero")]
    Zero(&'static str),
    /// The operating system has no thread to give.
    #[error("cannot start the agent's thread")]
    Thread(#[source] io::Error),
    /// The operating system refuses what the runtime needs.
    #[error("cannot start the agent's runtime")]
    Runtime(#[source] io::Error),
}
