//! Folders that take a while to make and are kept: what the examples in other languages depend on.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::run;

/// Written last, so that a folder without it is known to be unfinished.
const COMPLETE: &str = "complete";

/// A folder below `target`, made once for each content of `stamp`. Tests of several processes that want it at the same
/// time wait for the one that makes it.
pub(crate) fn prepared(
    root: &Path,
    name: &str,
    stamp: &[u8],
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    hasher.write(stamp);
    let all = root.join("target/prepared");
    let folder = all.join(format!("{name}-{:016x}", hasher.finish()));
    let complete = folder.join(COMPLETE);
    if complete.is_file() {
        return Ok(folder);
    }
    fs::create_dir_all(&all).with_context(|| format!("cannot create {}", all.display()))?;
    let lock = File::create(all.join(format!("{name}.lock")))?;
    lock.lock()
        .context("cannot wait for the preparation by another process")?;
    if complete.is_file() {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir(&folder)?;
    run::timed("prepare", name, || make(&folder).map(|()| ((), true)))?;
    fs::write(&complete, "")?;
    // The lock is let go of with the file.
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn it_is_made_once_for_each_stamp() {
        let root = tempfile::tempdir().unwrap();
        let made = AtomicUsize::new(0);
        let prepare = |stamp: &str| {
            prepared(root.path(), "thing", stamp.as_bytes(), |folder| {
                made.fetch_add(1, Ordering::Relaxed);
                Ok(fs::write(folder.join("stamp"), stamp)?)
            })
            .unwrap()
        };
        let folders: Vec<PathBuf> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| prepare("first"))).collect();
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert!(folders.iter().all(|folder| *folder == folders[0]));
        assert_eq!(made.load(Ordering::Relaxed), 1);
        assert_eq!(fs::read_to_string(folders[0].join("stamp")).unwrap(), "first");

        let second = prepare("second");
        assert_eq!(fs::read_to_string(second.join("stamp")).unwrap(), "second");
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_was_left_unfinished_is_made_anew() {
        let root = tempfile::tempdir().unwrap();
        let failed = prepared(root.path(), "thing", b"stamp", |folder| {
            fs::write(folder.join("half"), "")?;
            anyhow::bail!("interrupted")
        });
        assert!(failed.is_err());
        let folder = prepared(root.path(), "thing", b"stamp", |_| Ok(())).unwrap();
        assert!(!folder.join("half").exists());
    }
}
