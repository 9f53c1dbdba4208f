//! What a start does before any log is loaded: the journals of all cores that a crash left are written into the
//! segments, then emptied; journals of cores that are no more are removed. Lives on core 0, sees the whole node.
//!
//! ```text
//!   Open ─► Head ─► Read … ─► for each segment: Metadata ─► Segment ─► Writes ─► Sync ─► Leave
//!        ─► Empty ─► Close ─► next
//! ```
//! A crash anywhere in between leaves a journal that is written again: no log has been changed by anything else. Bytes
//! go where they lay, never behind the end of the file, and only into a segment that is there in a folder that is the
//! same topic's.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::ids::Uuid;
use crate::log::checkpoint::decode_partition_metadata;
use crate::log::journal::codec::{DATA_START, Superblock, empty_superblocks};
use crate::log::journal::replay::{Placed, Target, Walk};
use crate::log::journal::{core_of, file_name};
use crate::port::disk::{DiskErrorKind, DiskOp, DiskOutput, DiskResult, FileId, OpenMode};

use super::io::DiskDesk;

/// More than `partition.metadata` ever holds, bytes.
const METADATA_BYTES_MAX: u64 = 4096;

#[derive(Debug)]
enum Stage {
    Open,
    Head { len: u64 },
    Read(Box<Walk>),
    Metadata,
    Segment,
    Writes { left: usize },
    Sync,
    Leave,
    Empty,
    Close,
    Remove,
}

/// The dialogue, one journal after another.
#[derive(Debug)]
pub struct JournalStart {
    /// Cores whose journals are still to be looked at.
    cores: VecDeque<u16>,
    /// How many cores the node has now.
    cores_now: u16,
    /// The node was stopped in order: whoever wrote since, a journal that still holds something is not of the logs.
    clean: bool,
    core: u16,
    stage: Stage,
    file: Option<FileId>,
    segment_file: Option<FileId>,
    targets: VecDeque<(Target, Vec<Placed>)>,
    /// For people: segments and bytes written, segments that are gone.
    written: (u64, u64),
    passed_over: u64,
    notes: Vec<String>,
}

/// The end of the dialogue.
#[derive(Debug, PartialEq, Eq)]
pub enum Replayed {
    /// What there was to tell, if anything.
    Done(Option<String>),
    Failed(String),
}

