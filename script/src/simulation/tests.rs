//! What happens in a run, by what it tells.

use std::collections::BTreeMap;

use super::*;

const NO_TIMEOUTS: Settings = Settings {
    timeout: None,
    delay_max: Duration::ZERO,
    turn: Turn::FirstComeFirstServed,
    stalls: None,
};

/// Everything a run tells, one line for each moment: `+` is a start and `-` the end of a span, `!` a crash. Ends with
/// how many are left unfinished.
fn told(script: &str, settings: Settings) -> String {
    let mut run = Simulation::new(&script.parse().unwrap(), settings, 0);
    let mut names = BTreeMap::new();
    let mut lines: Vec<(Duration, Vec<String>)> = Vec::new();
    for (at, event) in run.by_ref() {
        let word = match event {
            Event::Started(span) => {
                let word = format!("+{}", span.name.replace(' ', ":"));
                names.insert(span.id, span.name.replace(' ', ":"));
                word
            }
            Event::Finished(id) => format!("-{}", names[&id]),
            Event::Gone(instance) => format!("!{}", instance.0),
        };
        match lines.last_mut() {
            Some((last, words)) if *last == at => words.push(word),
            Some(_) | None => lines.push((at, vec![word])),
        }
    }
    let lines = lines
        .iter()
        .map(|(at, words)| format!("{}: {}\n", at.as_millis(), words.join(" ")));
    lines.collect::<String>() + &format!("{} left", run.unfinished().len())
}

fn check(script: &str, settings: Settings, expected: &str) {
    assert_eq!(told(script, settings), expected.trim(), "{script}");
}

#[test]
fn a_call_is_served_and_answered() {
    check(
        "x+2: ~1; A{~5}; ~3",
        NO_TIMEOUTS,
        "
2: +x
3: +call:A +serve:A
8: -serve:A -call:A
11: -x
0 left",
    );
}

#[test]
fn a_server_takes_requests_in_the_order_of_arrival() {
    check(
        "x: A{~5} || y+1: A{~5} || z+2: A",
        NO_TIMEOUTS,
        "
0: +x +call:A +serve:A
1: +y +call:A
2: +z +call:A
5: -serve:A +serve:A -call:A -x
10: -serve:A +serve:A -call:A -y -serve:A -call:A -z
0 left",
    );
}

#[test]
fn capacities_let_in_several() {
    check(
        "x*3: A[2]{~5}",
        NO_TIMEOUTS,
        "
0: +x +call:A +x +call:A +x +call:A +serve:A +serve:A
5: -serve:A +serve:A -serve:A -call:A -x -call:A -x
10: -serve:A -call:A -x
0 left",
    );
}

#[test]
fn a_lock_is_a_call_and_then_a_hold() {
    check(
        "x: L+; ~5; L-; ~5 || y: L+; ~1",
        NO_TIMEOUTS,
        "
0: +x +take:L +y +take:L -take:L +hold:L
5: -hold:L -take:L +hold:L
6: -hold:L -y
10: -x
0 left",
    );
}

#[test]
fn what_is_not_needed_any_more_is_left_behind_and_still_served() {
    check(
        "x: |(A{~5}, B{~9}); ~1",
        NO_TIMEOUTS,
        "
0: +x +call:A +call:B +serve:A +serve:B
5: -serve:A -call:A -call:B
6: -x
9: -serve:B
0 left",
    );
}

#[test]
fn a_quorum_needs_so_many() {
    check(
        "x: 2/(A{~3}, B{~9}, C{~5})",
        NO_TIMEOUTS,
        "
0: +x +call:A +call:B +call:C +serve:A +serve:B +serve:C
3: -serve:A -call:A
5: -serve:C -call:C -call:B -x
9: -serve:B
0 left",
    );
}

#[test]
fn a_timeout_counts_as_an_answer() {
    check(
        "x: &(A{~9}@4, B{~6}); L+ || y: L+; ~6000",
        Settings::default(),
        "
0: +x +call:A +call:B +y +take:L +serve:A +serve:B -take:L +hold:L
4: -call:A
6: -serve:B -call:B +take:L
9: -serve:A
5006: -take:L -x
6000: -hold:L -y
0 left",
    );
}

