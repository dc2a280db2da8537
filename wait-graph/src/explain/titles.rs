//! The canonical names of dead tasks, numbered, so that tasks are counted and compared without reading a name twice.
//!
//! A name may be a megabyte long and belong to a million tasks: no name is ever put together but for a report.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::explain::dead_part::{DeadPart, TaskNo, resource_numbers};
use crate::explain::named::Named;
use crate::explain::numbers::Numbers;
use crate::names;
use crate::wait_for::{Picture, ResourceIx, TaskIx};

/// The number of a canonical name. The same text is the same number.
pub(super) type TitleNo = usize;

/// The canonical names of all dead tasks.
#[derive(Debug)]
pub(super) struct Titles<'a> {
    of_tasks: Vec<TitleNo>,
    titles: Vec<Title<'a>>,
    /// The place of each in the order of names, once that has been worked out.
    ranks: OnceCell<Vec<usize>>,
}

/// A canonical name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Title<'a> {
    /// The smallest resource that a task occupies.
    Resource(&'a Arc<str>),
    /// Of a task without one.
    Own { service: &'a str, name: &'a str },
}

impl<'a> Title<'a> {
    fn parts(self) -> [&'a str; 3] {
        match self {
            Self::Resource(name) => [name, "", ""],
            Self::Own { service, name } => [service, "/", name],
        }
    }

    /// By address: the same name is the same allocation, but for the names of services, of which each instance has its own.
    fn key(self) -> [(usize, usize); 3] {
        self.parts().map(|part| (part.as_ptr().addr(), part.len()))
    }

    pub(super) fn text(self) -> Arc<str> {
        match self {
            Self::Resource(name) => Arc::clone(name),
            Self::Own { .. } => self.parts().concat().into(),
        }
    }
}

impl Ord for Title<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Resource(one), Self::Resource(other)) => one.cmp(other),
            // Mostly the service is the same.
            (
                Self::Own { service, name },
                Self::Own {
                    service: other,
                    name: other_name,
                },
            ) if std::ptr::eq(*service, *other) => name.cmp(other_name),
            (Self::Resource(_) | Self::Own { .. }, _) => compare(self.parts(), other.parts()),
        }
    }
}

/// The order of texts, whatever they are cut into.
fn compare(one: [&str; 3], other: [&str; 3]) -> Ordering {
    let mut of_one = one.into_iter().map(str::as_bytes).filter(|part| !part.is_empty());
    let mut of_other = other.into_iter().map(str::as_bytes).filter(|part| !part.is_empty());
    let (mut one, mut other): (&[u8], &[u8]) = (&[], &[]);
    loop {
        if one.is_empty() {
            one = of_one.next().unwrap_or_default();
        }
        if other.is_empty() {
            other = of_other.next().unwrap_or_default();
        }
        let common = one.len().min(other.len());
        if common == 0 {
            return one.len().cmp(&other.len());
        }
        if !std::ptr::eq(one.as_ptr(), other.as_ptr()) && one[..common] != other[..common] {
            return one.cmp(other);
        }
        (one, other) = (&one[common..], &other[common..]);
    }
}

impl PartialOrd for Title<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Title<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Title<'_> {}

impl Hash for Title<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Where a name is cut into parts must not matter.
        let mut hash = Xxh3::new();
        for part in self.parts() {
            hash.update(part.as_bytes());
        }
        state.write_u64(hash.digest());
    }
}

impl<'a> Titles<'a> {
    pub(super) fn of(picture: &Picture, dead: &DeadPart, named: &'a impl Named) -> Self {
        let mut numbering = Numbering {
            titles: Vec::new(),
            by_resource: resource_numbers(picture, &dead.tasks),
            by_key: HashMap::new(),
            by_text: HashMap::new(),
        };
        let of_tasks = (0..dead.tasks.len()).map(|task| match least_resource(picture, named, dead.tasks[task]) {
            Some((index, name)) => numbering.resource(index, name),
            None => NAMELESS,
        });
        let mut of_tasks: Vec<TitleNo> = of_tasks.collect();
        for (task, title) in of_tasks.iter_mut().enumerate().filter(|(_, title)| **title == NAMELESS) {
            *title = numbering.own(Title::Own {
                service: names::known_service(service(picture, named, dead.tasks[task])),
                name: own_name(picture, dead, named, task).map_or("", |name| name),
            });
        }
        Self {
            of_tasks,
            titles: numbering.titles,
            ranks: OnceCell::new(),
        }
    }

    pub(super) fn of_task(&self, task: TaskNo) -> TitleNo {
        self.of_tasks[task]
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.titles.len()
    }

    pub(super) fn text(&self, title: TitleNo) -> Arc<str> {
        self.titles[title].text()
    }

    /// The order of names.
    pub(super) fn compare(&self, one: TitleNo, other: TitleNo) -> Ordering {
        if one == other {
            return Ordering::Equal;
        }
        if let Some(ranks) = self.ranks.get() {
            return ranks[one].cmp(&ranks[other]);
        }
        self.titles[one].cmp(&self.titles[other])
    }