impl JournalStart {
    /// Begins with the names of the files in the data folder. `None`: there is no journal.
    pub fn begin<'a>(
        names: impl Iterator<Item = &'a str>,
        cores_now: u16,
        clean: bool,
        desk: &mut DiskDesk,
    ) -> Option<JournalStart> {
        let cores: VecDeque<u16> = names.filter_map(core_of).collect();
        let mut start = JournalStart {
            cores,
            cores_now,
            clean,
            core: 0,
            stage: Stage::Close,
            file: desk.take_file(),
            segment_file: desk.take_file(),
            targets: VecDeque::new(),
            written: (0, 0),
            passed_over: 0,
            notes: Vec::new(),
        };
        if start.next_journal(desk) {
            return Some(start);
        }
        start.give_files(desk);
        None
    }

    fn give_files(&mut self, desk: &mut DiskDesk) {
        for file in self.file.take().into_iter().chain(self.segment_file.take()) {
            desk.give_file(file);
        }
    }

    fn next_journal(&mut self, desk: &mut DiskDesk) -> bool {
        let (Some(core), Some(file)) = (self.cores.pop_front(), self.file) else { return false };
        (self.core, self.stage) = (core, Stage::Open);
        let mode = OpenMode { direct: false, create: false };
        desk.journal_start(DiskOp::Open { file, path: file_name(core), mode });
        true
    }

    /// An operation was answered.
    pub fn complete(&mut self, result: DiskResult, desk: &mut DiskDesk) -> Option<Replayed> {
        match self.step(result, desk) {
            Ok(false) => None,
            Ok(true) => {
                self.give_files(desk);
                Some(Replayed::Done(self.report()))
            }
            Err(reason) => Some(Replayed::Failed(format!("{}: {reason}", file_name(self.core)))),
        }
    }

    fn report(&self) -> Option<String> {
        let (segments, bytes) = self.written;
        let mut parts = self.notes.clone();
        if segments > 0 || self.passed_over > 0 {
            parts.push(format!("{bytes} bytes written into {segments} segments, {} are gone", self.passed_over));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// True: everything is done.
    fn step(&mut self, result: DiskResult, desk: &mut DiskDesk) -> Result<bool, String> {
        let (Some(file), Some(segment_file)) = (self.file, self.segment_file) else {
            return Err("too few files may be open".to_string());
        };
        match std::mem::replace(&mut self.stage, Stage::Close) {
            Stage::Open => {
                let DiskOutput::Opened { len } = result.map_err(|error| error.detail)? else {
                    return Err("opened with another answer".to_string());
                };
                self.stage = Stage::Head { len };
                desk.journal_start(DiskOp::Read { file, position: 0, len: DATA_START as u32 });
            }
            Stage::Head { len } => self.head_read(len, &data(result)?, desk)?,
            Stage::Read(mut walk) => {
                walk.feed(data(result)?);
                self.walk_on(walk, desk);
            }
            Stage::Metadata => self.metadata_read(result, desk)?,
            Stage::Segment => self.segment_opened(result, desk)?,
            Stage::Writes { left } => {
                result.map_err(|error| error.detail)?;
                self.stage = Stage::Writes { left: left - 1 };
                if left == 1 {
                    self.stage = Stage::Sync;
                    desk.journal_start(DiskOp::Sync { file: segment_file });
                }
            }
            Stage::Sync => {
                result.map_err(|error| error.detail)?;
                self.leave_segment(desk);
            }
            Stage::Leave => {
                self.targets.pop_front();
                self.next_target(desk);
            }
            Stage::Empty => {
                result.map_err(|error| error.detail)?;
                self.close(desk);
            }
            Stage::Close if self.core >= self.cores_now => {
                self.stage = Stage::Remove;
                desk.journal_start(DiskOp::Remove { path: file_name(self.core) });
            }
            Stage::Close => return Ok(!self.next_journal(desk)),
            Stage::Remove => {
                result.map_err(|error| error.detail)?;
                return Ok(!self.next_journal(desk));
            }
        }
        Ok(false)
    }

    fn head_read(&mut self, len: u64, head: &[u8], desk: &mut DiskDesk) -> Result<(), String> {
        let newest = Superblock::newest(head);
        let newest = newest.map_err(|version| format!("version {} of the journal is not known here", version.0))?;
        match newest {
            None => self.close(desk),
            Some(superblock) if self.clean => {
                self.notes.push(format!("{}: not replayed, as the stop was clean", file_name(self.core)));
                tracing::debug!("the journal of incarnation {} was left full", superblock.incarnation);
                self.empty(desk);
            }
            Some(superblock) => self.walk_on(Box::new(Walk::new(&superblock, len)), desk),
        }
        Ok(())
    }

    fn walk_on(&mut self, mut walk: Box<Walk>, desk: &mut DiskDesk) {
        match (walk.next_read(), self.file) {
            (Some((position, len)), Some(file)) => {
                desk.journal_start(DiskOp::Read { file, position, len });
                self.stage = Stage::Read(walk);
            }
            _ => {
                self.targets = walk.finish().into();
                self.next_target(desk);
            }
        }
    }

    fn next_target(&mut self, desk: &mut DiskDesk) {
        match self.targets.front() {
            Some((target, _)) => {
                self.stage = Stage::Metadata;
                let path = target.metadata_path();
                desk.journal_start(DiskOp::ReadFile { path, len_max: METADATA_BYTES_MAX });
            }
            None => self.empty(desk),
        }
    }

    /// The segment is not there any more, or is another topic's.
    fn pass_over(&mut self, desk: &mut DiskDesk) {
        self.passed_over += 1;
        self.targets.pop_front();
        self.next_target(desk);
    }

    /// A file that cannot be read says nothing: loading the log makes it again.
    fn metadata_read(&mut self, result: DiskResult, desk: &mut DiskDesk) -> Result<(), String> {
        let (Some((target, _)), Some(file)) = (self.targets.front(), self.segment_file) else { return Ok(()) };
        let found: Option<Uuid> = match result {
            Ok(DiskOutput::Data(bytes)) => {
                std::str::from_utf8(&bytes).ok().and_then(|text| decode_partition_metadata(text).ok())
            }
            Ok(_) => None,
            Err(error) if matches!(error.kind, DiskErrorKind::NotFound | DiskErrorKind::TooLarge) => None,
            Err(error) => return Err(error.detail),
        };
        if found.is_some_and(|id| id != target.topic_id) {
            self.pass_over(desk);
            return Ok(());
        }
        self.stage = Stage::Segment;
        let mode = OpenMode { direct: false, create: false };
        desk.journal_start(DiskOp::Open { file, path: target.path(), mode });
        Ok(())
    }

    fn segment_opened(&mut self, result: DiskResult, desk: &mut DiskDesk) -> Result<(), String> {
        let (Some((target, pieces)), Some(file)) = (self.targets.front_mut(), self.segment_file) else {
            return Ok(());
        };
        let len = match result {
            Ok(DiskOutput::Opened { len }) => len,
            Ok(_) => return Err("opened with another answer".to_string()),
            Err(error) if error.kind == DiskErrorKind::NotFound => {
                self.pass_over(desk);
                return Ok(());
            }
            Err(error) => return Err(error.detail),
        };
        let pieces = std::mem::take(pieces);
        let (inside, outside): (Vec<Placed>, Vec<Placed>) =
            pieces.into_iter().partition(|(position, bytes)| position + bytes.len() as u64 <= len);
        if let Some((position, _)) = outside.first() {
            self.notes.push(format!("{}: it ends at {len}, before {position}", target.path()));
        }
        if inside.is_empty() {
            self.leave_segment(desk);
            return Ok(());
        }
        self.written.0 += 1;
        self.written.1 += inside.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        self.stage = Stage::Writes { left: inside.len() };
        for (position, data) in inside {
            desk.journal_start(DiskOp::Write { file, position, data, sync: false });
        }
        Ok(())
    }

    fn leave_segment(&mut self, desk: &mut DiskDesk) {
        self.stage = Stage::Leave;
        if let Some(file) = self.segment_file {
            desk.journal_start(DiskOp::Close { file });
        }
    }

    fn empty(&mut self, desk: &mut DiskDesk) {
        self.stage = Stage::Empty;
        if let Some(file) = self.file {
            desk.journal_start(DiskOp::Write { file, position: 0, data: empty_superblocks(), sync: true });
        }
    }

    fn close(&mut self, desk: &mut DiskDesk) {
        self.stage = Stage::Close;
        if let Some(file) = self.file {
            desk.journal_start(DiskOp::Close { file });
        }
    }
}

fn data(result: DiskResult) -> Result<Bytes, String> {
    match result {
        Ok(DiskOutput::Data(data)) => Ok(data),
        Ok(_) => Err("read with another answer".to_string()),
        Err(error) => Err(error.detail),
    }
}
