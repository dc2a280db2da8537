//! Reading what the next changes will need, as `spans/ahead.rs` says.

use crate::spans::{Few, TOGETHER};

use super::ids::ResourceIx;
use super::picture::Picture;
use super::records::SPILLED;

/// What some events lead to, and what that leads to. Where there is not enough room, the rest is not read ahead.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    waits: Few<{ 8 * TOGETHER }>,
    tasks: Few<{ 8 * TOGETHER }>,
    resources: Few<{ 4 * TOGETHER }>,
    next_waits: Few<{ 16 * TOGETHER }>,
    next_tasks: Few<{ 16 * TOGETHER }>,
}

impl Nodes {
    pub(crate) fn clear(&mut self) {
        self.waits.clear();
        self.tasks.clear();
        self.resources.clear();
        self.next_waits.clear();
        self.next_tasks.clear();
    }

    /// A wait, or a task.
    pub(crate) fn push(&mut self, node: u32, is_wait: bool) {
        self.waits.push_if(node, is_wait);
        self.tasks.push_if(node, !is_wait);
    }

    pub(crate) fn push_resource(&mut self, resource: Option<ResourceIx>) {
        self.resources.push(resource.map_or(u32::MAX, |it| it.0));
    }
}

impl Picture {
    /// Reads these, and what they lead to.
    pub(crate) fn look_ahead(&self, nodes: &mut Nodes) -> u32 {
        let Nodes {
            waits,
            tasks,
            resources,
            next_waits,
            next_tasks,
        } = nodes;
        for wait in waits.iter() {
            let row = &self.waits[wait];
            next_tasks.push(row.task);
            next_waits.push(row.neighbours.next);
            next_waits.push(row.neighbours.prev);
        }
        for task in tasks.iter() {
            let row = &self.tasks[task];
            next_waits.push(row.first_handled);
            next_waits.push(row.first_wait);
        }
        for resource in resources.iter() {
            let row = &self.resources[resource];
            next_waits.push(row.first_narrow);
            next_tasks.push(row.first_occupant);
        }
        // Where a chain runs through rows of the overflow, another row is read, which does no harm.
        let waits = next_waits.iter().filter_map(|wait| self.waits.get(wait & !SPILLED));
        let tasks = next_tasks.iter().filter_map(|task| self.tasks.get(task & !SPILLED));
        // What only some have is read by them alone.
        let of_waits = waits.fold(0, |read, row| {
            read ^ row.units ^ self.groups.get(row.group).map_or(0, |group| group.stuck)
        });
        tasks.fold(of_waits, |read, row| {
            read ^ row.units ^ self.extras.get(row.extra).map_or(0, |extra| extra.first_group)
        })
    }
}
