//! How a run is driven step by step, by somebody who has other things to let happen at the same times.

use std::time::Duration;

use super::{Event, Happening, InstanceId, Simulation, instance_id};

impl Simulation {
    /// When something may happen next; `None` if nothing can.
    pub fn next_at(&self) -> Option<Duration> {
        if self.is_told() {
            self.agenda.next_at()
        } else {
            Some(self.now)
        }
    }

    /// What happens next, up to and including this time. `None` if nothing more does; then it is that time.
    pub fn next_until(&mut self, limit: Duration) -> Option<(Duration, Event)> {
        while self.is_told() {
            if self.agenda.next_at().is_none_or(|at| at > limit) {
                self.now = self.now.max(limit);
                return None;
            }
            self.advance();
        }
        self.next()
    }

    /// From now on an instance stands still until then. What should happen in it meanwhile happens when it goes on.
    pub fn stand_still(&mut self, instance: InstanceId, until: Duration) {
        let all = self.instances.iter_mut().enumerate();
        for (_, it) in all.filter(|(index, _)| instance_id(*index) == instance) {
            it.stalled_until = it.stalled_until.max(until);
        }
    }

    /// From now on everybody gives up after this long, where the script does not say otherwise. Whoever waits already has
    /// as long from now.
    pub fn give_up_after(&mut self, timeout: Duration) {
        self.settings.timeout = Some(timeout);
        let at = self.now.saturating_add(timeout);
        for (index, _) in self.waits.iter().enumerate().filter(|(_, wait)| wait.is_open) {
            self.agenda.put(at, Happening::TimesOut(index));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Role, Script, Settings};

    use super::*;

    fn run(script: &str) -> Simulation {
        let script: Script = script.parse().unwrap();
        let settings = Settings {
            timeout: None,
            ..Settings::default()
        };
        Simulation::new(&script, settings, 1)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn times(run: &mut Simulation, limit: Duration) -> Vec<Duration> {
        std::iter::from_fn(|| run.next_until(limit)).map(|(at, _)| at).collect()
    }

    #[test]
    fn nothing_happens_beyond_the_limit() {
        let mut run = run("x: ~10; A{~20}");
        assert_eq!(run.next_at(), Some(ms(0)));
        assert_eq!(times(&mut run, ms(9)), [ms(0)], "the client begins");
        assert_eq!(run.next_at(), Some(ms(10)));
        assert_eq!(times(&mut run, ms(10)), [ms(10); 2], "call and handle");
        assert_eq!(times(&mut run, ms(29)), []);
        assert_eq!(
            times(&mut run, ms(100)),
            [ms(30); 3],
            "the handle, the call and the client end"
        );
        assert_eq!(run.next_at(), None);
    }

    #[test]
    fn who_stands_still_goes_on_later() {
        let mut run = run("x: A");
        let server = run
            .instances()
            .find(|(_, name)| &***name == "A")
            .map(|(id, _)| id)
            .unwrap();
        run.stand_still(server, ms(50));
        let handle =
            run.find(|(_, event)| matches!(event, Event::Started(span) if matches!(span.role, Role::Handle { .. })));
        assert_eq!(handle.unwrap().0, ms(50));
    }

    #[test]
    fn standing_still_is_not_being_stuck() {
        let mut run = run("x: A{~10}");
        let server = run
            .instances()
            .find(|(_, name)| &***name == "A")
            .map(|(id, _)| id)
            .unwrap();
        while run.next_until(ms(5)).is_some() {}
        run.stand_still(server, ms(500));
        assert_eq!(run.stuck().len(), 0);
    }

    #[test]
    fn giving_up_ends_a_deadlock() {
        let mut run = run("x: A{B{A}}");
        while run.next_until(ms(1000)).is_some() {}
        assert_eq!(run.stuck().len(), 3);
        run.give_up_after(ms(100));
        let ends = times(&mut run, ms(10_000));
        assert!(ends.iter().all(|at| *at == ms(1100)), "{ends:?}");
        assert_eq!(run.unfinished().len(), 0);
    }
}
