//! The made-up disk: files as bytes, operations that take virtual time, and everything a disk may do to a node.
//!
//! An operation has its effect when it is answered; operations in flight together are answered in any order. When the
//! power goes, each one in flight has happened, or not, or in part ([`file`], [`tree`]). When the process dies it is
//! the same, but what is not synced stays to be seen, and to be lost to a later power cut. Sizes, alignment and names
//! are checked as the real drivers check them. What a test may turn on beside: errors, a full disk, flipped bits, and
//! the mutations that prove the checks ([`Mutation`]).

pub mod file;
pub mod tree;

mod ops;

pub use ops::sent_bytes;

use std::collections::BTreeMap;

use super::mutation::Mutation;
use crate::base::ids::CoreId;
use crate::base::prng::Prng;
use crate::port::disk::{DiskError, DiskErrorKind, DiskOp, DiskOutput, DiskResult, FileId};
use crate::port::turn::Token;
use file::{SimFile, SyncMark};
use tree::{Inode, Tree};

/// What this disk does to its node.
#[derive(Clone, Debug)]
pub struct DiskProfile {
    /// Latency of an operation is drawn from this range, nanoseconds.
    pub latency_ns: (u64, u64),
    /// One in so many operations takes a hundred times as long; 0: none.
    pub stall_one_in: u64,
    /// One in so many writes and syncs fails with EIO while errors are on; 0: none.
    pub write_error_one_in: u64,
    /// One in so many reads fails with EIO while errors are on; 0: none.
    pub read_error_one_in: u64,
    /// Bytes the disk holds; `None`: enough.
    pub capacity: Option<u64>,
    /// Every write takes new blocks before it gives the old ones back, so one inside a file needs room, too.
    pub copies_on_write: bool,
    pub mutation: Option<Mutation>,
}

impl Default for DiskProfile {
    fn default() -> Self {
        DiskProfile {
            latency_ns: (10_000, 200_000),
            stall_one_in: 0,
            write_error_one_in: 0,
            read_error_one_in: 0,
            capacity: None,
            copies_on_write: false,
            mutation: None,
        }
    }
}

#[derive(Debug)]
enum Handle {
    Opening,
    Open { inode: Inode, path: String, direct: bool },
    Closing,
}

/// The disk of one node; outlives the node's lives.
#[derive(Debug)]
pub struct Disk {
    pub profile: DiskProfile,
    /// Errors of the profile happen only while this is set.
    pub errors_on: bool,
    tree: Tree,
    files: BTreeMap<Inode, SimFile>,
    next_inode: u64,
    handles: BTreeMap<(CoreId, FileId), Handle>,
    /// With what it promises if it is a sync.
    in_flight: BTreeMap<(CoreId, Token), (DiskOp, SyncMark)>,
    /// Operations that change something, since the beginning of the run.
    pub writes: u64,
    /// Errors that were injected since the beginning.
    pub errors: u64,
    /// Pieces of files that were staged.
    pub staged: u64,
    /// Renamings asked for while the disk was full: every other one is refused.
    full_renames: u64,
}

impl Disk {
    pub fn new(profile: DiskProfile) -> Disk {
        Disk {
            profile,
            errors_on: false,
            tree: Tree::default(),
            files: BTreeMap::new(),
            next_inode: 0,
            handles: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            writes: 0,
            errors: 0,
            staged: 0,
            full_renames: 0,
        }
    }

    /// Takes an operation; answers how long it will take, nanoseconds.
    pub fn submit(&mut self, core: CoreId, token: Token, op: DiskOp, random: &mut Prng) -> u64 {
        self.writes += u64::from(changes(&op));
        match &op {
            DiskOp::Open { file, .. } => {
                // A number in use is refused when the operation is carried out.
                self.handles.entry((core, *file)).or_insert(Handle::Opening);
            }
            DiskOp::Close { file } => {
                if let Some(handle @ Handle::Open { .. }) = self.handles.get_mut(&(core, *file)) {
                    *handle = Handle::Closing;
                }
            }
            _ => {}
        }
        let mark = match &op {
            DiskOp::Sync { file } => self.open_inode(core, *file).and_then(|inode| self.files.get(&inode)),
            _ => None,
        };
        let mark = mark.map_or_else(SyncMark::default, SimFile::mark);
        let known = self.in_flight.insert((core, token), (op, mark));
        crate::invariant!(known.is_none(), "{token:?} of core {} is in flight twice", core.0);
        let (least, most) = self.profile.latency_ns;
        let latency = least + random.below((most - least).max(1));
        let stalls = self.profile.stall_one_in;
        if stalls > 0 && random.chance(1, stalls) { latency * 100 } else { latency }
    }

