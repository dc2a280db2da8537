//! Dependencies point one way. ARCHITECTURE.md says why each of these edges is there, and why the others are not.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail like tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// For each package, which of the others it may need in order to run. Optional dependencies count like any other.
const MAY_KNOW: &[(&str, &[&str])] = &[
    (
        "standoff",
        &[
            "standoff-agent",
            "standoff-collector",
            "standoff-demo-services",
            "standoff-otlp",
            "standoff-protocol",
            "standoff-script",
            "standoff-tui",
        ],
    ),
    // The relay receives OTLP; services, which do not need it, get nothing of that.
    ("standoff-agent", &["standoff-otlp", "standoff-protocol"]),
    // The same sources, once more.
    ("standoff-agent-schedules", &["standoff-protocol"]),
    (
        "standoff-collector",
        &["standoff-otlp", "standoff-protocol", "standoff-wait-graph"],
    ),
    ("standoff-demo-services", &["standoff-agent", "standoff-script"]),
    ("standoff-otlp", &["standoff-protocol"]),
    ("standoff-protocol", &[]),
    ("standoff-script", &[]),
    ("standoff-tui", &["standoff-protocol"]),
    ("standoff-wait-graph", &[]),
    ("xtask", &[]),
];

/// Who may use another package of ours in its tests. Within one layer and downwards tests are free; this is about what
/// must not ship at all.
const MAY_TEST_WITH_XTASK: &[&str] = &["standoff"];

/// What the engine must not even know from afar: it does no I/O, runs on no runtime and has no wire format.
const NOT_FOR_THE_ENGINE: &[&str] = &[
    "axum",
    "hyper",
    "libc",
    "mio",
    "opentelemetry",
    "prost",
    "rustix",
    "serde",
    "socket2",
    "tokio",
    "tonic",
    "tracing",
];

fn packages() -> Vec<Package> {
    MetadataCommand::new()
        .manifest_path(xtask::run::root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap()
        .packages
}

/// From, to.
type Edge = (String, String);

/// The edges between the packages of the workspace, of the kinds asked for.
fn edges(packages: &[Package], kinds: &[DependencyKind]) -> BTreeSet<Edge> {
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    packages
        .iter()
        .flat_map(|package| package.dependencies.iter().map(move |dependency| (package, dependency)))
        .filter(|(_, dependency)| kinds.contains(&dependency.kind) && ours.contains(dependency.name.as_str()))
        .map(|(package, dependency)| (package.name.to_string(), dependency.name.clone()))
        .collect()
}

/// Those of the edges that the table does not allow.
fn forbidden(edges: BTreeSet<Edge>, may_know: &[(&str, &[&str])]) -> Vec<Edge> {
    let may_know: BTreeMap<&str, &[&str]> = may_know.iter().copied().collect();
    let allowed = |(from, to): &Edge| {
        may_know
            .get(from.as_str())
            .is_some_and(|known| known.contains(&to.as_str()))
    };
    edges.into_iter().filter(|edge| !allowed(edge)).collect()
}

#[test]
fn every_package_has_its_place() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let placed: BTreeSet<&str> = MAY_KNOW.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        ours, placed,
        "a new package needs a line in MAY_KNOW, and in ARCHITECTURE.md"
    );
}

#[test]
fn dependencies_point_one_way() {
    let edges = edges(&packages(), &[DependencyKind::Normal, DependencyKind::Build]);
    assert!(edges.len() > 5, "the edges are really read: {edges:?}");
    assert_eq!(forbidden(edges, MAY_KNOW), Vec::<Edge>::new());
}

#[test]
fn an_edge_that_the_table_does_not_name_is_found() {
    let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let edges = [
        edge("standoff-tui", "standoff-protocol"),
        edge("standoff-tui", "standoff-collector"),
    ];
    assert_eq!(
        forbidden(edges.into_iter().collect(), MAY_KNOW),
        [edge("standoff-tui", "standoff-collector")]
    );
}

#[test]
fn development_tasks_are_for_tests_only() {
    let users: Vec<String> = edges(&packages(), &[DependencyKind::Development])
        .into_iter()
        .filter(|(_, to)| to == "xtask")
        .map(|(from, _)| from)
        .collect();
    let strangers: Vec<&String> = users
        .iter()
        .filter(|user| !MAY_TEST_WITH_XTASK.contains(&user.as_str()))
        .collect();
    assert!(strangers.is_empty(), "{strangers:?} must not need xtask");
}

#[test]
fn the_engine_is_pure() {
    // `cargo metadata` would add the features that other packages ask for; `cargo tree` resolves for this one alone.
    let tree = Command::new(env!("CARGO"))
        .current_dir(xtask::run::root())
        .args([
            "tree",
            "--package",
            "standoff-wait-graph",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
        ])
        .args(["--all-features", "--format", "{p}"])
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(
        names.contains("standoff-wait-graph"),
        "the tree is really read: {names:?}"
    );
    let foreign: Vec<&&str> = names.iter().filter(|name| NOT_FOR_THE_ENGINE.contains(name)).collect();
    assert!(foreign.is_empty(), "the engine must not depend on {foreign:?}");
}
