//! `standoff demo --script`: every scenario with real servers and the native stream, against its verdict.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use standoff_protocol::api::{Alert, AlertList, AlertState, Confirmation, Task};
use standoff_script::scenarios::{self, Scenario, Verdict};

use crate::support::{Collector, Running, free_address, standoff};

/// Scenarios that run at once. Each starts up to a dozen instances with a thread each, so more only delay each other on
/// two cores, and late work is what a verdict must not depend on.
const AT_ONCE: usize = 6;

/// How long a scenario may take: its longest call, and twice that for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Only what lasts as long is bound by a verdict.
const BINDING: Duration = Duration::from_millis(100);

/// On other ports than somebody else's.
const DEMO: [&str; 5] = ["demo", "--http", "127.0.0.1:0", "--stream", "127.0.0.1:0"];

/// `standoff demo --script` with a collector of its own, whose alerts can be read while it runs.
struct Script {
    process: Running,
}

impl Script {
    fn start(name: &str, script: &str, more: &[&str]) -> Self {
        let args = [&DEMO, &["--json", "--script", script][..], more].concat();
        Self {
            process: Running::start(name, standoff(&args)),
        }
    }

    /// The alerts that fire now; none if the run is not so far yet, or over.
    async fn firing(&self) -> Vec<Alert> {
        let log = self.process.log();
        let Some((_, url)) = log.trim_end().split_once("alerts are at ") else {
            return Vec::new();
        };
        let Ok(answer) = reqwest::get(url).await else {
            return Vec::new();
        };
        let list = answer.json::<AlertList>().await;
        list.map_or_else(|_| Vec::new(), |list| list.alerts)
    }

