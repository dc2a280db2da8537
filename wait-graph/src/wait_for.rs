//! The wait-for graph proper, and who in it can still proceed, both kept up to date change by change.
//!
//! Owns tasks, the groups of waits that each needs, and the resources between them, under integer ids. Knows nothing of
//! spans beyond opaque slots, nor of names beyond symbols, nor of time.
//!
//! Waits and occupations meet at the resource, so there are as many edges as waits and occupations, never their
//! product. This covers single waits, AND, OR and k of n (Knapp, *Deadlock detection in distributed databases*, 1987),
//! and resources of several units, where a knot rather than a cycle is the deadlock (Holt, *Some deadlock properties of
//! computer systems*, 1972).
//!
//! # Why it is exact
//!
//! Liveness is a least fixpoint: a task is live if each of its groups gets what it needs from live tasks, and nobody is
//! live without a reason. Every task has a flag, and [`Picture::decide`] makes the flags right again after changes:
//!
//! 1. *Revive.* A dead task all of whose groups can be satisfied by who counts as live is live, and those who depend on
//!    it are looked at again. When nothing changes any more, each dead task has a group that only dead tasks could
//!    satisfy. So nobody who is still flagged dead is live, however wrong the other flags are.
//! 2. *Break.* Hence whoever has a group that cannot be satisfied by who counts as live is dead too, and so on.
//! 3. *Suspect.* What is left is a fixpoint, but not always the least one: tasks may count as live because each other
//!    does. Therefore whatever is harder to get than before, or rests on something else, is a suspect: a wait that
//!    begins, or has lost a handler, a group that has lost an alternative, a resource that has fewer units that are
//!    free or held by the living. It has to be shown anew, by a search that believes no live flag. If it cannot be, what
//!    the search has left unproven is dead, which may make more suspects.
//!
//! In the end no task is wrongly flagged live. Suppose that some are. Order all live tasks by when they were proven: as
//! long as the flags were right, by the round of the fixpoint in which they were; then by when they were revived. The
//! first wrong one had its needs satisfied by what came before it, which is right. If these needs are as they were, it
//! is right too. If not, they were a suspect, and have been shown. Three details:
//!
//! - Where units of a resource are taken, those who are queued for it are not looked at. The resource is the suspect:
//!   the largest demand that it does not refuse must be met by free units and holders who are shown to be live. Then so
//!   is everybody's. Handing over a lock costs the same whether one waits for it or a million.
//! - On whom nobody depends, nobody rests; so his own groups are right by the flags of the others.
//! - Of a suspect only those needs have to be shown that changed. In a group, a wait that begins or ends makes no
//!   difference if it is live.
//!
//! # What it costs
//!
//! In ordinary traffic an event looks at the rows that it changes, and a suspect is cleared by a look at its handler, or
//! at who holds what it is queued for. A search is limited by a [`budget`]. If that does not suffice, it and
//! all other suspects are given up, and a full pass is wanted. It is also wanted if somebody dies on whom more depend
//! than the budget allows to look at: he, or those who are queued for what he holds, are then left to it. Until it
//! comes steps 1 and 2 go on, so too few are dead, and never too many.
//!
//! Reviving has no limit, since whoever proceeds must not be reported any more; but nobody revives who has not died, so
//! it costs no more than dying did.

mod ahead;
mod among;
mod budget;
mod decide;
mod dependents;
mod flags;
mod handlers;
mod ids;
mod members;
mod occupations;
mod pass;
mod picture;
mod read;
mod records;
mod rows;
mod search;
#[cfg(test)]
mod tests;
mod visits;

pub(crate) use ahead::Nodes;
pub(crate) use among::Among;
pub(crate) use ids::{Fate, GroupOf, NewWait, Occupier, ResourceIx, Slot, Symbol, TaskId, TaskIx, WaitIx};
pub(crate) use picture::Picture;