#[test]
fn a_release_of_what_was_never_granted_does_nothing() {
    check(
        "x: L+; ~6000 || y: L+; L-; ~2000; L+",
        Settings::default(),
        "
0: +x +take:L +y +take:L -take:L +hold:L
5000: -take:L
6000: -hold:L -x
7000: +take:L -take:L +hold:L -hold:L -y
0 left",
    );
}

#[test]
fn a_crash_frees_what_the_instance_held_and_starts_nothing() {
    check(
        "x: A[2]{L+; ~5; !} || y+1: A{~90} || z+2: L+ || w+3: A || v+7: A",
        Settings::default(),
        "
0: +x +call:A +serve:A +take:L -take:L +hold:L
1: +y +call:A +serve:A
2: +z +take:L
3: +w +call:A
5: !1 -take:L +hold:L -hold:L -z
7: +v +call:A
5000: -call:A -x
5001: -call:A -y
5003: -call:A -w
5007: -call:A -v
0 left",
    );
}

#[test]
fn a_deadlock_stays() {
    check(
        "x: A{B{A}}",
        NO_TIMEOUTS,
        "
0: +x +call:A +serve:A +call:B +serve:B +call:A
3 left",
    );
}

/// The tasks that are stuck, by the names of their spans, once all is told.
fn stuck(script: &str) -> Vec<String> {
    let mut run = Simulation::new(&script.parse().unwrap(), NO_TIMEOUTS, 0);
    let mut names = BTreeMap::new();
    for (_, event) in run.by_ref() {
        if let Event::Started(span) = event {
            names.insert(span.id, span.name.to_string());
        }
    }
    run.stuck().iter().map(|id| names[id].clone()).collect()
}

#[test]
fn who_waits_for_the_dead_is_stuck_and_who_waits_for_the_lost_is_not() {
    assert_eq!(stuck("x: A{A}"), ["x", "serve A"]);
    assert_eq!(stuck("x: A{!}"), [""; 0]);
    assert_eq!(stuck("x: P+; A{!} || y+1: P+"), [""; 0]);
    assert_eq!(stuck("x: P+; P+ || y+1: P+"), ["x", "y"]);
}

#[test]
fn lost_calls_can_be_answered() {
    let mut run = Simulation::new(&"x: A{!}; A{~1}".parse().unwrap(), NO_TIMEOUTS, 0);
    assert_eq!(run.by_ref().count(), 4);
    assert_eq!(
        (run.unfinished().len(), run.clients_running(), run.answer_lost()),
        (1, 1, 1)
    );
    assert_eq!(run.by_ref().count(), 2, "the second call begins, and is lost as well");
    assert_eq!((run.unfinished().len(), run.answer_lost()), (1, 1));
    assert_eq!(run.by_ref().count(), 2);
    assert_eq!(
        (run.unfinished().len(), run.clients_running(), run.answer_lost()),
        (0, 0, 0)
    );
}

#[test]
fn who_is_stuck_is_known_at_once() {
    let mut run = Simulation::new(&"x: A{B{A}} || y+3: ~5; B".parse().unwrap(), NO_TIMEOUTS, 0);
    let mut most = 0;
    while run.clients_running() > 0 && run.next().is_some() {
        assert!(run.stuck().len() >= most, "nobody recovers");
        most = run.stuck().len();
    }
    assert_eq!((most, run.stuck()), (4, run.unfinished()));
}

#[test]
fn who_is_stuck_is_so_until_somebody_gives_up() {
    let mut run = Simulation::new(&"x: A{B{A}@50}".parse().unwrap(), Settings::default(), 0);
    let most = run.by_ref().take(6).last();
    assert!(most.is_some_and(|(at, _)| at.is_zero()));
    assert_eq!(run.stuck().len(), 3);
    assert_eq!(run.next().map(|(at, _)| at), Some(Duration::from_millis(50)));
    assert!(run.stuck().is_empty());
}

/// The clients in the order of their ends.
fn order(script: &Script, settings: Settings, seed: u64) -> String {
    let mut clients = BTreeMap::new();
    let mut order = String::new();
    for (_, event) in Simulation::new(script, settings, seed) {
        match event {
            Event::Started(span) if span.role == Role::Client => _ = clients.insert(span.id, span.name),
            Event::Finished(id) => order.extend(clients.get(&id).map(|name| &**name)),
            Event::Started(_) | Event::Gone(_) => {}
        }
    }
    order
}

