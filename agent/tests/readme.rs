//! What the README shows of the library, compiled.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use standoff_agent::{Agent, OpenSpan, Spans, propagation};

#[expect(
    dead_code,
    reason = "compiling it is the test; running it would look for a collector"
)]
fn set_up() -> Result<Spans, Box<dyn std::error::Error>> {
    let agent = Agent::builder().from_env()?.start()?;
    let provider = SdkTracerProvider::builder()
        // Its service.name and service.instance.id say who this instance is.
        .with_resource(Resource::builder().with_service_name("service-a").build())
        .with_span_processor(agent.processor())
        .build();
    let spans = Spans::new(&provider);
    Ok(spans)
}

#[expect(dead_code, reason = "compiling it is the test")]
fn instrument(spans: &Spans, mut headers: HashMap<String, String>) -> [OpenSpan; 3] {
    // While this consumer lives, it adds a unit to the pool.
    let member = spans.member("service-a").start();

    // A request that it serves occupies a unit, and answers the call that sent it.
    let caller = propagation::extract(&headers);
    let serving = spans.handle("serve").resource("service-a").parent(&caller).start();

    // Asking an actor, which does one thing at a time, for at most 5 s.
    let call = spans
        .call("{:server_a, 42}")
        .timeout(Duration::from_secs(5))
        .parent(serving.context())
        .start();
    propagation::inject(call.context(), &mut headers);
    [member, serving, call]
}

/// Lines without what indents them.
fn lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim())).collect()
}

#[test]
fn the_readme_shows_what_is_compiled_here() {
    let compiled = lines(include_str!("readme.rs"));
    let blocks: Vec<_> = include_str!("../../README.md").split("```rust\n").skip(1).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let block = block.split("```").next().unwrap_or_default();
        assert!(compiled.contains(&lines(block)), "not compiled:\n{block}");
    }
}
