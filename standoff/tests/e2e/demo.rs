//! `standoff demo` and the other commands as their users see them: what they print, and how they end.

use standoff_protocol::api::{Alert, AlertState, Confirmation};

use crate::support::{Collector, Running, SOON, free_address, held, standoff};

const ANY_PORT: [&str; 4] = ["--http", "127.0.0.1:0", "--stream", "127.0.0.1:0"];

async fn demo(more: &[&str]) -> (Option<i32>, Vec<Alert>, String) {
    let args = [&["demo"], &ANY_PORT[..], more].concat();
    let mut demo = Running::start("demo", standoff(&args));
    let status = demo.ends().await;
    let alerts = demo
        .out()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (status.code(), alerts, demo.log())
}

#[tokio::test]
async fn the_demo_prints_the_alert_and_ends_well() {
    let (code, alerts, told) = demo(&["--json"]).await;
    assert_eq!(code, Some(0), "{told}");
    let [alert] = &alerts[..] else {
        panic!("one alert, not {alerts:?}")
    };
    assert_eq!(
        (alert.state, alert.confirmation),
        (AlertState::Firing, Some(Confirmation::Probed))
    );
    assert!(held(alert).contains(&"{:server_a, 42}") && held(alert).contains(&"{:server_b, 42}"));
    assert!(told.contains("100 of 100 healthy requests answered"), "{told}");
    assert!(told.contains("the alert is resolved: timeout"), "{told}");
}

#[tokio::test]
async fn without_a_terminal_the_demo_needs_no_flag() {
    let (code, alerts, told) = demo(&["--timeout", "1s", "--report-after", "0"]).await;
    assert_eq!((code, alerts.len()), (Some(0), 1), "{told}");
}

