//! What the engine says of a whole run, as a verdict says it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use standoff_script::scenarios::Verdict;
use standoff_script::{Event, Simulation};
use standoff_wait_graph::{Change, DeadTask, Episodes, Resource};

use crate::engine::Engine;

/// What is over sooner does not count.
const BINDING: Duration = Duration::from_millis(100);

/// A deadlock from its beginning to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Episode {
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    /// The resources of its core when that was widest.
    pub(crate) core: BTreeSet<String>,
    /// Resources of its victims at any time.
    pub(crate) victims: BTreeSet<String>,
}

/// Everything that the engine finds until the last client of a run has ended.
#[derive(Default)]
pub(crate) struct Watch {
    episodes: Episodes,
    open: BTreeMap<u64, Episode>,
    over: Vec<Episode>,
}

impl Watch {
    /// The episodes that count, of events as whoever watches sees them.
    pub(crate) fn over(run: &Simulation, events: impl Iterator<Item = (Duration, Event)>) -> Vec<Episode> {
        let (mut engine, mut watch, mut now) = (Engine::of(run), Self::default(), Duration::ZERO);
        let mut clients_running = run.clients_running();
        let mut roots = BTreeSet::new();
        for (at, event) in events {
            now = at;
            engine.apply(at, &event);
            for change in watch.episodes.update(engine.deadlocks()) {
                watch.note(now, change);
            }
            match event {
                Event::Started(span) if span.parent.is_none() => _ = roots.insert(span.id),
                Event::Finished(id) if roots.contains(&id) => clients_running -= 1,
                Event::Started(_) | Event::Finished(_) | Event::Gone(_) => {}
            }
            if clients_running == 0 {
                break;
            }
        }
        for (_, episode) in std::mem::take(&mut watch.open) {
            watch.over.push(Episode { until: now, ..episode });
        }
        watch.over.retain(|episode| episode.until - episode.from >= BINDING);
        watch.over
    }

    fn note(&mut self, now: Duration, change: Change) {
        match change {
            Change::Opened { id, deadlock } => {
                let core = resources(&deadlock.resources);
                let victims = occupied(&deadlock.victims);
                self.open.insert(
                    id,
                    Episode {
                        from: now,
                        until: now,
                        core,
                        victims,
                    },
                );
            }
            Change::Continued { id, current, widest } => {
                if let Some(episode) = self.open.get_mut(&id) {
                    episode.core = resources(&widest.resources);
                    episode.victims.extend(occupied(&current.victims));
                }
            }
            Change::Closed { id } | Change::Merged { id, .. } => {
                self.over
                    .extend(self.open.remove(&id).map(|episode| Episode { until: now, ..episode }));
            }
        }
    }
}

fn resources(resources: &[Resource]) -> BTreeSet<String> {
    resources.iter().map(|resource| resource.name.to_string()).collect()
}

fn occupied(tasks: &[DeadTask]) -> BTreeSet<String> {
    tasks
        .iter()
        .flat_map(|task| &task.resources)
        .map(ToString::to_string)
        .collect()
}

/// What is wrong with the episodes of a run, by its verdict.
pub(crate) fn differences(verdict: &Verdict, episodes: &[Episode]) -> Option<String> {
    let mut found: Vec<Vec<String>> = episodes.iter().map(|it| it.core.iter().cloned().collect()).collect();
    found.sort();
    let (cores, victims) = match verdict {
        Verdict::Quiet => (&Vec::new(), None),
        Verdict::Deadlocks { cores, victims } => (cores, victims.as_ref()),
    };
    let found_victims: BTreeSet<&String> = episodes.iter().flat_map(|it| &it.victims).collect();
    let missing: Vec<&String> = victims
        .into_iter()
        .flatten()
        .filter(|it| !found_victims.contains(it))
        .collect();
    (found != *cores || !missing.is_empty())
        .then(|| format!("expected cores {cores:?}, found {found:?}; missing victims {missing:?}\n{episodes:#?}"))
}
