//! `examples/python`, with each of its ways to tell of open spans.

use std::process::Command;

use crate::foreign::{Ground, Role, check_busy_for_a_minute, check_deadlock};

/// The example, with the libraries of one environment.
pub(crate) fn example(environment: &str, telemetry: &str) -> impl Fn(&Ground, Role<'_>) -> Command {
    let python = xtask::python::environments()
        .unwrap()
        .join(environment)
        .join("bin/python");
    let services = xtask::run::root().join("examples/python/services.py");
    move |ground, role| {
        let mut command = ground.program(&python);
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(&services);
        match role {
            Role::ServiceA => command.arg("service-a"),
            Role::ServiceB => command.arg("service-b"),
            Role::Request(ids) => command.arg("request").args(ids.iter().map(i64::to_string)),
            Role::Load(seconds) => command.args(["request", "--load", &seconds.to_string()]),
        };
        command
            .args(["--telemetry", telemetry, "--otlp", &ground.collector.otlp_http()])
            .args(["--amqp", &ground.amqp, "--prefix", &ground.prefix]);
        command
    }
}

#[tokio::test]
async fn a_deadlock_told_by_a_live_span_processor() {
    check_deadlock(example("live", "live")).await;
}

#[tokio::test]
async fn a_deadlock_told_by_heartbeats() {
    check_deadlock(example("partial", "partial")).await;
}

#[tokio::test]
async fn a_deadlock_told_by_logfire() {
    check_deadlock(example("logfire", "logfire")).await;
}

#[tokio::test]
async fn python_tells_of_ended_spans_for_a_minute() {
    check_busy_for_a_minute(example("live", "stock")).await;
}