#[tokio::test]
async fn the_demo_with_one_replica_shows_the_exhausted_queue() {
    let (code, alerts, told) = demo(&["--replicas", "1"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(held(&alerts[0]).contains(&"service-a"));
}

#[tokio::test]
async fn the_healthy_twin_is_silent() {
    let (code, alerts, told) = demo(&["--healthy"]).await;
    assert_eq!((code, alerts), (Some(0), vec![]), "{told}");
    assert!(told.contains("no alert fired"), "{told}");
}

#[tokio::test]
async fn the_demo_runs_over_real_servers_in_one_process() {
    let (broker, store) = (xtask::servers::amqp().unwrap(), xtask::servers::redis().unwrap());
    let (code, alerts, told) = demo(&["--amqp", broker.url(), "--redis", store.url()]).await;
    assert_eq!((code, alerts.len()), (Some(0), 1), "{told}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_mistake_that_says_so() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut collector = Running::start(
        "collector",
        standoff(&["collector", "--http", &address, "--stream", "127.0.0.1:0"]),
    );
    assert_eq!(collector.ends().await.code(), Some(2));
    let expected = format!("standoff: cannot listen on {address} (HTTP API); set another address with --http");
    assert!(collector.log().contains(&expected), "{}", collector.log());
}

#[tokio::test]
async fn other_addresses_than_loopback_are_refused() {
    let args = ["collector", "--http", "0.0.0.0:0", "--stream", "127.0.0.1:0"];
    let mut collector = Running::start("collector", standoff(&args));
    assert_eq!(collector.ends().await.code(), Some(2));
    assert!(
        collector
            .log()
            .contains("0.0.0.0:0 (HTTP API) is not a loopback address"),
        "{}",
        collector.log()
    );
}

#[tokio::test]
async fn a_collector_ends_in_good_order_when_asked_to() {
    let (http, stream) = (free_address().to_string(), free_address().to_string());
    let mut collector = Running::start(
        "collector",
        standoff(&["collector", "--http", &http, "--stream", &stream]),
    );
    collector.logs(&["collector listens"]).await;
    collector.terminate();
    assert_eq!(collector.ends().await.code(), Some(0));
}

#[tokio::test]
async fn the_monitor_says_what_fires_once() {
    let collector = Collector::start().await;
    let mut once = Running::start("tui", standoff(&["tui", "--once", "--url", &collector.url()]));
    assert_eq!(once.ends().await.code(), Some(0));
    assert!(once.out().contains("No deadlock"), "{}", once.out());
    let nowhere = format!("http://{}", free_address());
    let mut once = Running::start("tui", standoff(&["tui", "--once", "--url", &nowhere]));
    assert_eq!(once.ends().await.code(), Some(3));
    assert!(once.log().contains(&nowhere), "{}", once.log());
}

#[tokio::test]
async fn the_bench_prints_its_figures() {
    let mut bench = Running::start("bench", standoff(&["bench", "delay", "--runs", "2"]));
    assert_eq!(bench.ends().await.code(), Some(0), "{}", bench.log());
    let out = bench.out();
    assert_eq!(out.lines().count(), 4, "{out}");
    assert!(
        out.contains("median") && out.contains(" 20 ms ") && out.contains(" 0 ms "),
        "{out}"
    );
}

#[tokio::test]
async fn the_bench_of_returns_prints_its_figures() {
    let args = "bench rebuild --waits 300 --instances 3 --deadlocks 2 --runs 2 --away 100ms";
    let args: Vec<&str> = args.split(' ').collect();
    let mut bench = Running::start("bench", standoff(&args));
    assert_eq!(bench.ends().await.code(), Some(0), "{}", bench.log());
    let out = bench.out();
    let rows: Vec<&str> = out.lines().skip(2).map(|line| line.trim_start()).collect();
    assert!(out.starts_with("301 waits of 3 instances "), "{out}");
    for (row, name) in rows.iter().zip(["listens", "knows all", "alerts fire"]) {
        assert!(row.starts_with(name), "{out}");
    }
    assert_eq!(rows.len(), 3, "{out}");
}

#[tokio::test]
async fn the_bench_of_ingest_compares_servers_and_nothing_is_lost_in_it() {
    let args = "bench ingest --protocol grpc,native --batch 100 --open 5 --spans 10000 --rounds 1 --shares --json";
    let args: Vec<&str> = args.split(' ').collect();
    let mut bench = Running::start("bench", standoff(&args));
    assert_eq!(bench.ends_within(2 * SOON).await.code(), Some(0), "{}", bench.log());
    let out: serde_json::Value = serde_json::from_str(&bench.out()).unwrap();
    let rows = out["rows"].as_array().unwrap();
    let of = |protocol: &str| rows.iter().filter(|row| row["protocol"] == protocol).count();
    assert_eq!((of("grpc"), of("native")), (5, 2), "{out}");
    for row in rows {
        assert_eq!(row["spans_accepted"], 10_000, "{row}");
        assert_eq!(
            (&row["spans_rejected"], &row["spans_given_up"]),
            (&0.into(), &0.into()),
            "{row}"
        );
        // So few may take the others less time than Linux counts.
        if row["server"] == "bare tonic + prost" && row["protocol"] == "grpc" {
            assert!(row["spans_per_cpu_second"].as_f64().unwrap() > 0.0, "{row}");
            assert_eq!(row["ratio_to_bare"], 1.0, "{row}");
        }
    }
}

#[tokio::test]
async fn the_bench_of_ingest_prints_a_table_and_measures_any_endpoint() {
    let otlp = free_address().to_string();
    let args = [
        &["collector", "--otlp-grpc", "off", "--otlp-http", &otlp],
        &ANY_PORT[..],
    ]
    .concat();
    let collector = Running::start("collector", standoff(&args));
    collector.logs(&["collector listens"]).await;
    let (endpoint, pid) = (format!("http://{otlp}"), collector.pid().to_string());
    let args = "bench ingest --protocol http --compression gzip --batch 50 --spans 2000 --rounds 1 --subjects bare";
    let mut args: Vec<&str> = args.split(' ').collect();
    args.extend(["--endpoint", &endpoint, "--pid", &pid]);
    let mut bench = Running::start("bench", standoff(&args));
    assert_eq!(bench.ends_within(2 * SOON).await.code(), Some(0), "{}", bench.log());
    let out = bench.out();
    let rows: Vec<&str> = out.lines().skip(4).map(|line| line.trim_start()).collect();
    assert!(
        out.starts_with("medians of 1 rounds of 2000 spans") && out.contains("per CPU-s"),
        "{out}"
    );
    for (row, name) in rows.iter().zip(["bare tonic + prost", &endpoint]) {
        assert!(row.starts_with(name), "{out}");
    }
    assert_eq!(rows.len(), 2, "{out}");
}

#[tokio::test]
async fn a_full_disk_for_the_log_stops_no_collector() {
    let (http, stream) = (free_address().to_string(), free_address().to_string());
    let mut command = standoff(&["collector", "--http", &http, "--stream", &stream, "--log", "trace"]);
    // Whoever writes there is told that the disk is full.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut collector = command.stderr(full).spawn().unwrap();
    let answered = async {
        while reqwest::get(format!("http://{http}/api/v1/alerts")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    let answered = tokio::time::timeout(std::time::Duration::from_secs(20), answered).await;
    let has_ended = collector.try_wait().unwrap();
    collector.kill().unwrap();
    collector.wait().unwrap();
    assert!(answered.is_ok() && has_ended.is_none(), "{has_ended:?}");
}

#[tokio::test]
async fn wrong_usage_is_said_and_has_its_code() {
    for (args, message) in [
        (
            &["collector", "--lease", "soon"][..],
            "a time is a number with a unit: 20ms, 5s, 10m",
        ),
        (&["frobnicate"][..], "unrecognized subcommand 'frobnicate'"),
        (
            &["collector", "--config", "/nowhere.toml"][..],
            "configuration file /nowhere.toml: ",
        ),
        (&["collector", "--log", "a=b=c"][..], "--log \"a=b=c\" is not a filter"),
        (
            &["service-a", "--amqp", "http://x"][..],
            "--amqp is `http://x`: not an AMQP URL",
        ),
        (
            &["service-a", "--upstream", "x"][..],
            "--upstream is `x`, which is not of the form http://HOST:PORT",
        ),
        (
            &["collector", "--http", "localhost:1"][..],
            "an address is an IP address with a port",
        ),
        (
            &["collector", "--heartbeat", "5s"][..],
            "--lease must be longer than --heartbeat",
        ),
    ] {
        let mut command = Running::start("standoff", standoff(args));
        assert_eq!(command.ends().await.code(), Some(2), "{args:?}: {}", command.log());
        assert!(command.log().contains(message), "{args:?}: {}", command.log());
    }
}
