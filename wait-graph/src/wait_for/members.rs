//! Which waits belong to which group, and what their calls say of it.

use std::collections::BTreeMap;

use crate::span::Quorum;

use super::decide::Suspect;
use super::ids::Symbol;
use super::picture::{Picture, Siblings};
use super::records::{Extra, GroupRow, Saying, Wait};
use super::rows::{Chained, Links, NONE, Rows};

/// The groups of one task.
struct Groups<'a>(&'a mut Rows<GroupRow>);

impl Chained for Groups<'_> {
    fn links(&mut self, node: u32) -> &mut Links {
        &mut self.0[node].siblings
    }
}

impl Picture {
    /// Puts a new wait into the group of its task with this name.
    pub(super) fn join_group(&mut self, wait: u32, name: Symbol) {
        let task = self.waits[wait].task;
        let said = self.waits[wait].said();
        let group = match self.group_of.get(&(task, name)) {
            Some(group) => *group,
            None => self.add_group(task, name, said),
        };
        self.waits[wait].group = group;
        let slack = self.groups[group].slack();
        let row = &mut self.groups[group];
        Siblings(&mut self.waits).push(&mut row.first_wait, wait);
        row.waits += 1;
        row.hear(said, true);
        self.touch(task);
        self.refresh_group(group);
        self.suspect_if_harder(group, slack);
    }

    pub(super) fn leave_group(&mut self, wait: u32) {
        let Wait { task, group, .. } = self.waits[wait];
        let said = self.waits[wait].said();
        let slack = self.groups[group].slack();
        let row = &mut self.groups[group];
        Siblings(&mut self.waits).take_out(&mut row.first_wait, wait);
        row.waits -= 1;
        row.stuck -= u32::from(self.waits[wait].is_stuck);
        row.hear(said, false);
        self.touch(task);
        self.refresh_group(group);
        if self.groups[group].waits == 0 {
            self.remove_group(group);
        } else {
            self.suspect_if_harder(group, slack);
        }
    }

    /// If a wait is live, it makes no difference to its group whether it is open or not. Only if fewer may be stuck than
    /// before, all of them have to be looked at: there were more calls than said, or another number is needed.
    fn suspect_if_harder(&mut self, group: u32, slack_before: Option<u32>) {
        let before = slack_before.unwrap_or(u32::MAX);
        if self.groups[group].slack().is_some_and(|slack| slack < before) {
            self.suspect(Suspect::Group(group));
        }
    }

    fn add_group(&mut self, task: u32, name: Symbol, quorum: Option<Quorum>) -> u32 {
        let group = self.groups.insert(GroupRow {
            task,
            name,
            first_wait: NONE,
            siblings: Links::NONE,
            waits: 0,
            stuck: 0,
            quorum,
            is_unmet: false,
            sayings: None,
        });
        self.group_of.insert((task, name), group);
        let extra = self.extra(task);
        Groups(&mut self.groups).push(&mut self.extras[extra].first_group, group);
        group
    }

    fn remove_group(&mut self, group: u32) {
        let GroupRow { task, name, .. } = self.groups[group];
        debug_assert!(!self.groups[group].is_unmet, "a group without calls can be satisfied");
        self.group_of.remove(&(task, name));
        let extra = self.extra(task);
        Groups(&mut self.groups).take_out(&mut self.extras[extra].first_group, group);
        let row = &mut self.groups[group];
        row.task = NONE;
        row.sayings = None;
        self.groups.remove(group);
        self.tidy_extra(task);
    }

    /// The row of what only some tasks have.
    pub(super) fn extra(&mut self, task: u32) -> u32 {
        if self.tasks[task].extra == NONE {
            self.tasks[task].extra = self.extras.insert(EMPTY);
        }
        self.tasks[task].extra
    }

    /// Gives it back where there is nothing in it.
    pub(super) fn tidy_extra(&mut self, task: u32) {
        let extra = self.tasks[task].extra;
        if extra != NONE && self.extras[extra].first_group == NONE && self.extras[extra].first_occupation == NONE {
            self.extras.remove(extra);
            self.tasks[task].extra = NONE;
        }
    }
}

const EMPTY: Extra = Extra {
    first_group: NONE,
    first_occupation: NONE,
};

impl GroupRow {
    /// Takes note of what a call says that has joined, or that has left. The call is counted already.
    ///
    /// Where calls of one group contradict one another, what is easier to get counts. Almost all say the same, so
    /// only for those who do not is it counted how many say what.
    fn hear(&mut self, said: Option<Quorum>, is_here: bool) {
        if self.sayings.is_none() {
            if said == self.quorum {
                return;
            }
            let others = self.waits - 1;
            let mut sayings = BTreeMap::new();
            count(&mut sayings, self.quorum, |number| number + others);
            self.sayings = Some(sayings);
        }
        let Some(sayings) = &mut self.sayings else { return };
        count(sayings, said, |number| if is_here { number + 1 } else { number - 1 });
        self.quorum = weakest(sayings);
    }
}

/// Changes how many calls say so.
fn count(sayings: &mut BTreeMap<Saying, u32>, said: Option<Quorum>, change: impl Fn(u32) -> u32) {
    let said = said.map_or([Some(Saying::Nothing), None], |quorum| {
        [Some(Saying::Needed(quorum.needed)), Some(Saying::Size(quorum.size))]
    });
    for saying in said.into_iter().flatten() {
        let number = change(sayings.get(&saying).copied().unwrap_or(0));
        if number == 0 {
            sayings.remove(&saying);
        } else {
            sayings.insert(saying, number);
        }
    }
}

/// The smallest number needed of the largest; `None` if one call does not say, or none is left.
fn weakest(sayings: &BTreeMap<Saying, u32>) -> Option<Quorum> {
    if sayings.contains_key(&Saying::Nothing) {
        return None;
    }
    let mut needed = None;
    let mut size = None;
    if let Some((Saying::Needed(least), _)) = sayings.range(Saying::Needed(0)..=Saying::Needed(u32::MAX)).next() {
        needed = Some(*least);
    }
    if let Some((Saying::Size(most), _)) = sayings.range(Saying::Size(0)..).next_back() {
        size = Some(*most);
    }
    Some(Quorum {
        needed: needed?,
        size: size?,
    })
}
