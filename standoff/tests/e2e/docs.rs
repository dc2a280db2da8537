//! Every command that the documentation shows is run here as it stands there.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use xtask::servers;

use crate::support::{Collector, Running, free_address, standoff};

/// What a documented command does.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Ends by itself with this code.
    End(i32),
    /// Goes on until it is asked to end, and says this when it is ready.
    GoOn(&'static str),
    /// Is what these tests are run by, or another form of a command that is here too.
    Elsewhere,
}

const COMMANDS: &[(&str, Does)] = &[
    ("cargo run --release -- demo", Does::Elsewhere),
    ("cargo xtask test", Does::Elsewhere),
    ("cargo install --locked --path standoff", Does::Elsewhere),
    ("curl http://127.0.0.1:4380/api/v1/alerts", Does::Elsewhere),
    (
        "live/bin/pip install -r examples/python/requirements-live.txt",
        Does::Elsewhere,
    ),
    (
        "live/bin/python examples/python/services.py request 42",
        Does::Elsewhere,
    ),
    ("live/bin/python examples/python/services.py service-a", Does::Elsewhere),
    ("live/bin/python examples/python/services.py service-b", Does::Elsewhere),
    ("node examples/node/request.js 42", Does::Elsewhere),
    ("node examples/node/service-a.js", Does::Elsewhere),
    ("node examples/node/service-b.js", Does::Elsewhere),
    ("npm --prefix examples/node ci", Does::Elsewhere),
    ("python3 -m venv live", Does::Elsewhere),
    ("standoff agent", Does::GoOn("relay listens")),
    ("standoff bench delay --runs 50", Does::End(0)),
    ("standoff bench ingest --shares", Does::Elsewhere),
    (
        "standoff bench ingest --subjects bare --endpoint http://127.0.0.1:4317 --pid 4711",
        Does::Elsewhere,
    ),
    ("standoff bench relay --calls 1000000", Does::Elsewhere),
    ("standoff collector", Does::GoOn("collector listens")),
    ("standoff demo --json", Does::End(0)),
    ("standoff demo --script 's: A{B{A}}'", Does::End(1)),
    ("standoff request 7", Does::End(0)),
    ("standoff service-a", Does::GoOn("ready")),
    ("standoff service-b", Does::GoOn("ready")),
    ("standoff tui", Does::End(0)),
    ("standoff tui --once", Does::End(0)),
    // Last: what it leaves in the queues is served although nobody waits for it, and may deadlock again.
    ("standoff request 42", Does::End(1)),
];

/// The lines of all `sh` blocks.
fn documented() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let docs = root.join("docs").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let files = docs
        .chain([root.join("README.md")])
        .filter(|path| path.extension().is_some_and(|it| it == "md"));
    let mut commands = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let blocks = text.split("```sh\n").skip(1);
        for line in blocks.flat_map(|block| block.split("```").next().unwrap().lines()) {
            let command = line.split('#').next().unwrap().trim();
            commands.insert(command.to_owned());
        }
    }
    commands.remove("");
    commands
}

/// As a shell would split it, with single quotes only.
fn words(line: &str) -> Vec<&str> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(number, part)| match number % 2 {
            0 => part.split_whitespace().collect(),
            _ => vec![part],
        })
        .collect()
}

#[test]
fn the_documentation_shows_these_commands() {
    let known: BTreeSet<String> = COMMANDS.iter().map(|(command, _)| (*command).to_owned()).collect();
    assert_eq!(documented(), known);
}

#[tokio::test]
async fn the_documented_commands_do_what_they_should() {
    let (broker, store) = (servers::amqp().unwrap(), servers::redis().unwrap());
    let collector = Collector::start().await;
    let prepare = |line: &str| -> Command {
        let args = words(line).split_off(1);
        let mut command = standoff(&args);
        // The documentation uses the default addresses, on which others may listen here.
        command
            .env("STANDOFF_HTTP", free_address().to_string())
            .env("STANDOFF_STREAM", free_address().to_string())
            .env("STANDOFF_URL", collector.url())
            .env("STANDOFF_UPSTREAM", collector.upstream())
            .env("STANDOFF_AMQP", broker.url())
            .env("STANDOFF_REDIS", store.url())
            .env("STANDOFF_PREFIX", "documented:");
        // The demo shall not use them.
        if line.contains("demo") {
            command.env_remove("STANDOFF_AMQP").env_remove("STANDOFF_REDIS");
        }
        command
    };
    let mut going_on = Vec::new();
    for (line, does) in COMMANDS {
        if let Does::GoOn(ready) = does {
            let process = Running::start(line, prepare(line));
            process.logs(&[ready]).await;
            going_on.push(process);
        }
    }
    for (line, does) in COMMANDS {
        if let Does::End(code) = does {
            let mut process = Running::start(line, prepare(line));
            assert_eq!(process.ends().await.code(), Some(*code), "{line}: {}", process.log());
        }
    }
    for mut process in going_on {
        process.terminate();
        assert_eq!(process.ends().await.code(), Some(0));
    }
}

/// The code in a guide, by language, and the files that the tests compile or run, of which it has to be a part.
const SHOWN: &[(&str, &[&str])] = &[
    ("js", &["examples/node/rpc.js", "examples/node/telemetry.js"]),
    ("python", &["examples/python/rpc.py", "examples/python/telemetry.py"]),
    ("rust", &["docs/rust.md"]),
];

#[test]
fn the_guide_shows_code_that_is_run() {
    let read = |path: &str| std::fs::read_to_string(xtask::run::root().join(path)).unwrap();
    // Without the indentation that it has where it is run.
    let plain = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let guide = read("docs/instrumenting.md");
    for (language, files) in SHOWN {
        let sources: Vec<String> = files.iter().map(|file| plain(&read(file))).collect();
        let begin = format!("```{language}\n");
        let blocks = guide.split(&begin).skip(1);
        let blocks: Vec<&str> = blocks.map(|block| block.split("```").next().unwrap()).collect();
        assert!(!blocks.is_empty(), "{language}");
        for block in blocks {
            let shown = plain(block.trim());
            assert!(sources.iter().any(|source| source.contains(&shown)), "{block}");
        }
    }
}