    /// Carries an operation out. `None`: it is not in flight (any more).
    pub fn complete(&mut self, core: CoreId, token: Token, random: &mut Prng) -> Option<(DiskOp, DiskResult)> {
        let (op, mark) = self.in_flight.remove(&(core, token))?;
        if let Some(error) = self.error_for(core, &op, random) {
            self.errors += 1;
            return Some((op, Err(error)));
        }
        if let DiskOp::Read { file, position, len } = &op
            && let Some(Handle::Open { inode, direct: true, .. }) = self.handles.get(&(core, *file))
            && let Some(file) = self.files.get_mut(inode)
        {
            file.settle(*position, u64::from(*len), random);
        }
        if matches!(op, DiskOp::Stage { fill: false, .. }) && random.chance(1, 2) {
            let detail = "the made-up page cache does not have it".to_owned();
            return Some((op, Err(DiskError { kind: DiskErrorKind::NotCached, detail })));
        }
        let result = self.execute(core, &op, mark);
        self.staged += u64::from(matches!(result, Ok(DiskOutput::Staged { .. })));
        Some((op, result))
    }

    fn error_for(&mut self, core: CoreId, op: &DiskOp, random: &mut Prng) -> Option<DiskError> {
        if !self.errors_on {
            return None;
        }
        let one_in = match op {
            DiskOp::Write { .. } | DiskOp::Sync { .. } | DiskOp::ZeroFill { .. } => self.profile.write_error_one_in,
            DiskOp::WriteFile { .. } | DiskOp::SetLen { .. } | DiskOp::Reserve { .. } => {
                self.profile.write_error_one_in
            }
            DiskOp::Read { .. } | DiskOp::Stage { .. } => self.profile.read_error_one_in,
            _ => 0,
        };
        if one_in == 0 || !random.chance(1, one_in) {
            return None;
        }
        match op {
            DiskOp::Write { .. } | DiskOp::Reserve { .. } => {
                self.half_done(core, op, SyncMark::default(), true, random);
            }
            DiskOp::Sync { file } => {
                if let Some(file) = self.open_inode(core, *file).and_then(|inode| self.files.get_mut(&inode)) {
                    file.fail_sync();
                }
            }
            _ => {}
        }
        Some(DiskError { kind: DiskErrorKind::Io, detail: "made-up input/output error".to_owned() })
    }

    /// An operation that was cut short. `durable`: what it has written by then is on stable storage.
    fn half_done(&mut self, core: CoreId, op: &DiskOp, mark: SyncMark, durable: bool, random: &mut Prng) {
        match op {
            DiskOp::Write { file, position, data, .. } => {
                let Some(inode) = self.open_inode(core, *file) else { return };
                if self.validate(core, op).is_ok()
                    && self.room_for(core, op)
                    && let Some(file) = self.files.get_mut(&inode)
                {
                    file.write_in_part(*position, data, durable, random);
                }
            }
            DiskOp::ZeroFill { file, from, to } => {
                let Some(inode) = self.open_inode(core, *file) else { return };
                let blocks = to.saturating_sub(*from) / 4096;
                let until = from + random.below(blocks + 1) * 4096;
                if self.validate(core, op).is_ok()
                    && let Some(file) = self.files.get_mut(&inode)
                {
                    match durable {
                        true => file.zero(*from, until),
                        false => file.write(*from, &vec![0; (until - from) as usize], false),
                    }
                }
            }
            DiskOp::Reserve { file, from, to } => {
                let Some(inode) = self.open_inode(core, *file) else { return };
                let blocks = to.saturating_sub(*from) / 4096;
                let until = from + random.below(blocks + 1) * 4096;
                let room = self.room_for(core, op);
                if self.validate(core, op).is_ok()
                    && room
                    && let Some(file) = self.files.get_mut(&inode)
                {
                    file.reserve(until);
                }
            }
            DiskOp::RemoveDir { path } if random.chance(1, 2) => self.tree.remove_dir_in_part(path, random),
            DiskOp::WriteFile { path, data } if random.chance(1, 2) => {
                // The temporary file is there, whole or in part; the rename did not happen.
                let temporary = format!("{path}.{}.tmp", core.0);
                let len = random.below(data.len() as u64 + 1) as usize;
                let inode = self.new_file();
                if let Some(file) = self.files.get_mut(&inode) {
                    file.write(0, &data[..len], true);
                }
                // No folder, no temporary file.
                let _ = self.tree.put_file(&temporary, inode);
            }
            DiskOp::Read { .. } | DiskOp::Stage { .. } => {}
            DiskOp::ReadFile { .. } | DiskOp::List { .. } | DiskOp::Close { .. } => {}
            _ if random.chance(1, 2) => {
                // Whole, though nobody was told; an error has no one to hear it either.
                let _ = self.execute(core, op, mark);
            }
            _ => {}
        }
    }