    /// Puts all names in order, so that none is read again. Worth it for whoever compares each of them many times.
    pub(super) fn rank(&self) {
        self.ranks.get_or_init(|| {
            let mut order: Vec<TitleNo> = (0..self.titles.len()).collect();
            order.sort_unstable_by(|one, other| self.titles[*one].cmp(&self.titles[*other]));
            let mut ranks = vec![0; order.len()];
            for (rank, title) in order.into_iter().enumerate() {
                ranks[title] = rank;
            }
            ranks
        });
    }

    /// The order of tasks: by name; by id where names are the same.
    pub(super) fn compare_tasks(&self, one: TaskNo, other: TaskNo) -> Ordering {
        self.compare(self.of_tasks[one], self.of_tasks[other])
            .then(one.cmp(&other))
    }
}

/// Stands for the title of a task that occupies nothing, until that is known.
const NAMELESS: TitleNo = usize::MAX;

/// Gives numbers to titles. First to all resources, each of which has a name that no other has; then to the others.
struct Numbering<'a> {
    titles: Vec<Title<'a>>,
    by_resource: Numbers,
    by_key: HashMap<[(usize, usize); 3], TitleNo>,
    /// All but resources that cannot be mistaken for a service and a span.
    by_text: HashMap<Title<'a>, TitleNo>,
}

impl<'a> Numbering<'a> {
    fn resource(&mut self, index: ResourceIx, name: &'a Arc<str>) -> TitleNo {
        let place = index.0 as usize;
        self.by_resource.get(place).unwrap_or_else(|| {
            let number = self.titles.len();
            self.titles.push(Title::Resource(name));
            self.by_resource.set(place, number);
            number
        })
    }

    fn own(&mut self, title: Title<'a>) -> TitleNo {
        if self.by_text.is_empty() {
            let resources = self.titles.iter().copied().enumerate();
            let alike = resources.filter(|(_, title)| title.parts()[0].contains('/'));
            self.by_text = alike.map(|(number, title)| (title, number)).collect();
        }
        *self.by_key.entry(title.key()).or_insert_with(|| {
            *self.by_text.entry(title).or_insert_with(|| {
                self.titles.push(title);
                self.titles.len() - 1
            })
        })
    }
}

fn least_resource<'a>(picture: &Picture, named: &'a impl Named, task: TaskIx) -> Option<(ResourceIx, &'a Arc<str>)> {
    let name = |index| named.text(picture.resource(index).name());
    let mut resources = picture.occupations(task).map(|(index, _)| index);
    let first = resources.next()?;
    Some(resources.fold((first, name(first)), |least, other| {
        let other = (other, name(other));
        if other.1 < least.1 { other } else { least }
    }))
}

/// The name of the service where a task runs; empty if nobody has said.
pub(super) fn service<'a>(picture: &Picture, named: &'a impl Named, task: TaskIx) -> &'a str {
    named
        .service(picture.task(task).id().instance)
        .map_or("", |service| service)
}

/// The name of a task's span; of its first call, if its own span was never reported, or without a name.
pub(super) fn own_name<'a>(
    picture: &Picture,
    dead: &DeadPart,
    named: &'a impl Named,
    task: TaskNo,
) -> Option<&'a Arc<str>> {
    let it = picture.task(dead.tasks[task]);
    let own = named
        .span(it.slot())
        .filter(|span| span.instance == it.id().instance && !span.name.is_empty());
    let first = || {
        let calls = dead.waits(task).map(|(_, call)| picture.wait(call.wait).call());
        calls
            .filter_map(|call| Some((named.span(call)?, named.id(call))))
            .min_by_key(|(span, id)| (span.started_at, *id))
    };
    own.or_else(|| first().map(|(span, _)| span)).map(|span| span.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_whatever_they_are_cut_into() {
        let own = |service, name| Title::Own { service, name };
        let [joined, longer]: [Arc<str>; 2] = ["a/b".into(), "a/b/c".into()];
        assert_eq!(Title::Resource(&joined), own("a", "b"));
        assert_eq!(own("a/b", "c"), own("a", "b/c"));
        assert_eq!(Title::Resource(&longer), own("a", "b/c"));
        assert!(own("a", "b") < own("a", "b/c") && own("a", "c") > Title::Resource(&longer));
        assert!(own("a", "") < own("a", "b") && own("", "") < own("a", ""));
        assert_eq!(&*own("a", "b").text(), "a/b");
        let hash = |title: Title<'_>| {
            let mut hasher = std::hash::DefaultHasher::new();
            title.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(own("a/b", "c")), hash(own("a", "b/c")));
        assert_ne!(hash(own("a", "b")), hash(own("a", "c")));
        assert_ne!(own("a", "b"), own("a", "c"));
    }
}
