//! What each disk operation does to the bytes and the names.

use std::sync::Arc;

use bytes::Bytes;

use super::file::{SimFile, SyncMark};
use super::tree::{self, Inode, TreeError};
use super::{Disk, Handle};
use crate::base::chunk::Chunk;
use crate::base::ids::CoreId;
use crate::base::limits::BLOCK;
use crate::log::journal;
use crate::port::disk::{DiskError, DiskErrorKind, DiskOp, DiskOutput, DiskResult, FileId, OpenMode};
use crate::port::range::{FileRange, Part};
use crate::sim::mutation::Mutation;

impl Disk {
    /// `mark`: what the operation promises if it is a sync.
    pub(super) fn execute(&mut self, core: CoreId, op: &DiskOp, mark: SyncMark) -> DiskResult {
        match op {
            DiskOp::Open { file, path, mode } => self.open(core, *file, path, *mode),
            DiskOp::Close { file } => match self.handles.get(&(core, *file)) {
                Some(Handle::Closing) => {
                    self.handles.remove(&(core, *file));
                    Ok(DiskOutput::Done)
                }
                _ => Err(not_open(*file)),
            },
            DiskOp::Write { .. } | DiskOp::Read { .. } | DiskOp::Sync { .. } => self.hot(core, op, mark),
            DiskOp::Stage { .. } => self.hot(core, op, mark),
            DiskOp::ZeroFill { .. } | DiskOp::Reserve { .. } | DiskOp::SetLen { .. } => self.hot(core, op, mark),
            _ => self.named(op),
        }
    }

    fn open(&mut self, core: CoreId, id: FileId, path: &str, mode: OpenMode) -> DiskResult {
        match self.handles.get(&(core, id)) {
            Some(Handle::Opening) => {}
            _ => return Err(invalid(format!("open {path}: file {} is in use", id.0))),
        }
        let opened = self.open_named(path, mode);
        match &opened {
            Ok((inode, _)) => {
                let handle = Handle::Open { inode: *inode, path: path.to_owned(), direct: mode.direct };
                self.handles.insert((core, id), handle);
            }
            Err(_) => {
                self.handles.remove(&(core, id));
            }
        }
        opened.map(|(_, len)| DiskOutput::Opened { len })
    }

    fn open_named(&mut self, path: &str, mode: OpenMode) -> Result<(Inode, u64), DiskError> {
        check_path(path)?;
        match self.tree.file(path) {
            Ok(inode) => Ok((inode, self.files.get(&inode).map_or(0, SimFile::len))),
            Err(TreeError::NotFound) if mode.create && !self.room_for_name() => Err(full("open", path)),
            Err(TreeError::NotFound) if mode.create => {
                let inode = self.new_file();
                self.tree.put_file(path, inode).map_err(|error| tree_error("open", path, error))?;
                Ok((inode, 0))
            }
            Err(TreeError::WrongKind) => Err(invalid(format!("open {path}: not a regular file"))),
            Err(error) => Err(tree_error("open", path, error)),
        }
    }

    pub(super) fn new_file(&mut self) -> Inode {
        self.next_inode += 1;
        let inode = Inode(self.next_inode);
        self.files.insert(inode, SimFile::default());
        inode
    }

    pub(super) fn open_inode(&self, core: CoreId, id: FileId) -> Option<Inode> {
        match self.handles.get(&(core, id)) {
            Some(Handle::Open { inode, .. }) => Some(*inode),
            _ => None,
        }
    }

    /// Says what is wrong with an operation on an open file.
    pub(super) fn validate(&self, core: CoreId, op: &DiskOp) -> Result<(), DiskError> {
        let aligned = |value: u64| value.is_multiple_of(BLOCK as u64);
        let (id, aligned, in_order, end) = match op {
            DiskOp::Write { file, position, data, .. } => {
                let memory_ok = data.is_empty() || (data.as_ptr() as usize).is_multiple_of(BLOCK);
                let fine = aligned(*position) && aligned(data.len() as u64) && memory_ok;
                (*file, fine, true, position.checked_add(data.len() as u64))
            }
            DiskOp::Read { file, position, len } => {
                let fine = aligned(*position) && aligned(u64::from(*len));
                (*file, fine, true, position.checked_add(u64::from(*len)))
            }
            DiskOp::ZeroFill { file, from, to } | DiskOp::Reserve { file, from, to } => {
                (*file, aligned(*from) && aligned(*to), from <= to, Some(*to))
            }
            DiskOp::SetLen { file, len } => (*file, true, true, Some(*len)),
            DiskOp::Stage { file, position, len, look, .. } => {
                (*file, true, look <= len, position.checked_add(u64::from(*len)))
            }
            DiskOp::Sync { file } => (*file, true, true, Some(0)),
            _ => return Ok(()),
        };
        let Some(Handle::Open { path, direct, .. }) = self.handles.get(&(core, id)) else {
            return Err(not_open(id));
        };
        if !in_order {
            return Err(invalid(format!("{path}: the end is before the start")));
        }
        if *direct && !aligned {
            return Err(invalid(format!("{path}: not aligned to {BLOCK} bytes")));
        }
        match end {
            Some(end) if end <= i64::MAX as u64 => Ok(()),
            _ => Err(invalid(format!("{path}: position beyond 2^63"))),
        }
    }

