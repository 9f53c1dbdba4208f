//! The data folder from outside: whose it is, who may use it now, and whether it was left in order.
//!
//! ```text
//! data/
//!   .lock                  locked (fcntl, as Kafka's own FileLock) for the life of the process; never removed
//!   meta.properties        version, cluster.id, node.id, directory.id: written once, by the format
//!   .kafka_cleanshutdown   there only between a clean stop and the next start
//!   __cluster_metadata-0/ <topic>-<partition>/ ...
//! ```
//!
//! Invariants: a folder that is not ours is never written to, not even its lock; `meta.properties` appears whole or not
//! at all; nobody reads or writes anything but the lock before the lock is held. The same three files have the same
//! meaning for Kafka, so both can take over each other's folders, but never share one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::folder_lock::{FolderLock, LockError};
use crate::base::ids::{NodeId, Uuid};
use crate::log::checkpoint::{CLEAN_SHUTDOWN_FILE, decode_clean_shutdown, encode_clean_shutdown};

const META_PROPERTIES: &str = "meta.properties";
const META_PROPERTIES_TEMPORARY: &str = "meta.properties.tmp";
const CLEAN_SHUTDOWN_TEMPORARY: &str = ".kafka_cleanshutdown.tmp";
const LOCK: &str = ".lock";
/// What an empty folder may hold: our own lock, a format that was cut short, and what a fresh file system brings.
const EMPTY_MAY_HOLD: [&str; 3] = [LOCK, META_PROPERTIES_TEMPORARY, "lost+found"];
/// `meta.properties` and the clean-shutdown file are a few lines; a larger one is not theirs, bytes.
const SMALL_FILE_BYTES_MAX: u64 = 65_536;
/// Version of `meta.properties` that KRaft nodes write. Version 0 belongs to the ZooKeeper time.
const META_VERSION: &str = "1";

/// Who a data folder belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Usually a [`Uuid`] in its 22 characters, but Kafka takes any text.
    pub cluster_id: String,
    pub node_id: NodeId,
    /// Names this folder within its node (KIP-858); brokers register it, voters are known by it (KIP-853).
    pub directory_id: Uuid,
}

/// What the last clean stop left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanShutdown {
    /// The broker epoch at that stop (KIP-966); `None` when the file does not say, as before Kafka 4.0.
    pub broker_epoch: Option<i64>,
}

/// An opened data folder: locked until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    is_new: bool,
    _lock: FolderLock,
}

/// Why a data folder cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum DataDirError {
    NotAFolder(PathBuf),
    /// Not empty, and no `meta.properties` in it.
    Foreign {
        path: PathBuf,
        found: String,
    },
    InUse {
        path: PathBuf,
        pid: Option<u32>,
    },
    AlreadyFormatted {
        path: PathBuf,
        identity: Box<Identity>,
    },
    /// `meta.properties` cannot be understood.
    BadMeta {
        path: PathBuf,
        reason: String,
    },
    OtherNode {
        path: PathBuf,
        found: NodeId,
        configured: NodeId,
    },
    OtherCluster {
        path: PathBuf,
        found: String,
        wanted: String,
    },
    Io {
        path: PathBuf,
        doing: &'static str,
        reason: String,
    },
}

impl std::error::Error for DataDirError {}

impl fmt::Display for DataDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataDirError::NotAFolder(path) => write!(f, "{} is not a folder", path.display()),
            DataDirError::Foreign { path, found } => write!(
                f,
                "{} is neither empty nor a data folder (no {META_PROPERTIES}, but {found}); nothing was changed",
                path.display()
            ),
            DataDirError::InUse { path, pid } => {
                write!(f, "data folder {} is in use by another node", path.display())?;
                pid.map_or(Ok(()), |pid| write!(f, " (process {pid})"))
            }
            DataDirError::AlreadyFormatted { path, identity } => write!(
                f,
                "{} is formatted already (cluster {}, node {}); nothing was changed",
                path.display(),
                identity.cluster_id,
                identity.node_id.0
            ),
            DataDirError::BadMeta { path, reason } => {
                write!(f, "{}: {reason}; nothing was changed", path.join(META_PROPERTIES).display())
            }
            DataDirError::OtherNode { path, found, configured } => write!(
                f,
                "data folder {} belongs to node.id={}, but this node is configured as node.id={}",
                path.display(),
                found.0,
                configured.0
            ),
            DataDirError::OtherCluster { path, found, wanted } => {
                write!(f, "data folder {} belongs to cluster {found}, not to {wanted}", path.display())
            }
            DataDirError::Io { path, doing, reason } => write!(f, "{doing} {}: {reason}", path.display()),
        }
    }
}

