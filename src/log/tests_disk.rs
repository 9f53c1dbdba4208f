//! A disk in memory for the tests of the log: executes operations in random order, checks that no two in flight can
//! harm each other, fills up, fails on demand, and loses its power.
//!
//! At a power cut an unsynced or unfinished write survives, vanishes or is torn at 512-byte sectors; a `Remove` may be
//! undone until something syncs its folder; everything else is there or not, whole, once it was asked for. When only
//! the process dies, everything is there, and what was not synced is still not: a later power cut may take it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::chunk::Chunk;
use crate::base::limits::BLOCK;
use crate::base::prng::Prng;
use crate::port::disk::{DirEntry, DiskError, DiskErrorKind, DiskOp, DiskOutput, DiskResult, FileId, OpenMode};
use crate::port::range::{FileRange, Part};

use super::types::LogTag;

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Inode {
    stable: Vec<u8>,
    live: Vec<u8>,
    /// Written and not synced.
    writes: Vec<(u64, Bytes)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct TestDisk {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    dirs: Vec<String>,
    /// Names removed since their folder was synced last.
    removed: Vec<(String, u64)>,
    open: BTreeMap<u32, (u64, bool)>,
    pub waiting: Vec<(LogTag, DiskOp)>,
    next_inode: u64,
    /// Bytes that all files together may have.
    pub capacity: Option<u64>,
    /// There is no room for names: no folder is made, nothing is renamed.
    pub no_names: bool,
    /// The next so many writes or syncs, minus one, succeed; then one fails for good.
    pub fail_write_in: Option<u32>,
    /// Operations executed, by a short name.
    pub counts: BTreeMap<&'static str, u64>,
}

fn overlay(target: &mut Vec<u8>, position: u64, data: &[u8]) {
    let (from, to) = (position as usize, position as usize + data.len());
    if target.len() < to {
        target.resize(to, 0);
    }
    target[from..to].copy_from_slice(data);
}

fn error(kind: DiskErrorKind, detail: &str) -> DiskResult {
    Err(DiskError { kind, detail: detail.to_string() })
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn aligned(bytes: &[u8]) -> Bytes {
    let mut chunk = Chunk::with_capacity(bytes.len());
    chunk.fill(bytes);
    chunk.freeze()
}

impl TestDisk {
    pub fn submit(&mut self, ops: impl IntoIterator<Item = (LogTag, DiskOp)>) {
        for (tag, op) in ops {
            self.check_hazards(&op);
            self.waiting.push((tag, op));
        }
    }

    /// Nothing in flight may meet another on the same bytes or the same name: their order is anybody's guess.
    fn check_hazards(&self, op: &DiskOp) {
        for (_, other) in &self.waiting {
            if let (Some((a, from_a, to_a)), Some((b, from_b, to_b))) = (range(op), range(other)) {
                let writes = !matches!((op, other), (DiskOp::Read { .. }, _) | (_, DiskOp::Read { .. }));
                assert!(!writes || a != b || to_a <= from_b || to_b <= from_a, "{op:?} meets {other:?}");
            }
            if let (Some(a), Some(b)) = (file(op), file(other)) {
                // A cut only takes what no reader believes in.
                let reads = |op: &DiskOp| matches!(op, DiskOp::Read { .. } | DiskOp::Stage { .. });
                let harmless = |op: &DiskOp| reads(op) || matches!(op, DiskOp::Sync { .. });
                let closes = |op: &DiskOp| matches!(op, DiskOp::Close { .. });
                let cuts = |op: &DiskOp| matches!(op, DiskOp::SetLen { .. });
                let bad = closes(op) || closes(other) || cuts(op) && !harmless(other) || cuts(other) && !harmless(op);
                assert!(a != b || !bad, "{op:?} while {other:?}");
            }
            for path in paths(op) {
                assert!(!paths(other).contains(&path), "{op:?} while {other:?}");
            }
        }
    }

    /// Executes one of the waiting operations.
    pub fn run_one(&mut self, prng: &mut Prng) -> Option<(LogTag, DiskResult)> {
        if self.waiting.is_empty() {
            return None;
        }
        let pick = prng.below(self.waiting.len() as u64) as usize;
        let (tag, op) = self.waiting.swap_remove(pick);
        *self.counts.entry(name(&op)).or_default() += 1;
        if matches!(op, DiskOp::Stage { .. }) && prng.chance(1, 4) {
            return Some((tag, error(DiskErrorKind::NotCached, "not there")));
        }
        Some((tag, self.execute(op)))
    }

    fn execute(&mut self, op: DiskOp) -> DiskResult {
        if matches!(op, DiskOp::Write { .. } | DiskOp::Sync { .. }) {
            match &mut self.fail_write_in {
                Some(0) => return error(DiskErrorKind::Io, "the disk is broken"),
                Some(left) => *left -= 1,
                None => {}
            }
        }
        match op {
            DiskOp::Open { file, path, mode } => self.open(file, path, mode),
            DiskOp::Close { file } => {
                assert!(self.open.remove(&file.0).is_some(), "closing a file that is not open");
                Ok(DiskOutput::Done)
            }
            DiskOp::Write { file, position, data, sync } => self.write(file, position, data, sync),
            DiskOp::Read { file, position, len } => {
                let (inode, direct) = self.open[&file.0];
                let whole = (position as usize).is_multiple_of(BLOCK) && (len as usize).is_multiple_of(BLOCK);
                assert!(!direct || whole, "an unaligned direct read");
                let live = &self.inodes[&inode].live;
                let from = (position as usize).min(live.len());
                let to = (position as usize + len as usize).min(live.len());
                Ok(DiskOutput::Data(aligned(&live[from..to])))
            }
            DiskOp::Stage { file, position, len, look, .. } => {
                let live = &self.inodes[&self.open[&file.0].0].live;
                let staged = Bytes::copy_from_slice(&live[position as usize..position as usize + len as usize]);
                let tail = staged.slice((len - look) as usize..);
                Ok(DiskOutput::Staged { range: FileRange::new(Arc::new(staged), position, len), tail })
            }
            DiskOp::Sync { file } => {
                self.sync(self.open[&file.0].0);
                Ok(DiskOutput::Done)
            }
            DiskOp::ZeroFill { file, from, to } => {
                let zeros = Bytes::from(vec![0; (to - from) as usize]);
                self.write(file, from, zeros, true)
            }
            DiskOp::Reserve { file, to, .. } => self.reserve(file, to),
            DiskOp::SetLen { file, len } => {
                let inode = self.open[&file.0].0;
                self.inodes.get_mut(&inode).unwrap().live.resize(len as usize, 0);
                self.sync(inode);
                Ok(DiskOutput::Done)
            }
            other => self.execute_cold(other),
        }
    }

    /// The length is not on stable storage: a power cut takes it back.
    fn reserve(&mut self, file: FileId, to: u64) -> DiskResult {
        let inode = self.open[&file.0].0;
        let live = self.inodes[&inode].live.len() as u64;
        if self.used() + to.saturating_sub(live) > self.capacity.unwrap_or(u64::MAX) {
            return error(DiskErrorKind::NoSpace, "no space left");
        }
        self.inodes.get_mut(&inode).unwrap().live.resize(to.max(live) as usize, 0);
        Ok(DiskOutput::Done)
    }

    fn execute_cold(&mut self, op: DiskOp) -> DiskResult {
        match op {
            DiskOp::ReadFile { path, len_max } => match self.names.get(&path) {
                Some(inode) if self.inodes[inode].live.len() as u64 > len_max => {
                    error(DiskErrorKind::TooLarge, "too large")
                }
                Some(inode) => Ok(DiskOutput::Data(Bytes::copy_from_slice(&self.inodes[inode].live))),
                None => error(DiskErrorKind::NotFound, "no such file"),
            },
            DiskOp::WriteFile { path, data } => {
                assert!(self.dirs.iter().any(|dir| dir == folder(&path)), "no folder for {path}");
                if self.used() + data.len() as u64 > self.capacity.unwrap_or(u64::MAX) {
                    return error(DiskErrorKind::NoSpace, "no space left");
                }
                self.put(&path, data.to_vec());
                self.sync_folder(&path);
                Ok(DiskOutput::Done)
            }
            DiskOp::MakeDir { .. } | DiskOp::Rename { .. } if self.no_names => {
                error(DiskErrorKind::NoSpace, "no space left")
            }
            DiskOp::MakeDir { path } => {
                self.dirs.push(path);
                Ok(DiskOutput::Done)
            }
            DiskOp::List { path } => {
                if !self.dirs.contains(&path) {
                    return error(DiskErrorKind::NotFound, "no such folder");
                }
                let names = self.names.iter().filter(|(name, _)| folder(name) == path);
                let entry = |(name, inode): (&String, &u64)| DirEntry {
                    name: name[path.len() + 1..].to_string(),
                    is_dir: false,
                    len: self.inodes[inode].live.len() as u64,
                };
                Ok(DiskOutput::Entries(names.map(entry).collect()))
            }
            DiskOp::Rename { from, to } => self.rename(&from, &to),
            DiskOp::Remove { path } => {
                if let Some(inode) = self.names.remove(&path) {
                    self.removed.push((path, inode));
                }
                Ok(DiskOutput::Done)
            }
            DiskOp::RemoveDir { path } => {
                self.dirs.retain(|dir| *dir != path);
                self.names.retain(|name, _| folder(name) != path);
                Ok(DiskOutput::Done)
            }
            other => panic!("not a cold operation: {other:?}"),
        }
    }

    fn open(&mut self, file: FileId, path: String, mode: OpenMode) -> DiskResult {
        assert!(!self.open.contains_key(&file.0), "slot {} is taken", file.0);
        if !self.names.contains_key(&path) {
            if !mode.create {
                return error(DiskErrorKind::NotFound, "no such file");
            }
            if self.no_names {
                return error(DiskErrorKind::NoSpace, "no space left");
            }
            self.put(&path, Vec::new());
            self.sync_folder(&path);
        }
        let inode = self.names[&path];
        self.open.insert(file.0, (inode, mode.direct));
        Ok(DiskOutput::Opened { len: self.inodes[&inode].live.len() as u64 })
    }

    fn write(&mut self, file: FileId, position: u64, data: Bytes, sync: bool) -> DiskResult {
        let (inode, direct) = self.open[&file.0];
        let whole = (position as usize).is_multiple_of(BLOCK) && data.len().is_multiple_of(BLOCK);
        assert!(!direct || whole, "an unaligned direct write of {} at {position}", data.len());
        let used = self.used();
        let len = self.inodes[&inode].live.len() as u64;
        let growth = (position + data.len() as u64).saturating_sub(len);
        if growth > 0 && used + growth > self.capacity.unwrap_or(u64::MAX) {
            return error(DiskErrorKind::NoSpace, "no space left");
        }
        let target = self.inodes.get_mut(&inode).unwrap();
        overlay(&mut target.live, position, &data);
        target.writes.push((position, data));
        if sync {
            self.sync(inode);
        }
        Ok(DiskOutput::Done)
    }

    fn sync(&mut self, inode: u64) {
        let inode = self.inodes.get_mut(&inode).unwrap();
        inode.stable.clone_from(&inode.live);
        inode.writes.clear();
    }

    fn put(&mut self, path: &str, data: Vec<u8>) {
        self.next_inode += 1;
        let inode = Inode { stable: data.clone(), live: data, writes: Vec::new() };
        self.inodes.insert(self.next_inode, inode);
        self.names.insert(path.to_string(), self.next_inode);
    }

    fn sync_folder(&mut self, path: &str) {
        self.removed.retain(|(name, _)| folder(name) != folder(path));
    }

    fn rename(&mut self, from: &str, to: &str) -> DiskResult {
        if self.dirs.iter().any(|dir| dir == from) {
            self.dirs.retain(|dir| dir != from);
            self.dirs.push(to.to_string());
            let moved: Vec<String> = self.names.keys().filter(|name| folder(name) == from).cloned().collect();
            for name in moved {
                let inode = self.names.remove(&name).unwrap();
                self.names.insert(format!("{to}{}", &name[from.len()..]), inode);
            }
            return Ok(DiskOutput::Done);
        }
        match self.names.remove(from) {
            Some(inode) => {
                self.names.insert(to.to_string(), inode);
                self.sync_folder(to);
                Ok(DiskOutput::Done)
            }
            None => error(DiskErrorKind::NotFound, "no such file"),
        }
    }

    pub fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[inode].live.len() as u64).sum()
    }

    /// The node goes down, one way or the other.
    pub fn crash(&mut self, prng: &mut Prng) {
        if prng.chance(1, 3) { self.process_dies(prng) } else { self.power_cut(prng) }
    }

    /// Only the process dies: finished writes are all there, on stable storage or not, unfinished ones in part.
    pub fn process_dies(&mut self, prng: &mut Prng) {
        for (_, op) in std::mem::take(&mut self.waiting) {
            match op {
                DiskOp::Write { file, position, data, .. } => self.write_in_part(file, position, &data, prng),
                DiskOp::ZeroFill { file, from, to } => {
                    self.write_in_part(file, from, &Bytes::from(vec![0; (to - from) as usize]), prng);
                }
                DiskOp::SetLen { file, len } if prng.chance(1, 2) => {
                    let inode = self.open[&file.0].0;
                    self.inodes.get_mut(&inode).unwrap().live.resize(len as usize, 0);
                }
                op if range(&op).is_none() && file(&op).is_none() && prng.chance(1, 2) => drop(self.execute(op)),
                _ => {}
            }
        }
        self.open.clear();
    }

    fn write_in_part(&mut self, file: FileId, position: u64, data: &Bytes, prng: &mut Prng) {
        let inode = self.inodes.get_mut(&self.open[&file.0].0).unwrap();
        let (all, none) = (prng.chance(1, 3), prng.chance(1, 3));
        for from in (0..data.len()).step_by(SECTOR) {
            if all || !none && prng.chance(1, 2) {
                let piece = data.slice(from..(from + SECTOR).min(data.len()));
                overlay(&mut inode.live, position + from as u64, &piece);
                inode.writes.push((position + from as u64, piece));
            }
        }
    }

    /// The power goes: what is left is what a start will find.
    pub fn power_cut(&mut self, prng: &mut Prng) {
        let cold = |op: &DiskOp| range(op).is_none() && file(op).is_none();
        let mut late = Vec::new();
        for (_, op) in std::mem::take(&mut self.waiting) {
            match op {
                DiskOp::Write { file, position, data, .. } => late.push((self.open[&file.0].0, position, data)),
                DiskOp::ZeroFill { file, from, to } => {
                    late.push((self.open[&file.0].0, from, Bytes::from(vec![0; (to - from) as usize])));
                }
                DiskOp::SetLen { .. } if prng.chance(1, 2) => drop(self.execute(op)),
                op if cold(&op) && prng.chance(1, 2) => drop(self.execute(op)),
                _ => {}
            }
        }
        for inode in self.inodes.values_mut() {
            for (position, data) in std::mem::take(&mut inode.writes) {
                survive(&mut inode.stable, position, &data, prng);
            }
        }
        for (inode, position, data) in late {
            survive(&mut self.inodes.get_mut(&inode).unwrap().stable, position, &data, prng);
        }
        for inode in self.inodes.values_mut() {
            inode.live.clone_from(&inode.stable);
        }
        for (name, inode) in std::mem::take(&mut self.removed) {
            if prng.chance(1, 2) {
                self.names.entry(name).or_insert(inode);
            }
        }
        self.open.clear();
    }

    /// The content of a file.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.names.get(path).map(|inode| &self.inodes[inode].live[..])
    }

    /// The content of a file, to be damaged.
    pub fn file_mut(&mut self, path: &str) -> &mut Vec<u8> {
        let inode = self.names[path];
        &mut self.inodes.get_mut(&inode).unwrap().live
    }

    pub fn add_file(&mut self, path: &str, data: &[u8]) {
        self.put(path, data.to_vec());
    }

    pub fn remove_file(&mut self, path: &str) {
        self.names.remove(path);
    }

    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub fn dirs(&self) -> &[String] {
        &self.dirs
    }

    pub fn open_files(&self) -> usize {
        self.open.len()
    }
}

