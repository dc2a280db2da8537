//! Very many deadlocks at once.

use super::*;

const PAIRS: u64 = 600;

fn id(pair: u64, of_pair: u64) -> u64 {
    0x1000 + 4 * pair + of_pair
}

/// Pairs of servers that call each other, none of which is confirmed.
fn storm(rig: &mut Rig) {
    rig.connect("a");
    rig.instances.get_mut("a").unwrap().answers = false;
    let pairs = (0..PAIRS).flat_map(|pair| {
        let [one, other] = ["one", "other"].map(|name| format!("{name}-{pair}"));
        [
            handle(id(pair, 0), 0, &one),
            handle(id(pair, 1), 0, &other),
            call(id(pair, 2), id(pair, 0), &other),
            call(id(pair, 3), id(pair, 1), &one),
        ]
    });
    for spans in pairs.collect::<Vec<_>>().chunks(400) {
        rig.batch("a", spans.to_vec(), vec![]);
    }
    rig.pass(ms(100));
    // All are explained now, and again in a while at the earliest.
    rig.start("a", handle(1, 0, "idle"));
    assert_eq!(rig.detector.next_evaluation(), rig.now + ms(12));
}

#[test]
fn that_one_of_many_is_over_is_known_without_a_look_at_the_others() {
    let mut rig = Rig::new();
    storm(&mut rig);
    assert_eq!(rig.detector.suspects.len(), PAIRS as usize);
    assert_eq!(rig.detector.revision, Some(rig.detector.graph.revision()));
    rig.end("a", id(7, 2), Outcome::Timeout);
    assert_eq!(rig.detector.suspects.len(), PAIRS as usize - 1);
    assert_ne!(
        rig.detector.revision,
        Some(rig.detector.graph.revision()),
        "all were explained"
    );
    // Whatever else there is to say is said when it is due.
    rig.pass(ms(100));
    assert_eq!(rig.detector.suspects.len(), PAIRS as usize - 1);
    assert_eq!(rig.detector.revision, Some(rig.detector.graph.revision()));
}

/// Each is queued for the next.
///
/// ```text
/// server-0 ──▶ server-1 ──▶ … ──▶ server-3999 ──▶ server-0
/// ```
#[test]
fn a_large_ring_is_asked_about_as_a_whole_and_told_in_part() {
    const SERVERS: u64 = 4000;
    let mut rig = Rig::new();
    rig.connect("a");
    let servers = (0..SERVERS).flat_map(|number| {
        let name = |number: u64| format!("server-{}", number % SERVERS);
        let id = id(number, 0);
        [handle(id, 0, &name(number)), call(id + 1, id, &name(number + 1))]
    });
    let servers: Vec<Started> = servers.collect();
    let open = servers.iter().map(|span| (span.span_id, span.clone()));
    rig.instances.get_mut("a").unwrap().open = open.collect();
    for spans in servers.chunks(400) {
        rig.batch("a", spans.to_vec(), vec![]);
    }
    rig.pass(ms(1000));
    let [alert] = &rig.alerts(Filter::Firing)[..] else {
        panic!("one alert")
    };
    assert_eq!((alert.core.len(), alert.core_total), (1000, SERVERS));
    assert_eq!(alert.core[1].waits[0].target.as_deref(), Some("server-2"));

    // Nobody whom the alert lists.
    rig.end("a", id(SERVERS - 7, 1), Outcome::Timeout);
    assert_eq!(rig.published.last().unwrap().resolution, Some(Resolution::Timeout));
    assert_eq!(rig.alerts(Filter::Firing), []);
}
