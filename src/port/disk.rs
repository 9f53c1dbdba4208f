//! What may be asked of a disk, and what comes back.
//!
//! Operations in flight together may be carried out in any order; whoever depends on an earlier one waits for its
//! completion first. An operation owns what it writes from; a frozen [`Bytes`] cannot change under the device.
//! Paths are relative to the data folder, with `/` between parts; drivers refuse `.`, `..`, empty parts and absolute
//! paths with [`DiskErrorKind::Invalid`]. An operation on a [`FileId`] that is not open is `Invalid` too.

use bytes::Bytes;

use super::range::FileRange;

/// An open file: a slot number that the asking core chose, unique among that core's open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenMode {
    /// Bypass the page cache (O_DIRECT): positions, lengths and addresses are multiples of the block. A driver whose
    /// file system refuses it opens the file buffered and says so once.
    pub direct: bool,
    /// Make the file when it is not there; without it a missing file is [`DiskErrorKind::NotFound`].
    pub create: bool,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Opens for reading and writing. Answers [`DiskOutput::Opened`]. With `create` the folder is synced, whether the
    /// file is new or was made by a process that died before it did so. The slot is taken from here to the answer of
    /// [`DiskOp::Close`], or to a failed open; opening a taken one is `Invalid`.
    Open { file: FileId, path: String, mode: OpenMode },
    /// Closes; the slot may be used again once this is answered. Nothing else may be in flight on the file.
    Close { file: FileId },
    /// Writes all of `data` at `position`; with `sync` it is on stable storage (data and the size that reading needs,
    /// as fdatasync does) when answered. A short write that cannot be completed is an error.
    Write { file: FileId, position: u64, data: Bytes, sync: bool },
    /// Reads up to `len` bytes at `position`; fewer (or none) only at the end of the file. Answers
    /// [`DiskOutput::Data`].
    Read { file: FileId, position: u64, len: u32 },
    /// Makes `len` bytes at `position` ready to be sent from the page cache, without a copy, and copies the last
    /// `look` of them for the machine. Any alignment. With `fill` what the page cache lacks is read into it, as far
    /// ahead as the kernel sees fit; without it the answer is [`DiskErrorKind::NotCached`] then. Answers
    /// [`DiskOutput::Staged`]; a file that ends before is an error. For bytes that do not change any more.
    Stage { file: FileId, position: u64, len: u32, look: u32, fill: bool },
    /// Everything written to the file so far is on stable storage when answered (fdatasync).
    Sync { file: FileId },
    /// Writes real zeros over `from..to` and syncs, so that later writes inside need no new extent. Whatever was there
    /// is gone; the file grows to `to` if it was shorter.
    ZeroFill { file: FileId, from: u64, to: u64 },
    /// Makes room for `from..to`, so that later writes inside find it: what was written there stays, the rest reads as
    /// zeros, the file grows to `to` if it was shorter. Not synced: a power cut may take the length back. Far cheaper
    /// than zeros, but the first sync behind a write inside pays a commit of the file system.
    Reserve { file: FileId, from: u64, to: u64 },
    /// Cuts or extends to `len` and syncs, size included.
    SetLen { file: FileId, len: u64 },

    /// Reads a small file whole; [`DiskErrorKind::TooLarge`] above `len_max`. Answers [`DiskOutput::Data`].
    ReadFile { path: String, len_max: u64 },
    /// Replaces a small file as one step: temporary file beside it, synced, renamed, folder synced. After a power cut
    /// the old or the new content is there, whole. The temporary file's name ends in `.tmp`; a crash may leave one.
    WriteFile { path: String, data: Bytes },
    /// Makes a folder (and its parents) and syncs the parent. Fine when it is there already.
    MakeDir { path: String },
    /// Lists a folder; the empty path (of no other operation) is the data folder itself. Answers
    /// [`DiskOutput::Entries`], sorted by name; names that are not UTF-8 are left out.
    List { path: String },
    /// Renames a file or folder and syncs the folder of the target.
    Rename { from: String, to: String },
    /// Removes a file and syncs its folder; fine when it is gone already.
    Remove { path: String },
    /// Removes a folder with all it holds and syncs its parent; fine when it is gone already. A file is an error.
    RemoveDir { path: String },
}

/// What a successful operation brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOutput {
    Done,
    Opened {
        len: u64,
    },
    Data(Bytes),
    /// What [`DiskOp::Stage`] asked for, and the last bytes of it.
    Staged {
        range: FileRange,
        tail: Bytes,
    },
    Entries(Vec<DirEntry>),
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
    /// Bytes; 0 for a folder.
    pub len: u64,
}

/// Why an operation failed, as far as a machine may care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskErrorKind {
    NotFound,
    /// ENOSPC, EDQUOT: nothing is lost, there is just no room.
    NoSpace,
    TooLarge,
    /// The page cache does not have it, and was not to be filled.
    NotCached,
    /// A path or an alignment that no correct caller asks for.
    Invalid,
    /// EMFILE, ENFILE.
    TooManyFiles,
    /// Everything else: the data may or may not be there. Final for the log folder when it was a write or a sync.
    Io,
}

/// A failed operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    pub kind: DiskErrorKind,
    /// What the system said, for people.
    pub detail: String,
}

pub type DiskResult = Result<DiskOutput, DiskError>;
