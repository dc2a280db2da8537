//! What a registry must do.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use standoff_demo_services::cluster::{Member, ProcessName, Registry};

use super::{World, eventually};

const LEASE: Duration = Duration::from_secs(60);
/// Long enough to be renewed by a busy test, short enough to wait for.
const SHORT: Duration = Duration::from_millis(200);

fn registry(world: &dyn World) -> Arc<dyn Registry> {
    world.registry("registry")
}

fn member(node: &str, incarnation: u64) -> Member {
    Member {
        node: node.to_owned(),
        incarnation,
        address: format!("{node}:1"),
    }
}

fn name(id: i64) -> ProcessName {
    ProcessName::new("server_a", id)
}

pub(crate) async fn members_come_and_go(world: &dyn World) {
    let registry = registry(world);
    let (a1, a2) = (member("a-1", 1), member("a-2", 1));
    assert_eq!(registry.members().await.unwrap(), []);
    registry.renew(&a2, &[], LEASE).await.unwrap();
    registry.renew(&a1, &[], LEASE).await.unwrap();
    assert_eq!(registry.members().await.unwrap(), [a1.clone(), a2.clone()]);

    // A node that is started again takes the place of its predecessor, whose goodbye then means nothing.
    let a1_again = member("a-1", 2);
    registry.renew(&a1_again, &[], LEASE).await.unwrap();
    registry.leave(&a1, &[]).await.unwrap();
    assert_eq!(registry.members().await.unwrap(), [a1_again.clone(), a2.clone()]);

    registry.leave(&a2, &[]).await.unwrap();
    assert_eq!(registry.members().await.unwrap(), std::slice::from_ref(&a1_again));
    registry.renew(&a1_again, &[], SHORT).await.unwrap();
    eventually("the lease runs out", || async {
        registry.members().await.unwrap().is_empty().then_some(())
    })
    .await;
}

pub(crate) async fn a_name_has_one_owner_under_race(world: &dyn World) {
    let members: Vec<Member> = (0..20).map(|number| member(&format!("a-{number}"), 1)).collect();
    let registries: Vec<_> = members.iter().map(|_| registry(world)).collect();
    let contenders = members.iter().zip(&registries);
    let owners =
        join_all(contenders.map(|(me, registry)| async { registry.register(&name(42), me, LEASE).await.unwrap() }));
    let owners = owners.await;
    assert!(owners.iter().all(|owner| *owner == owners[0]), "{owners:?}");
    assert_eq!(registries[7].owner(&name(42)).await.unwrap(), Some(owners[0].clone()));
}

pub(crate) async fn only_the_owner_frees_a_name(world: &dyn World) {
    let registry = registry(world);
    let (owner, other, successor) = (member("a-1", 1), member("a-2", 1), member("a-1", 2));
    assert_eq!(registry.register(&name(1), &owner, LEASE).await.unwrap(), owner);
    // Registering again is no race with oneself.
    assert_eq!(registry.register(&name(1), &owner, LEASE).await.unwrap(), owner);
    for stranger in [&other, &successor] {
        registry.unregister(&name(1), stranger).await.unwrap();
        registry.leave(stranger, &[name(1)]).await.unwrap();
        assert_eq!(registry.register(&name(1), stranger, LEASE).await.unwrap(), owner);
    }
    registry.unregister(&name(1), &owner).await.unwrap();
    assert_eq!(registry.owner(&name(1)).await.unwrap(), None);
    assert_eq!(registry.register(&name(1), &other, LEASE).await.unwrap(), other);
}

pub(crate) async fn an_expired_name_can_be_taken_over(world: &dyn World) {
    let registry = registry(world);
    let (lost, heir) = (member("a-1", 1), member("a-2", 1));
    registry.register(&name(1), &lost, SHORT).await.unwrap();
    eventually("a takeover", || async {
        (registry.register(&name(1), &heir, LEASE).await.unwrap() == heir).then_some(())
    })
    .await;
    assert_eq!(registry.owner(&name(1)).await.unwrap(), Some(heir));
}

pub(crate) async fn renewal_reports_what_was_lost_and_restores_what_expired(world: &dyn World) {
    let registry = registry(world);
    let (owner, heir) = (member("a-1", 1), member("a-2", 1));
    registry.register(&name(1), &owner, SHORT).await.unwrap();
    registry.register(&name(2), &owner, SHORT).await.unwrap();
    eventually("the leases run out", || async {
        let owners = [
            registry.owner(&name(1)).await.unwrap(),
            registry.owner(&name(2)).await.unwrap(),
        ];
        (owners == [None, None]).then_some(())
    })
    .await;
    registry.register(&name(2), &heir, LEASE).await.unwrap();
    assert_eq!(
        registry.renew(&owner, &[name(1), name(2)], LEASE).await.unwrap(),
        [name(2)]
    );
    assert_eq!(registry.owner(&name(1)).await.unwrap(), Some(owner));
    assert_eq!(registry.owner(&name(2)).await.unwrap(), Some(heir));
}

pub(crate) async fn many_names_are_renewed_and_freed_at_once(world: &dyn World) {
    let registry = registry(world);
    let me = member("a-1", 1);
    let names: Vec<ProcessName> = (0..1_234).map(name).collect();
    assert_eq!(registry.renew(&me, &names, LEASE).await.unwrap(), []);
    for id in [0, 499, 500, 1_233] {
        assert_eq!(registry.owner(&name(id)).await.unwrap().as_ref(), Some(&me), "{id}");
    }
    registry.leave(&me, &names).await.unwrap();
    for id in [0, 499, 500, 1_233] {
        assert_eq!(registry.owner(&name(id)).await.unwrap(), None, "{id}");
    }
}
