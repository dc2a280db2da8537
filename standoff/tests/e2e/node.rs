//! `examples/node`, in both encodings of OTLP, and together with services in other languages.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use xtask::node::Node;
use xtask::{run, servers};

use crate::foreign::{Example, Ground, Role, check_busy_for_a_minute, check_deadlock};
use crate::support::standoff;

/// What a service exports of its spans.
#[derive(Clone, Copy)]
enum Export {
    /// That they have begun, and that they have ended.
    Live,
    /// What the SDK does by itself.
    Ended,
}

impl Export {
    /// How many requests a second its load is: where it is to be busy, as many as leave room for other tests.
    fn per_second(self) -> u32 {
        match self {
            Export::Live => 20,
            Export::Ended => 80,
        }
    }
}

fn example(protocol: &str, export: Export) -> impl Example {
    let Node { program, modules } = xtask::node::node().unwrap();
    // The modules are below the target folder, and Node looks for them only beside the code.
    let folder = TempDir::new().unwrap();
    for file in code().chain([run::root().join("examples/node/package.json")]) {
        fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();

    let protocol = protocol.to_owned();
    move |ground: &Ground, role: Role<'_>| {
        let mut command = ground.program(&program);
        command
            .current_dir(folder.path())
            .env("AMQP_URL", &ground.amqp)
            .env("PREFIX", &ground.prefix)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", ground.collector.otlp_http())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", &protocol);
        match export {
            Export::Live => command.env("EXPORT", "live"),
            Export::Ended => command.env("EXPORT", "ended"),
        };
        match role {
            Role::ServiceA => command.arg("service-a.js"),
            Role::ServiceB => command.arg("service-b.js"),
            Role::Request(ids) => command.arg("request.js").args(ids.iter().map(i64::to_string)),
            Role::Load(seconds) => command.args(["load.js", &export.per_second().to_string(), &seconds.to_string()]),
        };
        command
    }
}

#[tokio::test]
async fn a_deadlock_told_in_protobuf() {
    check_deadlock(example("http/protobuf", Export::Live)).await;
}

#[tokio::test]
async fn a_deadlock_told_in_json() {
    check_deadlock(example("http/json", Export::Live)).await;
}

#[tokio::test]
async fn node_tells_of_ended_spans_for_a_minute() {
    check_busy_for_a_minute(example("http/protobuf", Export::Ended)).await;
}

#[tokio::test]
async fn a_deadlock_of_a_service_in_node_and_one_in_python() {
    let node = example("http/protobuf", Export::Live);
    let python = crate::python::example("live", "live");
    check_deadlock(move |ground: &Ground, role: Role<'_>| match role {
        Role::ServiceB => python(ground, role),
        Role::ServiceA | Role::Request(_) | Role::Load(_) => node(ground, role),
    })
    .await;
}

/// One of them can be asked, and the other cannot.
#[tokio::test]
async fn a_deadlock_of_a_service_in_node_and_one_that_standoff_instruments() {
    let node = example("http/protobuf", Export::Live);
    let store = servers::redis().unwrap();
    check_deadlock(move |ground: &Ground, role: Role<'_>| match role {
        Role::ServiceA => standoff(&[
            "service-a",
            "--amqp",
            &ground.amqp,
            "--redis",
            store.url(),
            "--prefix",
            &ground.prefix,
            "--upstream",
            &ground.collector.upstream(),
        ]),
        Role::ServiceB | Role::Request(_) | Role::Load(_) => node(ground, role),
    })
    .await;
}

/// The files of the example.
fn code() -> impl Iterator<Item = PathBuf> {
    let files = run::root().join("examples/node").read_dir().unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|it| it == "js"))
}
