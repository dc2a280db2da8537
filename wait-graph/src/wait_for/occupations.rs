//! Which tasks occupy which resources, and by which spans.

use super::handlers::FIRST;
use super::ids::{Occupier, ResourceIx, Slot, TaskIx};
use super::picture::Picture;
use super::records::{Occupation, SPILLED, Task};
use super::rows::{Chained, Links, NONE, Rows};

/// Who occupies one resource.
struct Occupants<'a>(&'a mut Rows<Task>, &'a mut Rows<Occupation>);

impl Chained for Occupants<'_> {
    fn links(&mut self, node: u32) -> &mut Links {
        if node & SPILLED == 0 {
            &mut self.0[node].co_occupants
        } else {
            &mut self.1[node & !SPILLED].co_occupants
        }
    }
}

/// What one task occupies but for what is in its own row.
struct Occupations<'a>(&'a mut Rows<Occupation>);

impl Chained for Occupations<'_> {
    fn links(&mut self, node: u32) -> &mut Links {
        &mut self.0[node].of_task
    }
}

impl Picture {
    /// Precondition: this span does not occupy this resource yet.
    pub(crate) fn occupy(&mut self, task: TaskIx, resource: ResourceIx, by: Occupier) {
        let (task, resource) = (task.0, resource.0);
        self.touch(task);
        let row = &self.tasks[task];
        let is_first = row.resource == NONE && (row.extra == NONE || self.spilled(task, resource).is_none());
        let more = if is_first {
            let row = &mut self.tasks[task];
            row.resource = resource;
            row.occupier = by.span;
            row.units = if by.by_handle { 1 } else { by.units };
            row.occupies_by_handle = by.by_handle;
            let units = row.units;
            Occupants(&mut self.tasks, &mut self.occupations).push(&mut self.resources[resource].first_occupant, task);
            u64::from(units)
        } else {
            if self.tasks[task].resource == resource {
                self.spill(task);
            }
            let occupation = match self.spilled(task, resource) {
                Some(occupation) => occupation,
                None => self.add_occupation(task, resource),
            };
            self.add_occupier(occupation, by)
        };
        self.change_held(task, resource, more, 0);
    }

    /// Precondition: this span occupies this resource for this task.
    pub(crate) fn vacate(&mut self, task: TaskIx, resource: ResourceIx, span: Slot) {
        let (task, resource) = (task.0, resource.0);
        self.touch(task);
        let row = &self.tasks[task];
        let less = if row.resource == resource {
            debug_assert!(row.occupier == span, "it does not occupy this");
            let units = row.units;
            Occupants(&mut self.tasks, &mut self.occupations)
                .take_out(&mut self.resources[resource].first_occupant, task);
            self.tasks[task].resource = NONE;
            u64::from(units)
        } else if let Some(occupation) = self.spilled(task, resource) {
            self.remove_occupier(occupation, span)
        } else {
            debug_assert!(false, "it does not occupy this");
            0
        };
        self.change_held(task, resource, 0, less);
    }

    fn change_held(&mut self, task: u32, resource: u32, more: u64, less: u64) {
        let is_dead = self.tasks[task].is_dead;
        self.change_resource(resource, |row| {
            row.held = row.held + more - less;
            if is_dead {
                row.held_by_dead = row.held_by_dead + more - less;
            }
        });
    }

    fn spilled(&self, task: u32, resource: u32) -> Option<u32> {
        self.occupation_of.get(&(task, resource)).copied()
    }

    /// Moves the occupation in a task's own row to one of its own.
    fn spill(&mut self, task: u32) {
        let Task {
            resource,
            occupier: span,
            units,
            occupies_by_handle: by_handle,
            ..
        } = self.tasks[task];
        Occupants(&mut self.tasks, &mut self.occupations).take_out(&mut self.resources[resource].first_occupant, task);
        self.tasks[task].resource = NONE;
        let occupation = self.add_occupation(task, resource);
        self.add_occupier(occupation, Occupier { span, units, by_handle });
    }

    fn add_occupation(&mut self, task: u32, resource: u32) -> u32 {
        let occupation = self.occupations.insert(Occupation {
            task,
            resource,
            held: 0,
            handles: 0,
            occupier: Task::VACANT,
            units: 0,
            by_handle: false,
            of_task: Links::NONE,
            co_occupants: Links::NONE,
        });
        self.occupation_of.insert((task, resource), occupation);
        let extra = self.extra(task);
        Occupations(&mut self.occupations).push(&mut self.extras[extra].first_occupation, occupation);
        Occupants(&mut self.tasks, &mut self.occupations)
            .push(&mut self.resources[resource].first_occupant, occupation | SPILLED);
        occupation
    }

