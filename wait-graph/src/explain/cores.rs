//! What causes a deadlock: a strongly connected component of the dead tasks that stays dead even if everything outside it
//! is taken to be live; where only a part of a component does, the same is asked of that part.

use std::collections::VecDeque;

use crate::explain::dead_part::{DeadPart, TaskNo};
use crate::explain::dependencies::{Dependencies, Tracing, components};
use crate::wait_for::{Among, Picture};

/// How often each dead task may be looked at again, all in all, because only a part of its component stayed dead. Real
/// systems need one or two rounds; a component made to lose a little in each would need as many rounds as it has tasks.
const ROUNDS_MAX: usize = 16;
/// What may be looked at again in any case, so that the rounds of small graphs are never cut short.
const LOOKS_MIN: usize = 1 << 18;

/// The cores among all dead tasks. No two share a task; each is sorted.
///
/// Where the rounds are used up, what stays dead of a component counts as one core: it proves itself as a core does, but
/// may contain victims of a smaller one.
pub(super) fn cores(picture: &Picture, dead: &DeadPart, dependencies: &Dependencies) -> Vec<Vec<TaskNo>> {
    cores_within(
        LOOKS_MIN.max(ROUNDS_MAX.saturating_mul(dead.tasks.len())),
        picture,
        dead,
        dependencies,
    )
}

/// The same, if so many tasks may be looked at again.
pub(super) fn cores_within(
    mut looks_left: usize,
    picture: &Picture,
    dead: &DeadPart,
    dependencies: &Dependencies,
) -> Vec<Vec<TaskNo>> {
    let mut search = Search {
        dead,
        among: Among::new(picture),
        cores: Vec::new(),
        parts: VecDeque::new(),
    };
    search.judge(components(dependencies));
    let mut tracing = Tracing::new(dead);
    while let Some(part) = search.parts.pop_front() {
        match looks_left.checked_sub(part.len()) {
            Some(left) => {
                looks_left = left;
                search.judge(components(&tracing.among(&part)));
            }
            None => search.cores.push(part),
        }
    }
    search.cores
}

struct Search<'a> {
    dead: &'a DeadPart,
    among: Among<'a>,
    cores: Vec<Vec<TaskNo>>,
    /// Parts of components that stay dead.
    parts: VecDeque<Vec<TaskNo>>,
}

impl Search<'_> {
    fn judge(&mut self, components: Vec<Vec<TaskNo>>) {
        for component in components {
            let still_dead = self.still_dead(&component);
            if still_dead.len() == component.len() {
                self.cores.push(component);
            } else if !still_dead.is_empty() {
                self.parts.push_back(still_dead);
            }
        }
    }

    fn still_dead(&mut self, component: &[TaskNo]) -> Vec<TaskNo> {
        let indexes: Vec<_> = component.iter().map(|task| self.dead.tasks[*task]).collect();
        // What stays dead comes in the order of the component.
        let mut still_dead = self.among.dead(&indexes).into_iter().peekable();
        let stays = |task: &TaskNo| still_dead.next_if_eq(&self.dead.tasks[*task]).is_some();
        component.iter().copied().filter(stays).collect()
    }
}