    /// Until its verdict is in, or it ends by itself.
    async fn until(&mut self, verdict: &Verdict) {
        let begun = std::time::Instant::now();
        while self.process.is_running() {
            if judge(verdict, &self.firing().await).is_ok() {
                // It ends as by Ctrl-C.
                self.process.terminate();
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "neither a verdict nor an end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The exit code, and the alerts that it printed.
    async fn end(mut self) -> (Option<i32>, Vec<Alert>) {
        let status = self.process.ends_within(PATIENCE).await;
        let out = self.process.out();
        let alerts = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (status.code(), alerts)
    }
}

/// What is wrong with these alerts, if anything.
fn judge(verdict: &Verdict, alerts: &[Alert]) -> Result<(), String> {
    let mut cores: Vec<Vec<String>> = alerts.iter().filter(|it| binds(it)).map(core).collect();
    cores.sort();
    match verdict {
        Verdict::Quiet if cores.is_empty() => Ok(()),
        Verdict::Quiet => Err(format!("{cores:?}, and nothing should have been found")),
        Verdict::Deadlocks {
            cores: expected,
            victims,
        } => {
            let found: BTreeSet<&str> = alerts.iter().flat_map(|it| resources(&it.victims)).collect();
            let missing = victims.iter().flatten().find(|it| !found.contains(it.as_str()));
            match missing {
                _ if cores != *expected => Err(format!("{cores:?}, and not {expected:?}")),
                Some(missing) => Err(format!("victims {found:?}, and {missing} is missing")),
                None => Ok(()),
            }
        }
    }
}

fn binds(alert: &Alert) -> bool {
    let lasted = alert.resolved_at.map(|end| alert.detected_at.duration_until(end));
    lasted.is_none_or(|lasted| lasted.unsigned_abs() >= BINDING)
}

/// All resources of a core: those that it occupies, and those that it waits for.
fn core(alert: &Alert) -> Vec<String> {
    alert.resources.iter().map(|it| it.name.clone()).collect()
}

fn resources(tasks: &[Task]) -> impl Iterator<Item = &str> {
    tasks.iter().flat_map(|task| &task.resources).map(String::as_str)
}

/// How long to let a scenario run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Until its deadlocks are found. What would be found later is not seen.
    Verdict,
    /// To its end.
    End,
}

async fn check(scenario: &Scenario, until: Until, more: &[&str]) -> Result<(), String> {
    let script = scenario.script.to_string();
    let mut run = Script::start(&scenario.id, &script, more);
    if until == Until::Verdict && scenario.verdict != Verdict::Quiet {
        run.until(&scenario.verdict).await;
    }
    let (code, alerts) = run.end().await;
    let expected = i32::from(!alerts.is_empty());
    let shape = alerts.iter().find_map(|alert| ill_shaped(alert).err());
    let problem = match judge(&scenario.verdict, &alerts) {
        Err(problem) => problem,
        Ok(()) if code != Some(expected) => format!("exit code {code:?} with {} alerts", alerts.len()),
        Ok(()) => match shape {
            Some(problem) => problem,
            None => return Ok(()),
        },
    };
    Err(format!("{}: {script}\n  found {problem}", scenario.id))
}

/// Whether an alert says what every firing alert about sources that can be asked says.
fn ill_shaped(alert: &Alert) -> Result<(), String> {
    let is_so = [
        (alert.state == AlertState::Firing, "it fired"),
        (
            alert.confirmation == Some(Confirmation::Probed),
            "every process was asked",
        ),
        (
            alert.fired_at.is_some_and(|at| at >= alert.detected_at),
            "it was first suspected",
        ),
        (alert.core_total == alert.core.len() as u64, "all of the core is listed"),
        (
            alert.victims_total == alert.victims.len() as u64,
            "all victims are listed",
        ),
        (alert.evidence.events_lost == 0, "nothing was lost"),
        (!alert.summary.is_empty() && !alert.id.is_empty(), "it has a name"),
    ];
    let wrong = is_so.into_iter().find(|(is_so, _)| !is_so);
    wrong.map_or(Ok(()), |(_, what)| {
        Err(format!("an alert that does not say that {what}: {alert:?}"))
    })
}

/// Runs these scenarios, some at a time, and tells of all that went wrong.
async fn check_all(scenarios: impl IntoIterator<Item = Scenario>, until: Until, more: &'static [&'static str]) {
    let runs = scenarios.into_iter().map(async |it| check(&it, until, more).await);
    let problems: Vec<String> = futures_util::stream::iter(runs)
        .buffer_unordered(AT_ONCE)
        .filter_map(async |result| result.err())
        .collect()
        .await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test]
async fn all_scenarios_show_what_they_should() {
    check_all(scenarios::all().unwrap(), Until::End, &[]).await;
}

#[tokio::test]
async fn all_scenarios_show_what_they_should_if_every_call_is_reported() {
    check_all(scenarios::all().unwrap(), Until::Verdict, &["--report-after", "0"]).await;
}

/// A part of each kind: calls, pools of workers, locks, groups, crashes.
#[tokio::test]
async fn scenarios_show_what_they_should_through_a_relay() {
    let ids = [
        "sequence-of-calls",
        "deadlock-behind-a-deadlock",
        "resolved-by-a-timeout",
        "saturated-is-not-stuck",
        "workers-waiting-for-workers",
        "connection-held-over-a-call",
        "locks-in-one-order",
        "last-alternative-lost",
        "quorum-still-possible",
        "crash-frees-a-lock",
        "crash-ends-a-deadlock",
    ];
    let some = scenarios::all()
        .unwrap()
        .into_iter()
        .filter(|it| ids.contains(&it.id.as_str()));
    check_all(some, Until::Verdict, &["--relay"]).await;
}

/// Other servers than those that crash are processes of their own here, too.
#[tokio::test]
async fn scenarios_show_what_they_should_between_processes() {
    let ids = [
        "two-servers",
        "locks-in-opposite-order",
        "workers-that-need-two-of-three",
        "batch-of-sub-tasks",
    ];
    let some = scenarios::all()
        .unwrap()
        .into_iter()
        .filter(|it| ids.contains(&it.id.as_str()));
    check_all(some, Until::Verdict, &["--processes"]).await;
}

#[tokio::test]
async fn a_script_reports_to_a_collector_elsewhere() {
    let collector = Collector::start().await;
    let elsewhere = ["--upstream", &collector.upstream(), "--url", &collector.url()];
    let run = Script::start("elsewhere", "x: A{B{A}}@300 || y: C{~10}", &elsewhere);
    let (code, alerts) = run.end().await;
    assert_eq!(
        (code, alerts.iter().map(core).collect::<Vec<_>>()),
        (Some(1), vec![vec!["A".to_owned(), "B".into()]])
    );
    // Alerts that are not its own are not its business.
    let (code, alerts) = Script::start("quiet", "x: D{~10}", &elsewhere).end().await;
    assert_eq!((code, alerts), (Some(0), vec![]));
    collector.stats("goodbyes", |stats| stats.instances == 0).await;
}

#[tokio::test]
async fn a_script_ends_when_its_time_is_over() {
    let (code, alerts) = Script::start("stuck", "x: A{B{A}}", &["--for", "1s"]).end().await;
    assert_eq!((code, alerts.len()), (Some(1), 1));
    let (code, alerts) = Script::start("busy", "x: A{~30000}", &["--for", "200ms"]).end().await;
    assert_eq!((code, alerts), (Some(0), vec![]));
}

#[tokio::test]
async fn scaling_multiplies_work() {
    let begun = std::time::Instant::now();
    let (code, _) = Script::start("scaled", "x: A{~20}", &["--scale", "50"]).end().await;
    assert!(code == Some(0) && begun.elapsed() >= Duration::from_secs(1));
}

/// People read more than JSON.
#[tokio::test]
async fn without_json_a_script_prints_text() {
    let text = async |script: &str| {
        let mut process = Running::start("text", standoff(&[&DEMO, &["--script", script][..]].concat()));
        process.ends().await;
        process.out()
    };
    let found = text("x: A{B{A@300}}; ~1000").await;
    let lines: Vec<&str> = found.lines().collect();
    let [deadlock, fired, resolved] = lines[..] else {
        panic!("{found}")
    };
    assert_eq!(deadlock, "deadlock: A → B → A");
    assert!(
        fired.starts_with("fired ") && fired.contains("before the first timeout"),
        "{found}"
    );
    assert_eq!(resolved, "resolved: timeout: A → B → A");
    assert_eq!(text("x: A{~10}").await, "no deadlock\n");
}

#[tokio::test]
async fn what_cannot_run_is_said() {
    let nowhere = format!("http://{}", free_address());
    let many: String = (0..300).map(|number| format!("S{number};")).collect();
    let many = format!("x: {}", many.trim_end_matches(';'));
    let cases: [(&[&str], i32, &str); 5] = [
        (
            &["--script", "x: A{B}; !"],
            2,
            "standoff: line 1, column 10: a client cannot crash\n  x: A{B}; !\n           ^ only servers crash",
        ),
        (&["--script", "x: A", "--scale", "0"], 2, "--scale"),
        (
            &["--script", &many],
            2,
            "301 servers and kinds of clients, and can run with at most 256",
        ),
        (&["--script", "x: A", "--healthy"], 2, "cannot be used with"),
        (&["--script", "x: A", "--upstream", &nowhere], 3, &nowhere),
    ];
    for (args, code, message) in cases {
        let mut process = Running::start("wrong", standoff(&[&DEMO, args].concat()));
        assert_eq!(process.ends().await.code(), Some(code), "{args:?}: {}", process.log());
        assert!(process.log().contains(message), "{args:?}: {}", process.log());
    }
}