impl DataDir {
    /// Opens the folder for a node and locks it; makes and formats it when it is missing or empty.
    pub fn open(path: &Path, node_id: NodeId) -> Result<DataDir, DataDirError> {
        let lock = prepare(path)?;
        let (identity, is_new) = match read_identity(path)? {
            None => (write_new_identity(path, node_id, None)?, true),
            Some(found) => (found.checked(path, node_id)?, false),
        };
        Ok(DataDir { path: path.to_owned(), identity, is_new, _lock: lock })
    }

    /// Formats a missing or empty folder and lets it go again; refuses one that is formatted already. A random cluster
    /// id is made when none is given.
    pub fn format(path: &Path, node_id: NodeId, cluster_id: Option<&str>) -> Result<Identity, DataDirError> {
        let _lock = prepare(path)?;
        if let Some(found) = read_identity(path)? {
            let identity = Box::new(found.identity()?);
            return Err(DataDirError::AlreadyFormatted { path: path.to_owned(), identity });
        }
        write_new_identity(path, node_id, cluster_id)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether this opening formatted the folder.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Reads and removes the mark of a clean stop. Call it once, right before the logs may change; with `None` they
    /// need recovery. The mark is gone for good (folder synced) when this returns.
    pub fn take_clean_shutdown(&self) -> Result<Option<CleanShutdown>, DataDirError> {
        let path = self.path.join(CLEAN_SHUTDOWN_FILE);
        let Some(bytes) = read_small(&path)? else { return Ok(None) };
        fs::remove_file(&path).map_err(|error| io_error(&path, "removing", &error))?;
        sync_folder(&self.path)?;
        // A mark that cannot be read is still a mark: only the epoch in it is unknown, as Kafka treats it too.
        let epoch = decode_clean_shutdown(&String::from_utf8_lossy(&bytes)).unwrap_or(None);
        Ok(Some(CleanShutdown { broker_epoch: epoch.filter(|&epoch| epoch >= 0) }))
    }

    /// Marks a clean stop. Call it last: everything in the logs must be on stable storage before.
    pub fn mark_clean_shutdown(&self, broker_epoch: i64) -> Result<(), DataDirError> {
        let text = encode_clean_shutdown(broker_epoch);
        replace_file(&self.path, CLEAN_SHUTDOWN_TEMPORARY, CLEAN_SHUTDOWN_FILE, text.as_bytes())
    }
}

/// A random id as Kafka makes them: version 4, not starting with `-` (which would look like a flag).
pub fn random_uuid() -> Result<Uuid, DataDirError> {
    let source = Path::new("/dev/urandom");
    let mut file = File::open(source).map_err(|error| io_error(source, "opening", &error))?;
    loop {
        let mut bytes = [0; 16];
        file.read_exact(&mut bytes).map_err(|error| io_error(source, "reading", &error))?;
        let id = Uuid::from_random(bytes);
        if !id.to_string().starts_with('-') {
            return Ok(id);
        }
    }
}

/// Looks first, makes the folder if it is missing, locks it.
fn prepare(path: &Path) -> Result<FolderLock, DataDirError> {
    check_ours(path)?;
    fs::create_dir_all(path).map_err(|error| io_error(path, "making data folder", &error))?;
    let lock = FolderLock::acquire(&path.join(LOCK)).map_err(|error| match error {
        LockError::Held { pid } => DataDirError::InUse { path: path.to_owned(), pid },
        LockError::Io(error) => io_error(&path.join(LOCK), "locking", &error),
    })?;
    // It may have changed between the look and the lock.
    check_ours(path)?;
    Ok(lock)
}

/// Fails when the folder holds something that is no data folder; a missing folder is fine.
fn check_ours(path: &Path) -> Result<(), DataDirError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(DataDirError::NotAFolder(path.to_owned()));
        }
        Err(error) => return Err(io_error(path, "listing data folder", &error)),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(|error| io_error(path, "listing data folder", &error))?;
        names.insert(entry.file_name().to_string_lossy().into_owned());
    }
    if names.contains(META_PROPERTIES) {
        return Ok(());
    }
    let strange: Vec<&String> = names.iter().filter(|name| !EMPTY_MAY_HOLD.contains(&name.as_str())).collect();
    match strange.as_slice() {
        [] => Ok(()),
        [only] => Err(DataDirError::Foreign { path: path.to_owned(), found: (*only).clone() }),
        [first, rest @ ..] => {
            Err(DataDirError::Foreign { path: path.to_owned(), found: format!("{first} and {} more", rest.len()) })
        }
    }
}