    /// Whether the disk has room for what the operation adds.
    pub(super) fn room_for(&self, core: CoreId, op: &DiskOp) -> bool {
        let Some(capacity) = self.profile.capacity else { return true };
        let (file, end) = match op {
            DiskOp::Write { file, position, data, .. } => (*file, position + data.len() as u64),
            DiskOp::ZeroFill { file, to, .. } | DiskOp::Reserve { file, to, .. } => (*file, *to),
            DiskOp::WriteFile { data, .. } => return self.used() + data.len() as u64 <= capacity,
            _ => return true,
        };
        if self.profile.copies_on_write
            && let DiskOp::Write { data, .. } = op
            && self.used() + data.len() as u64 > capacity
        {
            return false;
        }
        let len = self.open_inode(core, file).and_then(|inode| self.files.get(&inode)).map_or(0, SimFile::used);
        end <= len || self.used() + (end - len) <= capacity
    }

    /// Whether one more name has room: folders take blocks as files do.
    fn room_for_name(&self) -> bool {
        self.profile.capacity.is_none_or(|capacity| self.used() + BLOCK as u64 <= capacity)
    }

    fn hot(&mut self, core: CoreId, op: &DiskOp, mark: SyncMark) -> DiskResult {
        self.validate(core, op)?;
        if !self.room_for(core, op) {
            self.reserve_what_fits(core, op);
            return Err(DiskError { kind: DiskErrorKind::NoSpace, detail: "the made-up disk is full".to_owned() });
        }
        // "Acknowledge before sync": the disk says it is durable, and it is not.
        let lies = match self.profile.mutation {
            Some(Mutation::AckBeforeSync) => true,
            Some(Mutation::JournalBeforeSync) => self.is_of_a_journal(core, op),
            _ => false,
        };
        let inode = match op {
            DiskOp::Write { file, .. } | DiskOp::Read { file, .. } | DiskOp::Sync { file } => *file,
            DiskOp::Stage { file, .. } => *file,
            DiskOp::ZeroFill { file, .. } | DiskOp::Reserve { file, .. } | DiskOp::SetLen { file, .. } => *file,
            _ => return Err(invalid("not an operation on an open file".to_owned())),
        };
        let inode = self.open_inode(core, inode).ok_or_else(|| not_open(inode))?;
        let file = self.files.get_mut(&inode).ok_or_else(|| invalid("no such file".to_owned()))?;
        match op {
            DiskOp::Write { position, data, sync, .. } => {
                file.write(*position, data, *sync && !lies);
                if *sync && data.is_empty() && !lies {
                    file.sync();
                }
            }
            DiskOp::Read { position, len, .. } => {
                let bytes = file.read(*position, *len as usize);
                return Ok(DiskOutput::Data(aligned_bytes(&bytes)));
            }
            DiskOp::Stage { position, len, look, .. } => {
                let bytes = Bytes::from(file.read(*position, *len as usize));
                if bytes.len() < *len as usize {
                    return Err(DiskError { kind: DiskErrorKind::Io, detail: "the file ends before".to_owned() });
                }
                let tail = bytes.slice(bytes.len() - *look as usize..);
                // What it reads when it is sent is what it holds now: that is what the machine has promised.
                return Ok(DiskOutput::Staged { range: FileRange::new(Arc::new(bytes), *position, *len), tail });
            }
            DiskOp::Sync { .. } if lies => {}
            DiskOp::Sync { .. } => file.sync_to(mark),
            DiskOp::ZeroFill { from, to, .. } => file.zero(*from, *to),
            DiskOp::Reserve { to, .. } => file.reserve(*to),
            DiskOp::SetLen { len, .. } => file.set_len(*len),
            _ => {}
        }
        Ok(DiskOutput::Done)
    }

    /// A reservation that finds too little room has taken what there was (fallocate(2) on ext4).
    fn reserve_what_fits(&mut self, core: CoreId, op: &DiskOp) {
        let DiskOp::Reserve { file, to, .. } = op else { return };
        let free = self.profile.capacity.map_or(0, |capacity| capacity.saturating_sub(self.used()));
        let inode = self.open_inode(core, *file);
        if let Some(file) = inode.and_then(|inode| self.files.get_mut(&inode)) {
            let fits = (file.used() + free) / BLOCK as u64 * BLOCK as u64;
            file.reserve(fits.min(*to));
        }
    }