/// What an unsynced write leaves of itself.
fn survive(target: &mut Vec<u8>, position: u64, data: &[u8], prng: &mut Prng) {
    match prng.below(3) {
        0 => overlay(target, position, data),
        1 => {}
        _ => {
            for (sector, piece) in data.chunks(SECTOR).enumerate() {
                if prng.chance(1, 2) {
                    overlay(target, position + (sector * SECTOR) as u64, piece);
                }
            }
        }
    }
}

/// The bytes of a file that an operation touches.
fn range(op: &DiskOp) -> Option<(FileId, u64, u64)> {
    match op {
        DiskOp::Write { file, position, data, .. } => Some((*file, *position, *position + data.len() as u64)),
        DiskOp::ZeroFill { file, from, to } | DiskOp::Reserve { file, from, to } => Some((*file, *from, *to)),
        DiskOp::Read { file, position, len } | DiskOp::Stage { file, position, len, .. } => {
            Some((*file, *position, *position + u64::from(*len)))
        }
        _ => None,
    }
}

/// What is sent for a part.
pub fn sent_bytes(part: &Part) -> Bytes {
    match part {
        Part::Memory(bytes) => bytes.clone(),
        Part::File(range) => range.file::<Bytes>().expect("staged by this disk").slice(..range.len()),
    }
}

