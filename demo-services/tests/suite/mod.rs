//! What brokers, registries, clusters and the services must do, whatever they stand on.
//!
//! Each behaviour is a function over a [`World`]. `behaviours!` makes a test of each, so that no world leaves one out.

pub(crate) mod broker;
pub(crate) mod cluster;
pub(crate) mod recorder;
pub(crate) mod registry;
pub(crate) mod services;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use standoff_demo_services::broker::Broker;
use standoff_demo_services::cluster::{Registry, Transport};

/// No condition takes longer than this, also on a busy machine. Nothing waits this long unless it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What the tests run against. Two worlds do not see each other's queues, names or members.
pub(crate) trait World: Send + Sync {
    /// A broker as another instance sees it.
    fn broker(&self) -> Arc<dyn Broker>;
    /// The registry of the cluster `cluster`, as another instance sees it.
    fn registry(&self, cluster: &str) -> Arc<dyn Registry>;
    /// The transport of another node of the cluster `cluster`.
    fn transport(&self, cluster: &str) -> Arc<dyn Transport>;
    /// How many requests this world answers at once in a few seconds, in a debug build on a busy machine. Even.
    fn requests_at_once(&self) -> i64;
}

/// Awaits `future`, but no longer than the deadline.
pub(crate) async fn within_deadline<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Asks again and again until the answer is `Some`, but no longer than the deadline.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    within_deadline(what, async {
        let mut again = tokio::time::interval(Duration::from_millis(5));
        loop {
            again.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    })
    .await
}

/// Makes a test of every behaviour, over the world that the expression makes.
#[macro_export]
macro_rules! behaviours {
    ($world:expr) => {
        $crate::behaviours! { $world;
            broker: replies_reach_their_callers,
            broker: requests_wait_for_a_consumer,
            broker: messages_come_in_order_and_one_at_a_time,
            broker: an_unsettled_message_comes_again_marked_redelivered,
            broker: a_refused_request_is_gone_and_never_answered,
            broker: a_delivered_request_is_served_after_its_caller_gave_up,
            broker: a_request_expires_in_its_queue,
            broker: headers_arrive_as_they_were_sent,
            broker: closing_ends_calls_and_consumers,
            registry: members_come_and_go,
            registry: a_name_has_one_owner_under_race,
            registry: only_the_owner_frees_a_name,
            registry: an_expired_name_can_be_taken_over,
            registry: renewal_reports_what_was_lost_and_restores_what_expired,
            registry: many_names_are_renewed_and_freed_at_once,
            cluster: a_process_is_started_once_under_race,
            cluster: processes_start_where_placement_says,
            cluster: a_process_that_failed_is_found_again,
            cluster: an_idle_process_is_started_anew,
            cluster: a_node_that_leaves_frees_its_names_at_once,
            cluster: the_names_of_a_lost_node_move_when_its_lease_runs_out,
            cluster: a_kind_that_nobody_knows_is_refused,
            cluster: the_callers_span_is_the_parent_wherever_the_process_lives,
            services: ordinary_requests_by_the_thousand,
            services: id_42_times_out_three_callers_and_the_system_recovers,
            services: id_42_with_single_replicas_waits_in_the_queue,
            services: a_redelivered_request_is_refused,
            services: a_malformed_request_is_refused,
            services: a_replica_that_dies_while_it_waits_is_survived,
        }
    };
    ($world:expr; $($module:ident: $behaviour:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $behaviour() {
                suite::$module::$behaviour(&$world).await;
            }
        )*
    };
}
