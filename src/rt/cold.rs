//! The cold disk operations, carried out with plain blocking calls on a core's helper thread, whichever the driver.
//!
//! Names and the files behind them are made durable here: a rename, a removal or a new file is followed by a sync of
//! the folder that holds the name.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::file::{OpenFile, disk_error, invalid, resolve};
use super::sys;
use crate::base::ids::CoreId;
use crate::port::disk::{DirEntry, DiskError, DiskErrorKind, DiskOutput, DiskResult, OpenMode};
use crate::port::range::FileRange;

/// A cold operation, with the open file it concerns instead of its number.
#[derive(Debug)]
pub enum ColdOp {
    Open { path: String, mode: OpenMode },
    Close { file: Arc<OpenFile> },
    SetLen { file: Arc<OpenFile>, len: u64 },
    Stage { file: Arc<OpenFile>, piece: Piece },
    ReadFile { path: String, len_max: u64 },
    WriteFile { path: String, data: Bytes },
    MakeDir { path: String },
    List { path: String },
    Rename { from: String, to: String },
    Remove { path: String },
    RemoveDir { path: String },
}

impl ColdOp {
    /// The same number for all that concerns one partition's folder, whatever the folder is renamed to.
    pub fn folder_hash(&self) -> u32 {
        let path = match self {
            ColdOp::Close { file } | ColdOp::SetLen { file, .. } | ColdOp::Stage { file, .. } => &file.path,
            ColdOp::Open { path, .. }
            | ColdOp::ReadFile { path, .. }
            | ColdOp::WriteFile { path, .. }
            | ColdOp::MakeDir { path }
            | ColdOp::List { path }
            | ColdOp::Rename { from: path, .. }
            | ColdOp::Remove { path }
            | ColdOp::RemoveDir { path } => path,
        };
        // "t-0/1.log" and "t-0.<id>-delete" are both "t-0"; topics whose names share a beginning may share a lane.
        let folder = path.split(['/', '.']).next().unwrap_or_default();
        crc32c::crc32c(folder.as_bytes())
    }
}

/// What came of it: the answer, and the file when one was opened.
#[derive(Debug)]
pub struct ColdDone {
    pub result: DiskResult,
    pub opened: Option<OpenFile>,
}

impl From<DiskResult> for ColdDone {
    fn from(result: DiskResult) -> Self {
        ColdDone { result, opened: None }
    }
}

/// Carries one operation out. `core` makes temporary names unique among the cores of this process.
pub fn execute(root: &Path, core: CoreId, op: ColdOp) -> ColdDone {
    match op {
        ColdOp::Open { path, mode } => match open(root, path, mode) {
            Ok((file, len)) => ColdDone { result: Ok(DiskOutput::Opened { len }), opened: Some(file) },
            Err(error) => Err(error).into(),
        },
        // The last close of a removed file frees its blocks, which may take long: that is why it happens here.
        ColdOp::Close { file } => {
            drop(file);
            Ok(DiskOutput::Done).into()
        }
        ColdOp::SetLen { file, len } => set_len(&file, len).into(),
        ColdOp::Stage { file, piece } => fill(file, piece).into(),
        ColdOp::ReadFile { path, len_max } => read_file(root, &path, len_max).into(),
        ColdOp::WriteFile { path, data } => write_file(root, core, &path, &data).into(),
        ColdOp::MakeDir { path } => make_dir(root, &path).into(),
        ColdOp::List { path } => list(root, &path).into(),
        ColdOp::Rename { from, to } => rename(root, &from, &to).into(),
        ColdOp::Remove { path } => remove(root, &path, |target| fs::remove_file(target)).into(),
        ColdOp::RemoveDir { path } => remove(root, &path, |target| fs::remove_dir_all(target)).into(),
    }
}

fn open(root: &Path, path: String, mode: OpenMode) -> Result<(OpenFile, u64), DiskError> {
    let target = resolve(root, &path)?;
    let failed = |error: io::Error| disk_error("open", &path, &error);
    let existing = match open_file(&target, mode.direct, 0) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) && mode.create => None,
        other => Some(other.map_err(failed)?),
    };
    let fd = match existing {
        Some(fd) => fd,
        None => open_file(&target, mode.direct, libc::O_CREAT).map_err(failed)?,
    };
    if mode.create {
        sync_parent(&target).map_err(failed)?;
    }
    let file = File::from(fd);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(invalid(format!("open {path}: not a regular file")));
    }
    Ok((
        OpenFile { fd: file.into(), path, direct: mode.direct, reserved: false.into(), cached: OnceLock::new() },
        metadata.len(),
    ))
}

/// What [`DiskOp::Stage`](crate::port::disk::DiskOp::Stage) asks for of a file, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub position: u64,
    pub len: u32,
    pub look: u32,
}

/// Brings a piece into the page cache by sending it nowhere: unlike advice to read ahead (posix_fadvise(2)) that makes
/// the kernel's own read-ahead, with its large pieces, see a reader in sequence.
fn fill(file: Arc<OpenFile>, piece: Piece) -> DiskResult {
    let sent = file.through_cache().and_then(|fd| sys::send_nowhere(&fd, piece.position, u64::from(piece.len)));
    sent.map_err(|error| disk_error("stage", &file.path, &error))?;
    staged(file, piece)
}

/// The answer for a piece that is in the page cache.
fn staged(file: Arc<OpenFile>, Piece { position, len, look }: Piece) -> DiskResult {
    let mut tail = vec![0; look as usize];
    let from = position + u64::from(len - look);
    let read = file.through_cache().and_then(|fd| sys::read_exact_at(&fd, &mut tail, from));
    read.map_err(|error| disk_error("stage", &file.path, &error))?;
    Ok(DiskOutput::Staged { range: FileRange::new(file, position, len), tail: tail.into() })
}

