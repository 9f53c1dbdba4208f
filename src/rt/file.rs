//! Open files, the paths they may have, and how errno becomes a [`DiskError`]; shared by all drivers.
//!
//! Invariant: no path leaves the data folder by its text (`..`, absolute); symbolic links are the administrator's.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use super::sys;
use crate::base::limits::BLOCK;
use crate::port::disk::{DiskError, DiskErrorKind};

/// A file in a core's table. Whatever is in flight on it holds a reference, so its descriptor cannot be reused under
/// it.
#[derive(Debug)]
pub struct OpenFile {
    pub fd: OwnedFd,
    /// As the machine named it, for error texts.
    pub path: String,
    /// The machine asked for direct I/O, so alignment is checked even where the file system made it buffered.
    pub direct: bool,
    /// Space was reserved in it: a write there may have to wait for a commit of the file system.
    pub reserved: AtomicBool,
    /// The file once more, through the page cache: opened when something is staged.
    pub cached: OnceLock<OwnedFd>,
}

/// The hot operations: on an open file, and frequent enough to go through the ring.
#[derive(Debug)]
pub enum FileOp {
    Write { position: u64, data: Bytes, sync: bool },
    Read { position: u64, len: u32 },
    Sync,
    ZeroFill { from: u64, to: u64 },
    Reserve { from: u64, to: u64 },
}

impl OpenFile {
    /// Reads through the page cache, whichever way the file was opened.
    pub fn through_cache(&self) -> io::Result<BorrowedFd<'_>> {
        if !self.direct {
            return Ok(self.fd.as_fd());
        }
        if self.cached.get().is_none() {
            // Two threads may do so at a time: one of the two is closed again.
            let _ = self.cached.set(sys::open_again(&self.fd)?);
        }
        match self.cached.get() {
            Some(fd) => Ok(fd.as_fd()),
            None => unreachable!("set above"),
        }
    }

    /// Says what is wrong with an operation before the kernel does, the same way on every file system.
    pub fn validate(&self, op: &FileOp) -> Result<(), DiskError> {
        let aligned = |value: u64| value.is_multiple_of(BLOCK as u64);
        let (name, positions_ok, in_order) = match op {
            FileOp::Write { position, data, .. } => {
                let memory_ok = data.is_empty() || (data.as_ptr() as usize).is_multiple_of(BLOCK);
                ("write", aligned(*position) && aligned(data.len() as u64) && memory_ok, true)
            }
            FileOp::Read { position, len } => ("read", aligned(*position) && aligned(u64::from(*len)), true),
            FileOp::ZeroFill { from, to } => ("zero fill", aligned(*from) && aligned(*to), from <= to),
            FileOp::Reserve { from, to } => ("reserve", aligned(*from) && aligned(*to), from <= to),
            FileOp::Sync => ("sync", true, true),
        };
        if !in_order {
            return Err(invalid(format!("{name} of {}: the end is before the start", self.path)));
        }
        if self.direct && !positions_ok {
            return Err(invalid(format!("{name} of {}: not aligned to {BLOCK} bytes", self.path)));
        }
        // The kernel's positions are signed.
        let end = match op {
            FileOp::Write { position, data, .. } => position.checked_add(data.len() as u64),
            FileOp::Read { position, len } => position.checked_add(u64::from(*len)),
            FileOp::ZeroFill { to, .. } | FileOp::Reserve { to, .. } => Some(*to),
            FileOp::Sync => Some(0),
        };
        match end {
            Some(end) if end <= i64::MAX as u64 => Ok(()),
            _ => Err(invalid(format!("{name} of {}: position beyond 2^63", self.path))),
        }
    }
}

/// An error of kind [`DiskErrorKind::Invalid`].
pub fn invalid(detail: String) -> DiskError {
    DiskError { kind: DiskErrorKind::Invalid, detail }
}

/// The kind a machine cares about, from errno; the detail names what was done to which file.
pub fn disk_error(what: impl fmt::Display, path: &str, error: &io::Error) -> DiskError {
    let kind = match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => DiskErrorKind::NoSpace,
        Some(libc::ENOENT) => DiskErrorKind::NotFound,
        Some(libc::EMFILE | libc::ENFILE) => DiskErrorKind::TooManyFiles,
        _ => DiskErrorKind::Io,
    };
    DiskError { kind, detail: format!("{what} {path}: {error}") }
}

/// The path on this machine of a path that a machine named.
pub fn resolve(root: &Path, path: &str) -> Result<PathBuf, DiskError> {
    let refused = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
    if path.split('/').any(refused) {
        return Err(invalid(format!("path {path:?}: must be relative, without empty parts, '.' or '..'")));
    }
    Ok(root.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_the_data_folder_are_refused() {
        let root = Path::new("/data");
        for path in ["", "/", "/etc/passwd", "a//b", "a/", "..", "a/../b", "a/..", "./a", "a\0b"] {
            let error = resolve(root, path).expect_err(path);
            assert_eq!(error.kind, DiskErrorKind::Invalid, "{path:?}");
        }
        assert_eq!(resolve(root, "t-0/00.log").expect("fine"), Path::new("/data/t-0/00.log"));
        assert_eq!(resolve(root, "a..b").expect("fine"), Path::new("/data/a..b"));
    }

    #[test]
    fn errno_becomes_the_kind_a_machine_cares_about() {
        let kind = |errno| disk_error("write", "f", &io::Error::from_raw_os_error(errno)).kind;
        assert_eq!(kind(libc::ENOSPC), DiskErrorKind::NoSpace);
        assert_eq!(kind(libc::EDQUOT), DiskErrorKind::NoSpace);
        assert_eq!(kind(libc::ENOENT), DiskErrorKind::NotFound);
        assert_eq!(kind(libc::EMFILE), DiskErrorKind::TooManyFiles);
        assert_eq!(kind(libc::ENFILE), DiskErrorKind::TooManyFiles);
        assert_eq!(kind(libc::EIO), DiskErrorKind::Io);
        let error = disk_error("write", "t-0/00.log", &io::Error::from_raw_os_error(libc::EIO));
        assert!(error.detail.contains("t-0/00.log") && error.detail.contains("Input/output"), "{}", error.detail);
    }
}
