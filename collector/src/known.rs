//! The instances that the collector has known, kept over its own death.
//!
//! A collector that has just been started again sees only a part of what is open. Before it may believe a pool
//! exhausted it must have heard of everyone whom it knew; this is how it knows them. redb, because it is an embedded
//! database of pure Rust whose file survives a kill at any moment.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use standoff_protocol::stream::Process;

/// The identity of an instance over connections and collectors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InstanceKey {
    pub(crate) instance_id: String,
    pub(crate) incarnation: u64,
}

/// Instances, and the processes that they are, so far as they have said.
pub(crate) type Known = BTreeMap<InstanceKey, Process>;

/// A change to what is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Joined(InstanceKey, Process),
    Gone(InstanceKey),
}

/// Instance id and incarnation; the process's host, id and start, all empty for a process that has not said.
const INSTANCES: TableDefinition<'_, (&str, u64), (&str, u32, u64)> = TableDefinition::new("instances");

/// The file within the data directory.
const FILE: &str = "collector.redb";

/// Changes that wait to be written. A burst beyond it (all instances of a large cluster at once) is several
/// transactions; what does not fit is not remembered, which is said in the log.
const QUEUE_MAX: usize = 10_000;

/// What can go wrong with the file. Detection never depends on it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot create the directory")]
    Directory(#[source] std::io::Error),
    #[error("cannot open the database")]
    Open(#[source] redb::DatabaseError),
    #[error("cannot read or write the database")]
    Access(#[source] Box<redb::Error>),
    #[error("cannot start its thread")]
    Thread(#[source] std::io::Error),
}

/// Writes changes on a thread of its own, since a commit waits for the disk and detection does not.
#[derive(Debug)]
pub(crate) struct Store {
    changes: Option<SyncSender<Change>>,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens the database in `folder` and reads whom it knows.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Known), StoreError> {
        std::fs::create_dir_all(folder).map_err(StoreError::Directory)?;
        let database = Database::create(folder.join(FILE)).map_err(StoreError::Open)?;
        let known = read(&database).map_err(|error| StoreError::Access(Box::new(error)))?;
        let (changes, received) = sync_channel(QUEUE_MAX);
        let writer = std::thread::Builder::new()
            .name("standoff-store".into())
            .spawn(move || write_all(&database, &received))
            .map_err(StoreError::Thread)?;
        Ok((
            Self {
                changes: Some(changes),
                writer: Some(writer),
            },
            known,
        ))
    }

    /// Remembers a change. Never waits.
    pub(crate) fn remember(&self, change: Change) {
        let Some(changes) = &self.changes else { return };
        match changes.try_send(change) {
            Ok(()) => {}
            Err(TrySendError::Full(change)) => tracing::warn!(?change, "too many changes to remember"),
            Err(TrySendError::Disconnected(change)) => tracing::warn!(?change, "the database cannot be written"),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.changes = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes the database has panicked");
        }
    }
}

fn read(database: &Database) -> Result<Known, redb::Error> {
    let write = database.begin_write()?;
    write.open_table(INSTANCES)?;
    write.commit()?;
    let mut known = Known::new();
    for entry in database.begin_read()?.open_table(INSTANCES)?.iter()? {
        let (key, process) = entry?;
        let (instance_id, incarnation) = key.value();
        let (host, pid, start_ticks) = process.value();
        let key = InstanceKey {
            instance_id: instance_id.into(),
            incarnation,
        };
        known.insert(
            key,
            Process {
                host: host.into(),
                pid,
                start_ticks,
            },
        );
    }
    Ok(known)
}

fn write_all(database: &Database, changes: &Receiver<Change>) {
    while let Ok(first) = changes.recv() {
        // Whatever has come in meanwhile goes into the same transaction.
        if let Err(error) = write(database, std::iter::once(first).chain(changes.try_iter())) {
            tracing::error!(%error, "cannot write the database; detection goes on");
        }
    }
}

fn write(database: &Database, changes: impl Iterator<Item = Change>) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(INSTANCES)?;
        for change in changes {
            match change {
                Change::Joined(key, process) => table.insert(
                    (key.instance_id.as_str(), key.incarnation),
                    (process.host.as_str(), process.pid, process.start_ticks),
                )?,
                Change::Gone(key) => table.remove((key.instance_id.as_str(), key.incarnation))?,
            };
        }
    }
    write.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> InstanceKey {
        InstanceKey {
            instance_id: name.into(),
            incarnation: 9,
        }
    }

    #[test]
    fn what_joined_and_is_not_gone_is_known_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let (store, known) = Store::open(folder.path()).unwrap();
        assert_eq!(known, Known::new());
        let process = Process {
            host: "h".into(),
            pid: 1,
            start_ticks: 2,
        };
        store.remember(Change::Joined(key("a"), Process::default()));
        store.remember(Change::Joined(key("b"), process.clone()));
        store.remember(Change::Gone(key("a")));
        drop(store);
        let (_store, known) = Store::open(folder.path()).unwrap();
        assert_eq!(known, [(key("b"), process)].into());
    }

    #[test]
    fn a_damaged_file_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), b"this is no database").unwrap();
        assert!(matches!(Store::open(folder.path()).unwrap_err(), StoreError::Open(_)));
    }
}
