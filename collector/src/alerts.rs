//! The life cycle of alerts: suspected, firing, resolved.
//!
//! Knows what an alert looks like and when it may change state. Does not know why: that is for whoever confirms
//! suspects and watches episodes. Suspicions that come to nothing leave no trace here.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use standoff_protocol::api::{Alert, AlertList, AlertState, Confirmation, Evidence, Resolution, Severity};

use crate::clock::timestamp;
use crate::describe::hex;

/// Names an episode: the hash of the span ids of the waits that first formed it.
pub(crate) type EpisodeId = u64;

/// Resolved alerts that are kept: enough to see what a night has brought.
pub(crate) const RESOLVED_MAX: usize = 1000;

/// The most tasks that these list. Each takes about a kilobyte, so it is what a hundred of the largest alerts take.
const RESOLVED_TASKS_MAX: usize = 100_000;

/// Fingerprints whose episodes are counted. Each costs about 50 bytes.
const FINGERPRINTS_MAX: usize = 100_000;

/// How much later than its caller the collector may think that a call times out: a start is dated by when it was taken in,
/// after it has waited to be sent, received and queued.
const DEADLINE_SLACK: Duration = Duration::from_millis(250);

/// The alerts of one page, unless asked for otherwise, and at most.
pub(crate) const PAGE_SIZE: usize = 100;
/// The most alerts of one page.
pub(crate) const PAGE_SIZE_MAX: usize = 1000;

/// All alerts.
#[derive(Debug, Default)]
pub(crate) struct Alerts {
    open: BTreeMap<EpisodeId, Alert>,
    /// Newest last.
    resolved: VecDeque<Alert>,
    /// How many tasks these list.
    resolved_tasks: usize,
    occurrences: BTreeMap<String, u64>,
}

/// Which alerts to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Filter {
    Suspected,
    #[default]
    Firing,
    Resolved,
    All,
}

impl Filter {
    fn admits(self, state: AlertState) -> bool {
        match self {
            Self::Suspected => state == AlertState::Suspected,
            Self::Firing => state == AlertState::Firing,
            Self::Resolved => state == AlertState::Resolved,
            Self::All => true,
        }
    }
}

impl Alerts {
    /// An episode has begun.
    pub(crate) fn suspect(&mut self, id: EpisodeId, mut alert: Alert) {
        alert.occurrences = self.occurrences.get(&alert.fingerprint).copied().unwrap_or(0) + 1;
        self.open.insert(id, alert);
    }

    /// This is how a suspected episode is going to be confirmed, if it is.
    pub(crate) fn will_be(&mut self, id: EpisodeId, confirmation: Confirmation) {
        if let Some(alert) = self.open.get_mut(&id).filter(|it| it.state == AlertState::Suspected) {
            alert.severity = severity(confirmation);
        }
    }

    /// An episode goes on, and this is what it looks like now. As this it has been confirmed, if that is given; otherwise it
    /// was confirmed before, or is a suspect. Returns the alert if anybody has heard of it and it has changed.
    pub(crate) fn update(
        &mut self,
        id: EpisodeId,
        mut alert: Alert,
        confirmation: Option<Confirmation>,
    ) -> Option<&Alert> {
        let open = self.open.get_mut(&id)?;
        alert.id.clone_from(&open.id);
        alert.occurrences = open.occurrences;
        alert.state = open.state;
        alert.confirmation = confirmation.or(open.confirmation);
        alert.severity = confirmation.map_or(open.severity, severity);
        alert.detected_at = open.detected_at;
        alert.fired_at = open.fired_at;
        alert.acknowledged.clone_from(&open.acknowledged);
        if *open == alert {
            return None;
        }
        *open = alert;
        (open.state == AlertState::Firing).then_some(&*open)
    }

    /// Something else is to be held against open alerts now. Changes so many of those behind `after`, in the order of their
    /// ids, and returns those of them that fire, and behind which to go on, if any are left.
    pub(crate) fn hold_against(
        &mut self,
        after: EpisodeId,
        most: usize,
        evidence: &Evidence,
    ) -> (Vec<Alert>, Option<EpisodeId>) {
        let mut told = Vec::new();
        let mut left = self.open.range_mut((Bound::Excluded(after), Bound::Unbounded));
        let mut last = after;
        for (id, alert) in left.by_ref() {
            last = *id;
            if alert.evidence != *evidence {
                alert.evidence.clone_from(evidence);
                told.extend((alert.state == AlertState::Firing).then(|| alert.clone()));
            }
            if told.len() >= most {
                break;
            }
        }
        let is_more = left.next().is_some();
        (told, is_more.then_some(last))
    }