fn file(op: &DiskOp) -> Option<FileId> {
    match op {
        DiskOp::Close { file } | DiskOp::Sync { file } | DiskOp::SetLen { file, .. } => Some(*file),
        _ => range(op).map(|(file, _, _)| file),
    }
}

fn paths(op: &DiskOp) -> Vec<&str> {
    match op {
        DiskOp::Open { path, .. }
        | DiskOp::WriteFile { path, .. }
        | DiskOp::Remove { path }
        | DiskOp::RemoveDir { path }
        | DiskOp::MakeDir { path } => vec![path],
        DiskOp::Rename { from, to } => vec![from, to],
        _ => Vec::new(),
    }
}

fn name(op: &DiskOp) -> &'static str {
    match op {
        DiskOp::Open { .. } => "open",
        DiskOp::Close { .. } => "close",
        DiskOp::Write { sync: true, .. } => "write+sync",
        DiskOp::Write { .. } => "write",
        DiskOp::Read { .. } => "read",
        DiskOp::Stage { .. } => "stage",
        DiskOp::Sync { .. } => "sync",
        DiskOp::ZeroFill { .. } => "zero-fill",
        DiskOp::Reserve { .. } => "reserve",
        DiskOp::SetLen { .. } => "set-len",
        DiskOp::ReadFile { .. } => "read-file",
        DiskOp::WriteFile { .. } => "write-file",
        DiskOp::MakeDir { .. } => "make-dir",
        DiskOp::List { .. } => "list",
        DiskOp::Rename { .. } => "rename",
        DiskOp::Remove { .. } => "remove",
        DiskOp::RemoveDir { .. } => "remove-dir",
    }
}