#[test]
fn a_pool_is_fair_or_not() {
    let script: Script = "a: L+; ~9 || b+1: L+; ~9 || c+2: L+; ~9 || d+3: L+; ~9"
        .parse()
        .unwrap();
    assert_eq!(order(&script, NO_TIMEOUTS, 0), "abcd");
    let unfair = Settings {
        turn: Turn::Random,
        ..NO_TIMEOUTS
    };
    let orders: BTreeSet<String> = (0..100).map(|seed| order(&script, unfair.clone(), seed)).collect();
    assert_eq!(orders.len(), 6, "a comes first, the others in any order: {orders:?}");
}

#[test]
fn what_was_taken_last_is_released_first() {
    let run = Simulation::new(&"x: P[2]+; P+; P-; ~1".parse().unwrap(), NO_TIMEOUTS, 0);
    let mut holds = Vec::new();
    let mut released = Vec::new();
    for (_, event) in run {
        match event {
            Event::Started(span) if matches!(span.role, Role::Hold { .. }) => holds.push(span.id),
            Event::Finished(id) if holds.contains(&id) => released.push(id),
            Event::Started(_) | Event::Finished(_) | Event::Gone(_) => {}
        }
    }
    assert_eq!((released.len(), released.first()), (2, holds.last()));
}

/// Also those that were on their way to somebody who had given up, or died.
#[test]
fn all_units_come_back() {
    let timeout = Some(Duration::from_millis(12));
    for seed in 0..500 {
        let script = Script::random(seed);
        let settings = Settings {
            timeout,
            delay_max: Duration::from_millis(10),
            ..Settings::default()
        };
        let mut run = Simulation::new(&script, settings, seed);
        run.by_ref().for_each(drop);
        let free: Vec<u32> = run.pools.iter().map(|pool| pool.free).collect();
        assert_eq!(
            free,
            script.pools().map(|(_, units)| units).collect::<Vec<_>>(),
            "{script}"
        );
    }
}

#[test]
fn a_seed_gives_one_run() {
    let settings = Settings {
        timeout: None,
        delay_max: Duration::from_millis(9),
        turn: Turn::Random,
        stalls: Some(Stalls {
            one_in: 3,
            duration_max: Duration::from_millis(50),
        }),
    };
    let script: Script = "x*3: A{P[2]+; &(B, C{~3})} || y*2: P+; |(C, A{B})".parse().unwrap();
    let run = |seed| Simulation::new(&script, settings.clone(), seed).collect::<Vec<_>>();
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_stalled_instance_does_what_it_has_to_do_later() {
    let stalls = Some(Stalls {
        one_in: 2,
        duration_max: Duration::from_secs(1),
    });
    let script: Script = "x: A{B{~1}}".parse().unwrap();
    let mut run = Simulation::new(&script, Settings { stalls, ..NO_TIMEOUTS }, 0);
    let last = run.by_ref().last().map(|(at, _)| at);
    assert!(last > Some(Duration::from_millis(100)) && run.unfinished().is_empty());
}

/// Whoever has not ended when nothing is left to happen is stuck, unless it hangs on something lost.
#[test]
fn at_the_end_the_unfinished_are_the_stuck() {
    for seed in 0..500 {
        let script = Script::random(seed);
        let mut run = Simulation::new(&script, NO_TIMEOUTS, seed);
        while run.by_ref().last().is_some() || run.answer_lost() > 0 {}
        assert_eq!(run.stuck(), run.unfinished(), "{script}");
    }
}

/// What opens ends once, in an instance that lives, after its parent has opened; and with timeouts all of it.
#[test]
fn spans_have_one_lifetime() {
    for seed in 0..500 {
        let script = Script::random(seed);
        let settings = Settings {
            delay_max: Duration::from_millis(3),
            turn: Turn::Random,
            ..Settings::default()
        };
        let (mut open, mut seen, mut gone) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for (_, event) in Simulation::new(&script, settings, seed) {
            match event {
                Event::Started(span) => {
                    assert!(!gone.contains(&span.instance) && seen.insert(span.id), "{script}");
                    assert!(span.parent.is_none_or(|parent| seen.contains(&parent.id)), "{script}");
                    open.insert(span.id, span.instance);
                }
                Event::Finished(id) => assert!(open.remove(&id).is_some(), "{script}"),
                Event::Gone(instance) => {
                    open.retain(|_, its_instance| *its_instance != instance);
                    assert!(gone.insert(instance), "{script}");
                }
            }
        }
        assert!(open.is_empty(), "{script}");
    }
}