    fn remove_occupation(&mut self, occupation: u32) {
        let Occupation { task, resource, .. } = self.occupations[occupation];
        Occupants(&mut self.tasks, &mut self.occupations)
            .take_out(&mut self.resources[resource].first_occupant, occupation | SPILLED);
        let extra = self.extra(task);
        Occupations(&mut self.occupations).take_out(&mut self.extras[extra].first_occupation, occupation);
        self.occupation_of.remove(&(task, resource));
        self.occupations.remove(occupation);
        self.tidy_extra(task);
    }

    /// By how many units it occupies more.
    fn add_occupier(&mut self, occupation: u32, by: Occupier) -> u64 {
        let row = &mut self.occupations[occupation];
        let before = row.units();
        if row.occupier == Task::VACANT {
            (row.occupier, row.units, row.by_handle) = (by.span, by.units, by.by_handle);
        } else {
            self.occupiers.insert((row.task, row.resource, by.span), by);
        }
        if by.by_handle {
            row.handles += 1;
        } else {
            row.held += u64::from(by.units);
        }
        row.units() - before
    }

    /// By how many units it occupies less.
    fn remove_occupier(&mut self, occupation: u32, span: Slot) -> u64 {
        let row = &mut self.occupations[occupation];
        let before = row.units();
        let (task, resource) = (row.task, row.resource);
        let gone = if row.occupier == span {
            let gone = (row.units, row.by_handle);
            let others = (task, resource, Slot(0))..=(task, resource, Slot(NONE));
            let next = self.occupiers.range(others).next().map(|(key, by)| (*key, *by));
            row.occupier = Task::VACANT;
            if let Some((key, by)) = next {
                self.occupiers.remove(&key);
                (row.occupier, row.units, row.by_handle) = (by.span, by.units, by.by_handle);
            }
            gone
        } else if let Some(by) = self.occupiers.remove(&(task, resource, span)) {
            (by.units, by.by_handle)
        } else {
            debug_assert!(false, "it does not occupy this");
            return 0;
        };
        match gone {
            (_, true) => row.handles -= 1,
            (units, false) => row.held -= u64::from(units),
        }
        let less = before - row.units();
        if row.occupier == Task::VACANT {
            self.remove_occupation(occupation);
        }
        less
    }

    /// The next that a task occupies: where that is, the resource, the units.
    pub(super) fn occupation_after(&self, task: u32, place: u32) -> Option<(u32, u32, u64)> {
        let row = &self.tasks[task];
        let next = match place {
            FIRST if row.resource != NONE => return Some((SPILLED, row.resource, u64::from(row.units))),
            FIRST | SPILLED if row.extra == NONE => return None,
            FIRST | SPILLED => self.extras[row.extra].first_occupation,
            occupation => self.occupations[occupation].of_task.next,
        };
        let occupation = (next != NONE).then(|| &self.occupations[next])?;
        Some((next, occupation.resource, occupation.units()))
    }

    /// The next that occupies a resource: where that is, the task, the units.
    pub(super) fn occupant_after(&self, resource: u32, place: u32) -> Option<(u32, u32, u64)> {
        let next = match place {
            FIRST => self.resources[resource].first_occupant,
            occupation if occupation & SPILLED != 0 => self.occupations[occupation & !SPILLED].co_occupants.next,
            task => self.tasks[task].co_occupants.next,
        };
        if next == NONE {
            None
        } else if next & SPILLED == 0 {
            Some((next, next, u64::from(self.tasks[next].units)))
        } else {
            let occupation = &self.occupations[next & !SPILLED];
            Some((next, occupation.task, occupation.units()))
        }
    }

    /// The spans by which a task occupies a resource.
    pub(crate) fn occupiers(&self, task: TaskIx, resource: ResourceIx) -> impl Iterator<Item = Slot> {
        let (task, resource) = (task.0, resource.0);
        let row = &self.tasks[task];
        let own = (row.resource == resource).then_some(row.occupier);
        let spilled = self
            .spilled(task, resource)
            .map(|index| self.occupations[index].occupier);
        let others = (task, resource, Slot(0))..=(task, resource, Slot(NONE));
        let others = self.occupiers.range(others).map(|(_, by)| by.span);
        own.into_iter().chain(spilled).chain(others)
    }
}