/// Answers at once for a piece that is in the page cache; `None`: not all of it is, or the kernel (before 6.5) does not
/// say.
pub fn staged_already(file: &Arc<OpenFile>, piece: Piece) -> Option<DiskResult> {
    let cached = file.through_cache().and_then(|fd| sys::is_cached(&fd, piece.position, u64::from(piece.len)));
    matches!(cached, Ok(true)).then(|| staged(file.clone(), piece))
}

fn open_file(target: &Path, direct: bool, flags: libc::c_int) -> io::Result<OwnedFd> {
    if !direct {
        return sys::open_rw(target, flags);
    }
    match sys::open_rw(target, flags | libc::O_DIRECT) {
        // open(2): the file system does not support O_DIRECT.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            static SAID: AtomicBool = AtomicBool::new(false);
            if !SAID.swap(true, Ordering::Relaxed) {
                tracing::warn!(path = %target.display(), "the file system refuses O_DIRECT: files are opened buffered");
            }
            sys::open_rw(target, flags)
        }
        other => other,
    }
}

fn set_len(file: &OpenFile, len: u64) -> DiskResult {
    let failed = |error: io::Error| disk_error("set length of", &file.path, &error);
    if i64::try_from(len).is_err() {
        return Err(invalid(format!("set length of {}: {len} is beyond 2^63", file.path)));
    }
    let handle = File::from(file.fd.as_fd().try_clone_to_owned().map_err(failed)?);
    handle.set_len(len).map_err(failed)?;
    handle.sync_all().map_err(failed)?;
    Ok(DiskOutput::Done)
}

fn read_file(root: &Path, path: &str, len_max: u64) -> DiskResult {
    let failed = |error: io::Error| disk_error("read", path, &error);
    let too_large = || DiskError {
        kind: DiskErrorKind::TooLarge,
        detail: format!("read {path}: the file is larger than {len_max} bytes"),
    };
    let file = File::open(resolve(root, path)?).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    if len > len_max {
        return Err(too_large());
    }
    let mut data = Vec::with_capacity(len as usize);
    // One byte more than allowed shows that the file has grown since.
    file.take(len_max.saturating_add(1)).read_to_end(&mut data).map_err(failed)?;
    if data.len() as u64 > len_max {
        return Err(too_large());
    }
    Ok(DiskOutput::Data(Bytes::from(data)))
}

fn write_file(root: &Path, core: CoreId, path: &str, data: &[u8]) -> DiskResult {
    let failed = |error: io::Error| disk_error("write", path, &error);
    let target = resolve(root, path)?;
    let mut name = target.clone().into_os_string();
    name.push(format!(".{}.tmp", core.0));
    let temporary = PathBuf::from(name);
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(data)?;
        file.sync_all()?;
        fs::rename(&temporary, &target)
    })();
    if let Err(error) = written {
        // The error that matters is the first one; a leftover is overwritten by the next attempt.
        if let Err(leftover) = fs::remove_file(&temporary) {
            tracing::debug!(path = %temporary.display(), %leftover, "temporary file not removed");
        }
        return Err(failed(error));
    }
    sync_parent(&target).map_err(failed)?;
    Ok(DiskOutput::Done)
}

fn make_dir(root: &Path, path: &str) -> DiskResult {
    resolve(root, path)?;
    let mut target = root.to_path_buf();
    for part in path.split('/') {
        target.push(part);
        let failed = |error: io::Error| disk_error("make folder", path, &error);
        match fs::create_dir(&target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && target.is_dir() => continue,
            Err(error) => return Err(failed(error)),
        }
        sync_parent(&target).map_err(failed)?;
    }
    Ok(DiskOutput::Done)
}

fn list(root: &Path, path: &str) -> DiskResult {
    let failed = |error: io::Error| disk_error("list", path, &error);
    // The data folder itself has no name of its own.
    let target = if path.is_empty() { root.to_path_buf() } else { resolve(root, path)? };
    let mut entries = Vec::new();
    for entry in fs::read_dir(&target).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            tracing::warn!(folder = %target.display(), name = ?entry.file_name(), "skipped: the name is not UTF-8");
            continue;
        };
        let metadata = match fs::metadata(entry.path()) {
            Ok(metadata) => metadata,
            // Removed meanwhile, or a symbolic link to nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        let len = if metadata.is_dir() { 0 } else { metadata.len() };
        entries.push(DirEntry { name, is_dir: metadata.is_dir(), len });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(DiskOutput::Entries(entries))
}

fn rename(root: &Path, from: &str, to: &str) -> DiskResult {
    let failed = |error: io::Error| disk_error(format_args!("rename {from} to"), to, &error);
    let source = resolve(root, from)?;
    let target = resolve(root, to)?;
    fs::rename(&source, &target).map_err(failed)?;
    sync_parent(&target).map_err(failed)?;
    if source.parent() != target.parent() {
        sync_parent(&source).map_err(failed)?;
    }
    Ok(DiskOutput::Done)
}

fn remove(root: &Path, path: &str, removal: impl Fn(&Path) -> io::Result<()>) -> DiskResult {
    let failed = |error: io::Error| disk_error("remove", path, &error);
    let target = resolve(root, path)?;
    match removal(&target) {
        Ok(()) => sync_parent(&target).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    Ok(DiskOutput::Done)
}

/// Makes the name of `target` durable, or its absence.
fn sync_parent(target: &Path) -> io::Result<()> {
    match target.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
