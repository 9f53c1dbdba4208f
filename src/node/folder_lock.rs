//! One process a data folder.
//!
//! The lock is an fcntl lock over the whole file, because that is what Kafka's FileLock takes: a broker of either kind
//! keeps the other out, and the system can say which process holds it. Such a lock belongs to the process and is lost
//! when *any* descriptor of the file is closed in it; so the set below keeps a second opening in this process away from
//! the file altogether.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::FlockOperation;
use rustix::process::{Flock, FlockType};

/// Locked files of this process, by device and inode.
static HELD: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// How often the file may be replaced under us before we give up.
const ATTEMPTS_MAX: usize = 100;

/// Held until dropped; the system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    key: (u64, u64),
    /// `None` only while it is being dropped.
    file: Option<File>,
}

/// Why there is no lock.
#[derive(Debug)]
pub enum LockError {
    /// By this process of this machine, where the system knows it.
    Held {
        pid: Option<u32>,
    },
    Io(io::Error),
}

impl FolderLock {
    /// Makes the file if it is missing and locks it; never waits.
    pub fn acquire(path: &Path) -> Result<FolderLock, LockError> {
        for _ in 0..ATTEMPTS_MAX {
            if let Some(lock) = FolderLock::attempt(path)? {
                return Ok(lock);
            }
        }
        Err(LockError::Io(io::Error::other("the file is replaced again and again")))
    }

    /// `None` when another process removed the file between its opening and its locking, as a stopping Kafka does.
    fn attempt(path: &Path) -> Result<Option<FolderLock>, LockError> {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if std::fs::metadata(path).is_ok_and(|known| held.contains(&(known.dev(), known.ino()))) {
            return Err(LockError::Held { pid: Some(std::process::id()) });
        }
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(LockError::Io)?;
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
                return Err(LockError::Held { pid: holder(&file) });
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        let locked = file.metadata().map_err(LockError::Io)?;
        let key = (locked.dev(), locked.ino());
        match std::fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == key => {}
            _ => return Ok(None),
        }
        held.insert(key);
        Ok(Some(FolderLock { key, file: Some(file) }))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closed while nobody else in this process can be opening it: a close lets go of every lock on the file.
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.file.take());
        held.remove(&self.key);
    }
}

/// The process that keeps us out; unknown when it is gone meanwhile or lives in another container.
fn holder(file: &File) -> Option<u32> {
    let found = rustix::process::fcntl_getlk(file, &Flock::from(FlockType::WriteLock)).ok()??;
    u32::try_from(found.pid?.as_raw_nonzero().get()).ok()
}