    /// The episode has been confirmed.
    pub(crate) fn fire(&mut self, now: Duration, id: EpisodeId, confirmation: Confirmation) -> Option<&Alert> {
        let alert = self.open.get_mut(&id).filter(|it| it.state == AlertState::Suspected)?;
        alert.state = AlertState::Firing;
        alert.confirmation = Some(confirmation);
        alert.severity = severity(confirmation);
        alert.fired_at = Some(timestamp(now));
        if self.occurrences.len() < FINGERPRINTS_MAX || self.occurrences.contains_key(&alert.fingerprint) {
            let count = self.occurrences.entry(alert.fingerprint.clone()).or_insert(0);
            *count += 1;
            alert.occurrences = *count;
        }
        Some(alert)
    }

    /// The episode is over, as it seems by this `resolution`. Returns the alert if anybody has heard of it. `is_lost` says
    /// whether an instance of its core has no connection.
    pub(crate) fn resolve(
        &mut self,
        now: Duration,
        id: EpisodeId,
        resolution: Resolution,
        is_lost: impl FnOnce() -> bool,
    ) -> Option<&Alert> {
        let mut alert = self.open.remove(&id).filter(|it| it.state == AlertState::Firing)?;
        alert.state = AlertState::Resolved;
        alert.resolved_at = Some(timestamp(now));
        alert.resolution = Some(root_cause(&alert, now, resolution, is_lost));
        self.resolved_tasks += tasks_listed(&alert);
        self.resolved.push_back(alert);
        while self.resolved.len() > RESOLVED_MAX || self.resolved_tasks > RESOLVED_TASKS_MAX && self.resolved.len() > 1
        {
            let oldest = self.resolved.pop_front();
            self.resolved_tasks -= oldest.as_ref().map_or(0, tasks_listed);
        }
        self.resolved.back()
    }

    /// One alert by its id as the API writes it; the newest, should an episode have come twice.
    pub(crate) fn get(&self, id: &str) -> Option<&Alert> {
        self.newest_first().into_iter().find(|it| it.id == id)
    }

    /// The firing alerts, newest first.
    pub(crate) fn firing(&self) -> Vec<Alert> {
        self.newest_first()
            .into_iter()
            .filter(|it| it.state == AlertState::Firing)
            .cloned()
            .collect()
    }

    /// A page of alerts, newest first, that begins behind the alert that `after` names.
    pub(crate) fn list(&self, filter: Filter, page_size: usize, after: Option<&PageToken>) -> AlertList {
        let mut admitted = self
            .newest_first()
            .into_iter()
            .filter(|it| filter.admits(it.state))
            .skip_while(|it| after.is_some_and(|token| PageToken::of(it) >= *token));
        let alerts: Vec<Alert> = admitted.by_ref().take(page_size).cloned().collect();
        let next = admitted.next().and(alerts.last());
        let next_page_token = next.map(|last| PageToken::of(last).to_string()).unwrap_or_default();
        AlertList {
            alerts,
            next_page_token,
        }
    }

    fn newest_first(&self) -> Vec<&Alert> {
        let mut alerts: Vec<_> = self.open.values().chain(&self.resolved).collect();
        alerts.sort_by_key(|it| std::cmp::Reverse(PageToken::of(it)));
        alerts
    }
}

/// A page for what every process has confirmed. What has only stood for a while is worth a look.
fn severity(confirmation: Confirmation) -> Severity {
    match confirmation {
        Confirmation::Probed => Severity::Critical,
        Confirmation::Settled => Severity::Warning,
    }
}

fn tasks_listed(alert: &Alert) -> usize {
    alert.core.len() + alert.victims.len()
}

/// Nothing in a deadlock moves by itself. If one of its calls has failed, was given up or was even answered when another one
/// has reached its deadline, then that came first, and only its news is still on the way; likewise if one has failed or was
/// given up when an instance of it has lost its connection.
fn root_cause(alert: &Alert, now: Duration, resolution: Resolution, is_lost: impl FnOnce() -> bool) -> Resolution {
    let may_follow = [Resolution::Error, Resolution::Cancelled, Resolution::Finished];
    if !may_follow.contains(&resolution) {
        return resolution;
    }
    if alert
        .first_timeout_at
        .is_some_and(|at| at <= timestamp(now + DEADLINE_SLACK))
    {
        Resolution::Timeout
    } else if resolution != Resolution::Finished && is_lost() {
        Resolution::InstanceLost
    } else {
        resolution
    }
}