    /// The power is gone: what is in flight happens in part, what is not synced survives in part.
    pub fn power_cut(&mut self, random: &mut Prng) {
        self.cut_short(true, random);
        for file in self.files.values_mut() {
            file.power_cut(random);
        }
        self.drop_unnamed();
    }

    /// The process is gone: what is in flight happens in part, what is not synced is all there, and still not synced.
    pub fn process_dies(&mut self, random: &mut Prng) {
        self.cut_short(false, random);
        self.drop_unnamed();
    }

    fn cut_short(&mut self, durable: bool, random: &mut Prng) {
        let in_flight = std::mem::take(&mut self.in_flight);
        let mut order: Vec<_> = in_flight.into_iter().map(|((core, _), (op, mark))| (core, op, mark)).collect();
        for index in (1..order.len()).rev() {
            order.swap(index, random.below(index as u64 + 1) as usize);
        }
        for (core, op, mark) in order {
            self.half_done(core, &op, mark, durable, random);
        }
        self.handles.clear();
    }

    /// The node has stopped in order: its files are closed, nothing is lost.
    pub fn stopped(&mut self) {
        self.handles.clear();
        self.drop_unnamed();
    }

    fn drop_unnamed(&mut self) {
        let named = self.tree.inodes();
        self.files.retain(|inode, _| named.contains(inode));
    }

    /// Operations not yet answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Every file with its path, for those who look from outside.
    pub fn files(&self) -> impl Iterator<Item = (&str, &SimFile)> {
        self.tree.files().filter_map(|(path, inode)| Some((path, self.files.get(&inode)?)))
    }

    /// A file to change from outside: bit rot, or a mutation.
    pub fn file_mut(&mut self, path: &str) -> Option<&mut SimFile> {
        let inode = self.tree.file(path).ok()?;
        self.files.get_mut(&inode)
    }

    /// Removes a file from outside.
    pub fn lose(&mut self, path: &str) {
        // Not there: lost already.
        let _ = self.tree.remove(path);
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        let mut live = self.tree.inodes();
        live.extend(self.handles.values().filter_map(|handle| match handle {
            Handle::Open { inode, .. } => Some(*inode),
            Handle::Opening | Handle::Closing => None,
        }));
        live.iter().filter_map(|inode| self.files.get(inode)).map(SimFile::used).sum()
    }
}

/// Whether an operation changes what is on the disk.
pub fn changes(op: &DiskOp) -> bool {
    match op {
        DiskOp::Write { .. } | DiskOp::Sync { .. } | DiskOp::ZeroFill { .. } | DiskOp::SetLen { .. } => true,
        DiskOp::Reserve { .. } => true,
        DiskOp::WriteFile { .. } | DiskOp::MakeDir { .. } | DiskOp::Rename { .. } => true,
        DiskOp::Remove { .. } | DiskOp::RemoveDir { .. } => true,
        DiskOp::Open { mode, .. } => mode.create,
        DiskOp::Close { .. } | DiskOp::Read { .. } | DiskOp::Stage { .. } => false,
        DiskOp::ReadFile { .. } | DiskOp::List { .. } => false,
    }
}