    fn is_of_a_journal(&self, core: CoreId, op: &DiskOp) -> bool {
        let (DiskOp::Write { file, .. } | DiskOp::Sync { file }) = op else { return false };
        match self.handles.get(&(core, *file)) {
            Some(Handle::Open { path, .. }) => journal::core_of(path).is_some(),
            _ => false,
        }
    }

    fn named(&mut self, op: &DiskOp) -> DiskResult {
        match op {
            DiskOp::ReadFile { path, len_max } => {
                check_path(path)?;
                let inode = self.tree.file(path).map_err(|error| tree_error("read", path, error))?;
                let Some(file) = self.files.get(&inode) else { return Ok(DiskOutput::Data(Bytes::new())) };
                if file.len() > *len_max {
                    let detail = format!("read {path}: the file is larger than {len_max} bytes");
                    return Err(DiskError { kind: DiskErrorKind::TooLarge, detail });
                }
                Ok(DiskOutput::Data(Bytes::from(file.read(0, file.len() as usize))))
            }
            DiskOp::WriteFile { path, data } => {
                check_path(path)?;
                if !self.room_for(CoreId(0), op) {
                    return Err(full("write", path));
                }
                let inode = self.new_file();
                if let Some(file) = self.files.get_mut(&inode) {
                    file.write(0, data, true);
                }
                self.tree.put_file(path, inode).map_err(|error| tree_error("write", path, error))?;
                Ok(DiskOutput::Done)
            }
            DiskOp::List { path } => {
                if !path.is_empty() {
                    check_path(path)?;
                }
                let len = |inode| self.files.get(&inode).map_or(0, SimFile::len);
                self.tree.list(path, len).map(DiskOutput::Entries).map_err(|error| tree_error("list", path, error))
            }
            DiskOp::MakeDir { path } => {
                check_path(path)?;
                if !self.room_for_name() {
                    return Err(full("make folder", path));
                }
                self.tree.make_dir(path).map_err(|error| tree_error("make folder", path, error))?;
                Ok(DiskOutput::Done)
            }
            DiskOp::Rename { from, to } => {
                check_path(from)?;
                check_path(to)?;
                if !self.room_for_name() {
                    // The new name finds a place in a block that is there, or it does not.
                    self.full_renames += 1;
                    if self.full_renames % 2 == 1 {
                        return Err(full("rename", from));
                    }
                }
                self.tree.rename(from, to).map_err(|error| tree_error("rename", from, error))?;
                Ok(DiskOutput::Done)
            }
            DiskOp::Remove { path } => {
                check_path(path)?;
                self.tree.remove(path).map_err(|error| tree_error("remove", path, error))?;
                Ok(DiskOutput::Done)
            }
            DiskOp::RemoveDir { path } => {
                check_path(path)?;
                self.tree.remove_dir(path).map_err(|error| tree_error("remove", path, error))?;
                Ok(DiskOutput::Done)
            }
            _ => Err(invalid("not an operation on a name".to_owned())),
        }
    }
}

/// Bytes that a direct write may start from, as those of a direct read are.
/// What a connection sends for a part, in memory or staged by a made-up disk.
pub fn sent_bytes(part: &Part) -> Bytes {
    match part {
        Part::Memory(bytes) => bytes.clone(),
        Part::File(range) => match range.file::<Bytes>() {
            Some(staged) => staged.slice(..range.len()),
            None => unreachable!("ranges are made by the disk of this world"),
        },
    }
}

fn aligned_bytes(bytes: &[u8]) -> Bytes {
    if bytes.is_empty() {
        return Bytes::new();
    }
    let mut chunk = Chunk::with_capacity(bytes.len());
    chunk.fill(bytes);
    chunk.freeze()
}

fn check_path(path: &str) -> Result<(), DiskError> {
    if tree::is_valid(path) { Ok(()) } else { Err(invalid(format!("path {path:?} is refused"))) }
}

fn full(what: &str, path: &str) -> DiskError {
    DiskError { kind: DiskErrorKind::NoSpace, detail: format!("{what} {path}: the made-up disk is full") }
}

fn invalid(detail: String) -> DiskError {
    DiskError { kind: DiskErrorKind::Invalid, detail }
}

fn not_open(file: FileId) -> DiskError {
    invalid(format!("file {} is not open", file.0))
}

fn tree_error(what: &str, path: &str, error: TreeError) -> DiskError {
    match error {
        TreeError::NotFound => {
            DiskError { kind: DiskErrorKind::NotFound, detail: format!("{what} {path}: no such file or folder") }
        }
        TreeError::WrongKind => {
            DiskError { kind: DiskErrorKind::Io, detail: format!("{what} {path}: a file where a folder is, or so") }
        }
    }
}