/// Where a page ended: at the alert detected then, with that id. Stays valid whatever comes and goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageToken {
    detected_at_ms: i64,
    id: String,
}

impl PageToken {
    fn of(alert: &Alert) -> Self {
        Self {
            detected_at_ms: alert.detected_at.as_millisecond(),
            id: alert.id.clone(),
        }
    }

    /// Reads what [`Display`](std::fmt::Display) writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (time, id) = text.split_once('-')?;
        let detected_at_ms = i64::try_from(u64::from_str_radix(time, 16).ok()?).ok()?;
        let id = hex(u64::from_str_radix(id, 16).ok()?);
        Some(Self { detected_at_ms, id })
    }
}

impl std::fmt::Display for PageToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{}", self.detected_at_ms, self.id)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use standoff_protocol::api::{Kind, Severity, Task};

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn nobody() -> bool {
        false
    }

    fn alert(id: EpisodeId, detected_at: Duration) -> Alert {
        Alert {
            id: hex(id),
            fingerprint: "f".into(),
            occurrences: 0,
            kind: Kind::Deadlock,
            pattern: "p".into(),
            state: AlertState::Suspected,
            severity: Severity::Critical,
            confirmation: None,
            detected_at: timestamp(detected_at),
            fired_at: None,
            resolved_at: None,
            resolution: None,
            first_timeout_at: None,
            summary: "a → b → a".into(),
            core: vec![],
            core_total: 0,
            resources: vec![],
            resources_total: 0,
            victims: vec![],
            victims_total: 0,
            evidence: Evidence::default(),
            acknowledged: None,
        }
    }

    #[test]
    fn from_suspected_over_firing_to_resolved() {
        let mut alerts = Alerts::default();
        alerts.suspect(1, alert(1, ms(10)));
        assert_eq!(alerts.firing(), []);
        let firing = alerts.fire(ms(20), 1, Confirmation::Probed).unwrap().clone();
        assert_eq!(
            (firing.state, firing.confirmation),
            (AlertState::Firing, Some(Confirmation::Probed))
        );
        assert_eq!(firing.fired_at, Some(Timestamp::from_millisecond(20).unwrap()));
        assert!(alerts.fire(ms(21), 1, Confirmation::Probed).is_none(), "it fires once");
        let resolved = alerts.resolve(ms(30), 1, Resolution::Timeout, nobody).unwrap().clone();
        assert_eq!(
            (resolved.state, resolved.resolution),
            (AlertState::Resolved, Some(Resolution::Timeout))
        );
        assert_eq!(alerts.get(&hex(1)), Some(&resolved));
    }

    #[test]
    fn what_fails_at_the_deadline_of_another_call_fails_because_of_it() {
        let resolved_at = |at, resolution| {
            let mut alerts = Alerts::default();
            alerts.suspect(
                1,
                Alert {
                    first_timeout_at: Some(timestamp(ms(5000))),
                    ..alert(1, ms(10))
                },
            );
            alerts.fire(ms(20), 1, Confirmation::Probed);
            alerts.resolve(at, 1, resolution, nobody).unwrap().resolution
        };
        for seen in [Resolution::Error, Resolution::Cancelled, Resolution::Finished] {
            assert_eq!(resolved_at(ms(1000), seen), Some(seen));
            assert_eq!(resolved_at(ms(4990), seen), Some(Resolution::Timeout));
            assert_eq!(resolved_at(ms(5010), seen), Some(Resolution::Timeout));
        }
    }

    #[test]
    fn a_suspicion_that_comes_to_nothing_leaves_no_trace() {
        let mut alerts = Alerts::default();
        alerts.suspect(1, alert(1, ms(10)));
        assert!(alerts.resolve(ms(20), 1, Resolution::Finished, nobody).is_none());
        assert_eq!(alerts.list(Filter::All, 10, None), AlertList::default());
        alerts.suspect(2, alert(2, ms(30)));
        assert_eq!(alerts.fire(ms(40), 2, Confirmation::Probed).unwrap().occurrences, 1);
    }

    #[test]
    fn episodes_of_one_fingerprint_are_counted() {
        let mut alerts = Alerts::default();
        for id in 1..=3 {
            alerts.suspect(id, alert(id, ms(id)));
            assert_eq!(alerts.fire(ms(id), id, Confirmation::Probed).unwrap().occurrences, id);
            alerts.resolve(ms(id), id, Resolution::Timeout, nobody);
        }
    }

    #[test]
    fn an_update_keeps_what_belongs_to_the_episode_and_tells_only_what_changed() {
        let mut alerts = Alerts::default();
        alerts.suspect(1, alert(1, ms(10)));
        let wider = Alert {
            summary: "a → b → c → a".into(),
            ..alert(1, ms(15))
        };
        assert!(
            alerts.update(1, wider.clone(), None).is_none(),
            "nobody has heard of a suspect"
        );
        alerts.fire(ms(20), 1, Confirmation::Probed);
        assert!(alerts.update(1, wider.clone(), None).is_none(), "nothing has changed");
        let widest = Alert {
            victims_total: 1,
            ..wider
        };
        let told = alerts.update(1, widest, None).unwrap();
        assert_eq!(told.detected_at, Timestamp::from_millisecond(10).unwrap());
        assert_eq!((told.state, told.victims_total), (AlertState::Firing, 1));
    }

    #[test]
    fn what_is_held_against_alerts_is_told_of_so_many_at_a_time() {
        let mut alerts = Alerts::default();
        for id in 1..=5 {
            alerts.suspect(id, alert(id, ms(id)));
            if id != 2 {
                alerts.fire(ms(id), id, Confirmation::Probed);
            }
        }
        let evidence = Evidence {
            events_lost: 7,
            ..Evidence::default()
        };
        let ids = |told: &[Alert]| told.iter().map(|it| it.id.clone()).collect::<Vec<_>>();
        let (told, next) = alerts.hold_against(0, 2, &evidence);
        assert_eq!((ids(&told), next), (vec![hex(1), hex(3)], Some(3)));
        let (told, next) = alerts.hold_against(3, 2, &evidence);
        assert_eq!((ids(&told), next), (vec![hex(4), hex(5)], None));
        assert!(
            alerts.open.values().all(|it| it.evidence == evidence),
            "of suspects, too"
        );
        assert_eq!(
            alerts.hold_against(0, 2, &evidence),
            (vec![], None),
            "nothing has changed"
        );
    }

    #[test]
    fn pages_go_on_where_the_last_one_ended() {
        let mut alerts = Alerts::default();
        for id in 1..=5 {
            alerts.suspect(id, alert(id, ms(id)));
            alerts.fire(ms(id), id, Confirmation::Probed);
        }
        let first = alerts.list(Filter::Firing, 2, None);
        assert_eq!(
            first.alerts.iter().map(|it| &*it.id).collect::<Vec<_>>(),
            [hex(5), hex(4)]
        );
        // What comes meanwhile does not shift the pages.
        alerts.suspect(6, alert(6, ms(6)));
        alerts.resolve(ms(7), 4, Resolution::Timeout, nobody);
        let token = PageToken::parse(&first.next_page_token).unwrap();
        let second = alerts.list(Filter::Firing, 2, Some(&token));
        assert_eq!(
            second.alerts.iter().map(|it| &*it.id).collect::<Vec<_>>(),
            [hex(3), hex(2)]
        );
        let token = PageToken::parse(&second.next_page_token).unwrap();
        let last = alerts.list(Filter::Firing, 2, Some(&token));
        assert_eq!(last.alerts.iter().map(|it| &*it.id).collect::<Vec<_>>(), [hex(1)]);
        assert_eq!(last.next_page_token, "");
        assert_eq!(PageToken::parse("nonsense"), None);
    }

    #[test]
    fn history_is_bounded() {
        let mut alerts = Alerts::default();
        for id in 0..=RESOLVED_MAX as u64 {
            alerts.suspect(id, alert(id, ms(id)));
            alerts.fire(ms(id), id, Confirmation::Probed);
            alerts.resolve(ms(id), id, Resolution::Timeout, nobody);
        }
        assert_eq!(alerts.resolved.len(), RESOLVED_MAX);
        assert!(alerts.get(&hex(0)).is_none());
    }

    #[test]
    fn history_of_large_alerts_is_bounded_too() {
        let task = Task {
            task: hex(1),
            trace_id: String::new(),
            name: String::new(),
            resources: vec![],
            service: String::new(),
            instance: String::new(),
            waits: vec![],
        };
        let mut alerts = Alerts::default();
        for id in 0..5 {
            let core = vec![task.clone(); RESOLVED_TASKS_MAX / 4];
            alerts.suspect(
                id,
                Alert {
                    core,
                    ..alert(id, ms(id))
                },
            );
            alerts.fire(ms(id), id, Confirmation::Probed);
            alerts.resolve(ms(id), id, Resolution::Timeout, nobody);
        }
        assert_eq!(alerts.resolved.len(), 4);
        assert!(alerts.get(&hex(0)).is_none() && alerts.get(&hex(4)).is_some());
    }
}
