use super::*;
use crate::deadlock::{CallState, DeadTask, DeadWait};
use crate::span::{InstanceId, Quorum, TraceId};

fn wait(call: u64, target: &str, state: CallState, by: &[u64]) -> DeadWait {
    DeadWait {
        call: SpanId(call),
        trace: TraceId(0),
        name: "call".into(),
        target: Some(target.into()),
        state,
        blocked_by: by.iter().copied().map(SpanId).collect(),
        in_core: true,
        rests_on: [].into(),
        group: None,
        started_at: std::time::Duration::ZERO,
        timeout_at: None,
    }
}

fn task(id: u64, resource: &str, waits: Vec<DeadWait>) -> DeadTask {
    DeadTask {
        id: SpanId(id),
        trace: TraceId(0),
        instance: InstanceId(0),
        service: "".into(),
        name: "request".into(),
        resources: vec![resource.into()],
        occupied_by: Vec::new(),
        waits,
    }
}

fn deadlock(core: Vec<DeadTask>, victims: Vec<DeadTask>) -> Deadlock {
    let victims_total = victims.len() as u64;
    Deadlock {
        core,
        victims,
        victims_total,
        blast: Vec::new(),
        resources: Vec::new(),
    }
}

fn two_servers() -> Deadlock {
    let mut choice = wait(31, "A", CallState::Queued, &[1]);
    choice.group = Some(("either".into(), Quorum { needed: 1, size: 2 }));
    choice.in_core = false;
    deadlock(
        vec![
            task(1, "A", vec![wait(11, "B", CallState::Accepted, &[2])]),
            task(2, "B", vec![wait(21, "A", CallState::Queued, &[1])]),
        ],
        vec![task(3, "C", vec![choice])],
    )
}

#[test]
fn dot() {
    let expected = r#"digraph {
    rankdir="LR"
    0 [ label = "A" shape=box style=bold ]
    1 [ label = "B" shape=box style=bold ]
    2 [ label = "C" shape=box style=dashed ]
    3 [ label = "A" shape=ellipse ]
    0 -> 1 [ label = "handled by" style=bold ]
    1 -> 3 [ label = "waits for" style=bold ]
    2 -> 3 [ label = "waits for, 1 of 2 in either" style=dashed ]
    3 -> 0 [ label = "held by" style=bold ]
}
"#;
    assert_eq!(to_dot(&[two_servers()]), expected);
}

#[test]
fn mermaid() {
    let expected = r#"flowchart LR
    n0["A"]:::core
    n1["B"]:::core
    n2["C"]:::victim
    n3(["A"])
    n0 ==>|"handled by"| n1
    n1 ==>|"waits for"| n3
    n2 -.->|"waits for, 1 of 2 in either"| n3
    n3 ==>|"held by"| n0
    classDef core stroke-width:3px
    classDef victim stroke-dasharray:4
    classDef rest stroke:none
"#;
    assert_eq!(to_mermaid(&[two_servers()]), expected);
}

/// A self-call to a resource of this name.
fn named(name: &str) -> Deadlock {
    deadlock(
        vec![task(1, name, vec![wait(11, name, CallState::Queued, &[1])])],
        Vec::new(),
    )
}

#[test]
fn no_name_gets_out_of_its_quotes() {
    let name =
        "a\"];\nclick n0 \"javascript:1\" %%{init: {}}%% --> b\\ <b>&amp;</b> `x` #35; \u{1b}[31m\u{202e}\r\u{0}";
    let dot = to_dot(&[named(name)]);
    assert_eq!(dot.lines().count(), 7, "{dot}");
    for line in dot.lines().skip(2).take(2) {
        let inside = line
            .split_once("label = \"")
            .and_then(|(_, rest)| rest.rsplit_once("\" shape"))
            .map(|it| it.0);
        let inside = inside.unwrap_or_default().replace("\\\\", "").replace("\\\"", "");
        assert!(inside.starts_with("a];"), "{inside}");
        assert!(
            !inside.contains(['"', '\\']) && !inside.chars().any(is_invisible),
            "{inside}"
        );
    }
    let mermaid = to_mermaid(&[named(name)]);
    assert_eq!(mermaid.lines().count(), 8, "{mermaid}");
    for line in mermaid.lines().skip(1).take(2) {
        let inside = line.split('"').nth(1).unwrap_or_default();
        assert_eq!(line.matches('"').count(), 2, "{line}");
        assert!(
            !inside.contains(['%', '<', '>', '&', '`', '[', ']', '\\', '\'']),
            "{inside}"
        );
        assert!(inside.starts_with("a#34;#93;#59;"), "{inside}");
    }
}

#[test]
fn a_name_of_a_megabyte_is_cut_between_characters() {
    let long = "ä".repeat(1 << 20);
    let deadlock = named(&long);
    assert!(deadlock.summary().len() < 2_000);
    assert!(
        deadlock
            .summary()
            .starts_with(&format!("{}… → ", "ä".repeat(crate::names::LABEL_CHARS_MAX)))
    );
    assert!(to_dot(std::slice::from_ref(&deadlock)).len() < 2_000);
    assert!(to_mermaid(&[deadlock]).len() < 2_000);
}

#[test]
fn names_that_differ_behind_the_cut_are_not_taken_for_one() {
    let long = "x".repeat(1_000);
    let (one, other) = (format!("{long}1"), format!("{long}2"));
    let both = deadlock(
        vec![
            task(1, &one, vec![wait(11, &other, CallState::Queued, &[2])]),
            task(2, &other, vec![wait(21, &one, CallState::Queued, &[1])]),
        ],
        Vec::new(),
    );
    assert!(!both.summary().contains('×'), "{}", both.summary());
    assert_eq!(Drawing::of(&[both]).figures.len(), 4);
}

#[test]
fn of_a_large_core_a_part_is_drawn() {
    let all: Vec<u64> = (0..1_000).collect();
    let core = all
        .iter()
        .map(|id| task(*id, "pool", vec![wait(20_000 + id, "pool", CallState::Accepted, &all)]))
        .collect();
    let drawing = Drawing::of(&[deadlock(core, Vec::new())]);
    assert_eq!(drawing.arrows.len(), ARROWS_MAX);
    assert_eq!(drawing.figures.len(), TASKS_MAX + 1);
    assert_eq!(drawing.figures.last().map(|it| it.kind), Some(Kind::Rest));
}

#[test]
fn victims_that_are_only_counted_are_hinted_at() {
    let mut deadlock = two_servers();
    assert!(
        Drawing::of(std::slice::from_ref(&deadlock))
            .figures
            .iter()
            .all(|it| it.kind != Kind::Rest)
    );
    deadlock.victims_total += 1;
    let last = Drawing::of(&[deadlock, named("D")]).figures.pop().map(|it| it.kind);
    assert_eq!(last, Some(Kind::Rest));
}

#[test]
fn a_victim_of_several_cores_is_drawn_once() {
    let victim = || task(3, "C", vec![wait(31, "A", CallState::Queued, &[1])]);
    let ring = |id: u64, name: &str| task(id, name, vec![wait(10 * id, name, CallState::Queued, &[id])]);
    let drawing = Drawing::of(&[
        deadlock(vec![ring(1, "A")], vec![victim()]),
        deadlock(vec![ring(2, "B")], vec![victim()]),
    ]);
    assert_eq!(drawing.figures.iter().filter(|it| it.kind == Kind::Victim).count(), 1);
    assert_eq!(drawing.arrows.len(), 5);
}