/// `meta.properties` as read; nothing judged yet.
struct Found {
    path: PathBuf,
    properties: BTreeMap<String, String>,
}

impl Found {
    fn bad(&self, reason: String) -> DataDirError {
        DataDirError::BadMeta { path: self.path.clone(), reason }
    }

    fn get(&self, key: &str) -> Result<&str, DataDirError> {
        self.properties
            .get(key)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
            .ok_or_else(|| self.bad(format!("{key} is missing")))
    }

    fn identity(&self) -> Result<Identity, DataDirError> {
        let version = self.get("version")?;
        if version != META_VERSION {
            return Err(self.bad(format!("version={version} is not known here (only {META_VERSION} is)")));
        }
        let node_id = self.get("node.id")?;
        let node_id = node_id
            .parse()
            .ok()
            .filter(|&id| id >= 0)
            .ok_or_else(|| self.bad(format!("node.id={node_id} is no id")))?;
        // Written since Kafka 3.7; zero stands for "has none yet".
        let directory_id = match self.properties.get("directory.id") {
            None => Uuid::ZERO,
            Some(text) => Uuid::parse(text.trim()).ok_or_else(|| self.bad(format!("directory.id={text} is no id")))?,
        };
        Ok(Identity { cluster_id: self.get("cluster.id")?.to_owned(), node_id: NodeId(node_id), directory_id })
    }

    /// The identity, when it is that of this node; gives the folder an id when it has none.
    fn checked(&self, path: &Path, configured: NodeId) -> Result<Identity, DataDirError> {
        let mut identity = self.identity()?;
        if identity.node_id != configured {
            return Err(DataDirError::OtherNode { path: path.to_owned(), found: identity.node_id, configured });
        }
        if identity.directory_id == Uuid::ZERO {
            identity.directory_id = random_uuid()?;
            write_identity(path, &identity)?;
        }
        Ok(identity)
    }
}

fn read_identity(path: &Path) -> Result<Option<Found>, DataDirError> {
    let Some(bytes) = read_small(&path.join(META_PROPERTIES))? else { return Ok(None) };
    let mut properties = BTreeMap::new();
    java_properties::PropertiesIter::new(bytes.as_slice())
        .read_into(|key, value| {
            properties.insert(key, value);
        })
        .map_err(|error| DataDirError::BadMeta { path: path.to_owned(), reason: error.to_string() })?;
    Ok(Some(Found { path: path.to_owned(), properties }))
}

fn write_new_identity(path: &Path, node_id: NodeId, cluster_id: Option<&str>) -> Result<Identity, DataDirError> {
    let cluster_id = match cluster_id {
        Some(id) => id.to_owned(),
        None => random_uuid()?.to_string(),
    };
    let identity = Identity { cluster_id, node_id, directory_id: random_uuid()? };
    write_identity(path, &identity)?;
    Ok(identity)
}

fn write_identity(path: &Path, identity: &Identity) -> Result<(), DataDirError> {
    let text = format!(
        "#\nversion={META_VERSION}\ncluster.id={}\nnode.id={}\ndirectory.id={}\n",
        identity.cluster_id, identity.node_id.0, identity.directory_id
    );
    replace_file(path, META_PROPERTIES_TEMPORARY, META_PROPERTIES, text.as_bytes())
}

/// `None` when there is no such file.
fn read_small(path: &Path) -> Result<Option<Vec<u8>>, DataDirError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, "opening", &error)),
    };
    let mut bytes = Vec::new();
    file.take(SMALL_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| io_error(path, "reading", &error))?;
    if bytes.len() as u64 > SMALL_FILE_BYTES_MAX {
        let reason = format!("larger than {SMALL_FILE_BYTES_MAX} bytes");
        return Err(DataDirError::Io { path: path.to_owned(), doing: "reading", reason });
    }
    Ok(Some(bytes))
}

/// Writes a temporary file, syncs it, renames it, syncs the folder: a power cut leaves the old or the new content.
fn replace_file(folder: &Path, temporary: &str, name: &str, bytes: &[u8]) -> Result<(), DataDirError> {
    let (from, to) = (folder.join(temporary), folder.join(name));
    let mut file = File::create(&from).map_err(|error| io_error(&from, "making", &error))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| io_error(&from, "writing", &error))?;
    drop(file);
    fs::rename(&from, &to).map_err(|error| io_error(&to, "writing", &error))?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<(), DataDirError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_error(folder, "syncing folder", &error))
}

fn io_error(path: &Path, doing: &'static str, error: &std::io::Error) -> DataDirError {
    DataDirError::Io { path: path.to_owned(), doing, reason: error.to_string() }
}

#[cfg(test)]
mod tests;
