//! Who is known, and for how long.

use super::*;

#[test]
fn a_source_is_forgotten_that_is_silent_and_has_nothing_open() {
    let mut world = world();
    world.wait(TIMES.forget_after - seconds(1));
    world.take(ends(1));
    assert!(
        world.wait(TIMES.forget_after - seconds(1)).is_empty(),
        "it has spoken since"
    );
    assert_eq!(world.wait(seconds(1)), ["1 left"]);
    assert_eq!(world.sources.sources().count(), 0);
    assert_eq!(
        world.take(ends(2)),
        ["2 is a/a-1", "2: .2 call under 99"],
        "under another number"
    );
}

#[test]
fn a_source_is_not_forgotten_while_it_has_something_open() {
    let mut world = world();
    world.take(starts(world.started(3, seconds(0))));
    assert!(world.wait(TIMES.forget_after).is_empty());
    assert_eq!(
        world.wait(TIMES.max_open - TIMES.forget_after),
        ["1: -3 expired", "1 left"]
    );
    let counts = world.sources.counts();
    assert_eq!((counts.open, counts.sources), (0, 0));
}

#[test]
fn what_is_to_be_done_next_is_known() {
    let mut world = World::new();
    assert_eq!(world.sources.next_expiry(), None);
    let next = world.started(4, seconds(0));
    world.take(batch(
        vec![finished(1, 2, Role::Call)],
        vec![world.heartbeat(3, seconds(0)), next],
    ));
    let mut said = Vec::new();
    while let Some(next) = world.sources.next_expiry() {
        assert!(next > world.now, "or it would be asked for ever");
        said.extend(world.wait(next - world.now));
    }
    assert_eq!(said, ["1: -3 expired", "1: -4 expired", "1 left"]);
}

#[test]
fn a_source_that_is_not_wanted_comes_again() {
    let mut world = world();
    world.take(starts(world.started(3, seconds(1))));
    world.sources.drop_source(SourceNo(1));
    assert_eq!((world.sources.counts().open, world.sources.counts().sources), (0, 0));
    world.sources.drop_source(SourceNo(1));
    assert_eq!(
        world.take(starts(world.started(3, seconds(2)))),
        ["2 is a/a-1", "2: +3 2s"]
    );
    assert_eq!(world.wait(TIMES.max_open), ["2: -3 expired", "2 left"]);
}

#[test]
fn an_instance_says_who_it_is() {
    let hello = |instance: Instance, seed: u64| {
        let mut said = Vec::new();
        let batch = signal::Batch {
            instances: vec![Arc::new(instance)],
            ..signal::Batch::default()
        };
        Sources::new(TIMES, seed).take(seconds(0), BEGIN, batch, &mut said);
        match said.remove(0) {
            Said::Came { hello, .. } => hello,
            other @ (Said::Batch { .. } | Said::Left { .. }) => panic!("{other:?}"),
        }
    };
    let names = |service: &str, namespace: &str, id: &str| Instance {
        service_name: service.into(),
        service_namespace: namespace.into(),
        instance_id: id.into(),
        display: Vec::new(),
    };
    let said = hello(names("a", "shop", "a-1"), 1);
    assert!(said.cannot_be_asked);
    assert_eq!((said.protocol_version, said.lease_ms), (stream::PROTOCOL_VERSION, 0));
    let instance = said.instance.clone().unwrap();
    assert_eq!(instance.process, None);
    let texts = [
        &instance.service_name,
        &instance.service_namespace,
        &instance.instance_id,
    ];
    assert_eq!(texts, ["a", "shop", "a-1"]);

    let incarnation = |instance, seed| hello(instance, seed).instance.unwrap().incarnation;
    let same = Instance {
        display: vec![("k8s.pod.name".into(), "p".into())],
        ..names("a", "shop", "a-1")
    };
    assert_eq!(incarnation(same, 1), instance.incarnation);
    for other in [
        names("b", "shop", "a-1"),
        names("a", "", "a-1"),
        names("a", "shop", "a-2"),
        names("as", "hop", "a-1"),
    ] {
        assert_ne!(incarnation(other, 1), instance.incarnation);
    }
    assert_ne!(
        incarnation(names("a", "shop", "a-1"), 2),
        instance.incarnation,
        "seen by another receiver"
    );

    let id = |instance| hello(instance, 1).instance.unwrap().instance_id;
    assert_eq!(id(names("a", "shop", "")), "a");
    assert_eq!(id(names("", "", "")), "unknown_service");
    assert_eq!(id(names("a", "", &"x".repeat(3000))).len(), stream::TEXT_BYTES_MAX);
}

#[test]
fn signals_of_an_instance_that_is_not_there_do_no_harm() {
    let mut world = world();
    let mut end = finished(3, 4, Role::Call);
    end.instance = InstanceIx(9);
    let mut start = world.started(5, seconds(0));
    start.instance = InstanceIx(9);
    assert!(world.take(batch(vec![end], vec![start])).is_empty());
    let counts = world.sources.counts();
    assert_eq!((counts.refused_ends, counts.refused_spans), (1, 1));
}
