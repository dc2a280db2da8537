//! The instances that the collector has known, kept over its own death.
//!
//! A collector that has just been started again sees only a part of what is open. Before it may believe a pool
//! exhausted it must have heard of everyone whom it knew; this is how it knows them. redb, because it is an embedded
//! database of pure Rust whose file survives a kill at any moment.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
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

/// How long to wait before a database that could not be written is opened again: a disk that is full stays so for a while.
const RETRY_AFTER: Duration = Duration::from_secs(5);

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
        let file = folder.join(FILE);
        Self::with(move || Database::create(&file), RETRY_AFTER)
    }

    fn with(
        open: impl Fn() -> Result<Database, DatabaseError> + Send + 'static,
        retry_after: Duration,
    ) -> Result<(Self, Known), StoreError> {
        let database = open().map_err(StoreError::Open)?;
        let known = read(&database).map_err(|error| StoreError::Access(Box::new(error)))?;
        let (changes, received) = sync_channel(QUEUE_MAX);
        let mirror = Mirror {
            open,
            database: Some(database),
            known: known.clone(),
        };
        let writer = std::thread::Builder::new()
            .name("standoff-store".into())
            .spawn(move || mirror.write_all(&received, retry_after))
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

/// What the database is to hold, and the database. One that has failed to write (a full disk) takes nothing more until it
/// has been opened again; everything is written then.
struct Mirror<O> {
    open: O,
    /// Absent after an error.
    database: Option<Database>,
    known: Known,
}

impl<O: Fn() -> Result<Database, DatabaseError>> Mirror<O> {
    fn write_all(mut self, changes: &Receiver<Change>, retry_after: Duration) {
        loop {
            let first = if self.database.is_some() {
                changes.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                changes.recv_timeout(retry_after)
            };
            match first {
                // Whatever has come in meanwhile goes into the same transaction.
                Ok(first) => self.take_in(std::iter::once(first).chain(changes.try_iter()).collect()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.database.is_none() {
                // Why it does not work has been said.
                self.reopen().ok();
            }
        }
    }

    fn take_in(&mut self, changes: Vec<Change>) {
        for change in &changes {
            match change.clone() {
                Change::Joined(key, process) => {
                    self.known.insert(key, process);
                }
                Change::Gone(key) => {
                    self.known.remove(&key);
                }
            }
        }
        if let Some(database) = &self.database
            && let Err(error) = write(database, changes)
        {
            tracing::error!(%error, "cannot write the database; detection goes on, and it is tried again and again");
            self.database = None;
        }
    }

    /// Opens the database again and writes all that is known.
    fn reopen(&mut self) -> Result<(), redb::Error> {
        let database = (self.open)()?;
        let before = read(&database)?;
        let gone = before.into_keys().filter(|key| !self.known.contains_key(key));
        let joined = self
            .known
            .iter()
            .map(|(key, process)| Change::Joined(key.clone(), process.clone()));
        write(&database, gone.map(Change::Gone).chain(joined))?;
        tracing::info!("the database is written again");
        self.database = Some(database);
        Ok(())
    }
}

fn write(database: &Database, changes: impl IntoIterator<Item = Change>) -> Result<(), redb::Error> {
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
    use std::fs::OpenOptions;
    use std::io::{Error, ErrorKind};
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

    use redb::StorageBackend;
    use redb::backends::FileBackend;

    use super::*;

    /// A disk that may be full.
    #[derive(Clone, Debug, Default)]
    struct Disk {
        is_full: Arc<AtomicBool>,
        refused: Arc<AtomicU64>,
    }

    #[derive(Debug)]
    struct OnDisk(FileBackend, Disk);

    impl Disk {
        fn open(&self, file: &PathBuf) -> Result<Database, DatabaseError> {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(file);
            let backend = FileBackend::new(file.unwrap())?;
            Database::builder().create_with_backend(OnDisk(backend, self.clone()))
        }

        fn takes(&self) -> Result<(), Error> {
            if self.is_full.load(SeqCst) {
                self.refused.fetch_add(1, SeqCst);
                return Err(Error::from(ErrorKind::StorageFull));
            }
            Ok(())
        }
    }

    impl StorageBackend for OnDisk {
        fn len(&self) -> Result<u64, Error> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> Result<(), Error> {
            self.1.takes()?;
            self.0.set_len(len)
        }

        fn sync_data(&self) -> Result<(), Error> {
            self.1.takes()?;
            self.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
            self.1.takes()?;
            self.0.write(offset, data)
        }

        fn close(&self) -> Result<(), Error> {
            self.0.close()
        }
    }

    #[test]
    fn what_a_full_disk_did_not_take_is_written_once_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, file) = (Disk::default(), folder.path().join(FILE));
        let opened = disk.clone();
        let (store, _) = Store::with(move || opened.open(&file), Duration::from_millis(1)).unwrap();
        let joined = |name| Change::Joined(key(name), Process::default());
        store.remember(joined("before"));
        store.remember(joined("gone meanwhile"));
        disk.is_full.store(true, SeqCst);
        store.remember(joined("meanwhile"));
        store.remember(Change::Gone(key("gone meanwhile")));
        // It is tried again and again.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while disk.refused.load(SeqCst) < 5 {
            assert!(std::time::Instant::now() < deadline, "nobody tries");
            std::thread::yield_now();
        }
        disk.is_full.store(false, SeqCst);
        store.remember(joined("after"));
        drop(store);
        let (_store, known) = Store::open(folder.path()).unwrap();
        let names: Vec<&str> = known.keys().map(|key| &*key.instance_id).collect();
        assert_eq!(names, ["after", "before", "meanwhile"]);
    }

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
