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
