//! Loading a log: a dialogue of operations from the listing of its folder to [`LogEvent::Ready`].
//!
//! ```text
//!   List → Clean (leftovers) → Swaps → Metadata → Epochs → Snapshot → scan, segment by segment (recover.rs)
//!        → Cut (later segments newest first, then the tail) → Tail (first and last block) → Ready
//! ```
//! The scan begins at the newest producer snapshot at or below the recovery point; what lies below is trusted. After a
//! clean stop that snapshot lies at the log end, so nothing but the blocks behind the last index entry is read. A
//! truncation comes this way too, with a limit. Each step is such that a crash after it leaves a folder from which the
//! next start comes to the same end.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::base::ids::Uuid;
use crate::base::time::Now;
use crate::port::disk::{DirEntry, DiskError, DiskErrorKind, DiskOp, DiskOutput, DiskResult};

use super::checkpoint;
use super::epochs::EpochCache;
use super::names::{self, FileKind, Leftover, Name, SMALL_FILE_MAX};
use super::ops::Op;
use super::producers::ProducerStates;
use super::recover::SegmentScan;
use super::types::{LoadHints, LogConfig, LogEvent, LogOut, RecoveryReport};
use super::{PartitionLog, Phase};

/// Where the dialogue stands: what the operation in flight is for.
#[derive(Debug)]
pub(super) enum Stage {
    List,
    /// Working through `todo`, then on to what follows.
    Todo(After),
    Metadata,
    Epochs,
    Snapshot(i64),
    /// A segment or a swap file is being scanned.
    Scan,
    /// Waiting for the file of the active segment.
    TailFile,
    /// The first and the last block of the active segment are being read.
    FirstBlock,
    LastBlock,
}

/// What comes after a list of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Leftovers are gone.
    Swaps,
    /// A swap took the place of its originals: list again.
    List,
    MetadataWritten,
    /// The scanned segment is final: the next one.
    NextSegment,
    /// Everything behind the log end is gone.
    Cut,
    /// Everything is gone; begin anew at this offset.
    Fresh(i64),
}

/// What is known while a log is being loaded.
#[derive(Debug)]
pub(super) struct Loader {
    pub hints: LoadHints,
    /// Cut the log to this offset.
    pub limit: Option<i64>,
    /// Drop everything and begin here.
    pub restart_at: Option<i64>,
    /// A truncation, not a start.
    pub truncating: bool,
    pub stage: Stage,
    pub todo: VecDeque<DiskOp>,
    /// The next of them found no room and is to be tried again.
    pub again: bool,
    /// Base offset → bytes, of the `.log` files.
    pub logs: BTreeMap<i64, u64>,
    /// The other files of segments: offset and kind → bytes.
    pub others: BTreeMap<(FileKind, i64), u64>,
    /// Base offset → bytes, of `.log.swap` files not looked at yet.
    pub swaps: BTreeMap<i64, u64>,
    /// Index files that are to follow a swap.
    pub swap_indexes: Vec<(FileKind, i64)>,
    pub has_metadata: bool,
    pub has_epochs: bool,
    /// The epochs on record, as far as they could be read.
    pub known_epochs: Option<EpochCache>,
    /// From this offset on the epochs are taken from the batches.
    pub epochs_from: i64,
    /// Snapshots to try, newest last.
    pub candidates: Vec<i64>,
    pub producers: ProducerStates,
    /// Where the scan of producers begins.
    pub snapshot: Option<i64>,
    pub scan: Option<Box<SegmentScan>>,
    pub report: RecoveryReport,
}

impl Loader {
    fn new(hints: LoadHints) -> Loader {
        Loader {
            hints,
            limit: None,
            restart_at: None,
            truncating: false,
            stage: Stage::List,
            todo: VecDeque::new(),
            again: false,
            logs: BTreeMap::new(),
            others: BTreeMap::new(),
            swaps: BTreeMap::new(),
            swap_indexes: Vec::new(),
            has_metadata: false,
            has_epochs: false,
            known_epochs: None,
            epochs_from: 0,
            candidates: Vec::new(),
            producers: ProducerStates::new(),
            snapshot: None,
            scan: None,
            report: RecoveryReport::default(),
        }
    }

    pub fn note(&mut self, text: impl Into<String>) {
        self.report.notes.push(text.into());
    }

    /// Puts down that a file is to go for good. A removal alone may be undone by a power cut; a renaming is not, and
    /// what is left of it is removed by the next start.
    fn discard(&mut self, dir: &str, kind: FileKind, offset: i64) {
        let from = names::path(dir, kind, offset);
        let to = names::leftover_path(dir, kind, offset, Leftover::Deleted);
        self.todo.push_back(DiskOp::Rename { from, to: to.clone() });
        self.todo.push_back(DiskOp::Remove { path: to });
    }

    /// Puts down that all files of a segment are to go, the `.log` first: without it the others are orphans. The
    /// snapshot at its base stays: it is of what lies before.
    pub fn remove_segment(&mut self, dir: &str, base: i64) {
        self.discard(dir, FileKind::Log, base);
        self.logs.remove(&base);
        for kind in [FileKind::Index, FileKind::TimeIndex, FileKind::TxnIndex] {
            if self.others.remove(&(kind, base)).is_some() {
                self.todo.push_back(DiskOp::Remove { path: names::path(dir, kind, base) });
            }
        }
    }

    /// Puts down that a snapshot is to go.
    pub fn remove_snapshot(&mut self, dir: &str, offset: i64) {
        self.candidates.retain(|&candidate| candidate != offset);
        if self.others.remove(&(FileKind::Snapshot, offset)).is_some() {
            self.discard(dir, FileKind::Snapshot, offset);
        }
    }

    /// Puts down that snapshots above `offset` are to go.
    pub fn remove_snapshots_above(&mut self, dir: &str, offset: i64) {
        for above in self.snapshots().into_iter().filter(|&at| at > offset) {
            self.remove_snapshot(dir, above);
        }
    }

    /// Snapshots that a recovery may begin from, in order.
    pub fn usable_snapshots(&self) -> Vec<i64> {
        let upper = match self.hints.recovery_point {
            Some(point) if !self.hints.clean => point,
            _ => i64::MAX,
        };
        self.snapshots().into_iter().filter(|&at| at <= upper).collect()
    }

    pub fn snapshots(&self) -> Vec<i64> {
        self.others.keys().filter(|(kind, _)| *kind == FileKind::Snapshot).map(|&(_, offset)| offset).collect()
    }
}

impl PartitionLog {
    /// Loads the log in a folder, scanning and repairing what an unclean stop left behind. [`LogEvent::Ready`] follows,
    /// or [`LogEvent::Failed`]; [`PartitionLog::take_report`] tells what was found.
    pub fn load(
        dir: String,
        topic_id: Uuid,
        config: LogConfig,
        hints: LoadHints,
        now: Now,
        out: &mut LogOut,
    ) -> PartitionLog {
        let mut log = PartitionLog::blank(dir, topic_id, config, Phase::Loading);
        log.clock = now;
        log.begin_load(hints, None, None, false, out);
        log
    }

    /// Starts the dialogue; also for a truncation, which has a limit or a new beginning.
    pub(super) fn begin_load(
        &mut self,
        hints: LoadHints,
        limit: Option<i64>,
        restart_at: Option<i64>,
        truncating: bool,
        out: &mut LogOut,
    ) {
        self.phase = Phase::Loading;
        let loader = Loader { limit, restart_at, truncating, ..Loader::new(hints) };
        self.loader = Some(Box::new(loader));
        let path = self.dir.clone();
        self.ask(Op::Load, DiskOp::List { path }, out);
    }

    /// An operation of the dialogue was answered.
    pub(super) fn load_answer(&mut self, result: DiskResult, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        let Some(mut loader) = self.loader.take() else { return };
        let done = self.load_step(&mut loader, result, now, out);
        if loader.again {
            self.set_no_space(events);
            self.retry_soon(now.mono);
        }
        self.after_step(loader, done, now, out, events);
    }

    /// Keeps the dialogue going, or ends it.
    pub(super) fn after_step(
        &mut self,
        loader: Box<Loader>,
        done: Result<(), String>,
        now: Now,
        out: &mut LogOut,
        events: &mut Vec<LogEvent>,
    ) {
        match done {
            Ok(()) if self.phase == Phase::Loading => self.loader = Some(loader),
            Ok(()) => self.loaded(*loader, now, out, events),
            Err(reason) => self.fail(format!("loading: {reason}"), events),
        }
    }

    fn load_step(&mut self, loader: &mut Loader, result: DiskResult, now: Now, out: &mut LogOut) -> Result<(), String> {
        match loader.stage {
            Stage::List => match result {
                Ok(DiskOutput::Entries(entries)) => self.listed(loader, entries, out),
                other => Err(problem("listing the folder", other)),
            },
            Stage::Todo(after) => {
                let step = loader.todo.pop_front();
                match (result, &step) {
                    (Ok(_), _) => {}
                    (Err(error), Some(step)) if is_harmless(step, &error) => {
                        loader.note(format!("{}: {}", describe(step), error.detail));
                    }
                    (Err(error), Some(step)) if error.kind == DiskErrorKind::NoSpace => {
                        // Nothing is wrong with the log: the start waits for room.
                        loader.todo.push_front(step.clone());
                        loader.again = true;
                        return Ok(());
                    }
                    (Err(error), step) => return Err(describe_failure(step.as_ref(), &error)),
                }
                self.run_todo(loader, after, now, out)
            }
            Stage::Metadata => self.metadata_read(loader, result, now, out),
            Stage::Epochs => {
                self.epochs_read(loader, result);
                self.list_candidates(loader, now, out)
            }
            Stage::Snapshot(offset) => self.snapshot_read(loader, offset, result, now, out),
            Stage::Scan => self.scan_answer(loader, result, now, out),
            Stage::FirstBlock => self.first_block_read(loader, result, now, out),
            Stage::LastBlock => self.last_block_read(loader, result),
            Stage::TailFile => Err("an answer without a question".to_string()),
        }
    }

    /// Runs the listed operations one after another, then goes on.
    pub(super) fn run_todo(
        &mut self,
        loader: &mut Loader,
        after: After,
        now: Now,
        out: &mut LogOut,
    ) -> Result<(), String> {
        if let Some(step) = loader.todo.front().cloned() {
            loader.stage = Stage::Todo(after);
            self.ask(Op::Load, step, out);
            return Ok(());
        }
        match after {
            After::Swaps => self.next_swap(loader, now, out),
            After::List => {
                let (hints, limit, restart_at) = (loader.hints, loader.limit, loader.restart_at);
                let report = std::mem::take(&mut loader.report);
                let truncating = loader.truncating;
                *loader = Loader { limit, restart_at, truncating, report, ..Loader::new(hints) };
                let path = self.dir.clone();
                self.ask(Op::Load, DiskOp::List { path }, out);
                Ok(())
            }
            After::MetadataWritten => self.read_epochs(loader, now, out),
            After::NextSegment => self.next_segment_scan(loader, now, out),
            After::Cut => self.read_tail(loader, now, out),
            After::Fresh(offset) => {
                self.begin_first_segment(offset, now);
                self.epochs.clear();
                self.epochs_file.dirty = true;
                self.phase = Phase::Ready;
                Ok(())
            }
        }
    }

    /// Sorts the names in the folder and cleans up after interrupted changes.
    fn listed(&mut self, loader: &mut Loader, entries: Vec<DirEntry>, out: &mut LogOut) -> Result<(), String> {
        let dir = self.dir.clone();
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            match names::parse(&entry.name) {
                Name::Segment(FileKind::Log, base) => {
                    loader.logs.insert(base, entry.len);
                }
                Name::Segment(kind, offset) => {
                    loader.others.insert((kind, offset), entry.len);
                }
                Name::Leftover(Leftover::Swap, FileKind::Log, base) => {
                    loader.swaps.insert(base, entry.len);
                }
                Name::Leftover(Leftover::Swap, kind, base) => loader.swap_indexes.push((kind, base)),
                Name::Leftover(Leftover::Deleted | Leftover::Cleaned, ..) | Name::Temporary => {
                    loader.todo.push_back(DiskOp::Remove { path: format!("{dir}/{}", entry.name) });
                }
                Name::Metadata => loader.has_metadata = true,
                Name::Epochs => loader.has_epochs = true,
                Name::Other => {}
            }
        }
        let swaps: Vec<i64> = loader.swaps.keys().copied().collect();
        for (kind, base) in loader.swap_indexes.extract_if(.., |(_, base)| !swaps.contains(base)) {
            // The segment itself is in place already; its index is made again when it is needed.
            let path = names::leftover_path(&dir, kind, base, Leftover::Swap);
            loader.todo.push_back(DiskOp::Remove { path });
        }
        let orphans: Vec<(FileKind, i64)> = loader
            .others
            .keys()
            .filter(|(kind, base)| *kind != FileKind::Snapshot && !loader.logs.contains_key(base))
            .filter(|(_, base)| !swaps.contains(base))
            .copied()
            .collect();
        for (kind, base) in orphans {
            loader.others.remove(&(kind, base));
            loader.todo.push_back(DiskOp::Remove { path: names::path(&dir, kind, base) });
        }
        self.run_todo(loader, After::Swaps, self.clock, out)
    }

    /// With the folder tidy: drop what a truncation drops, then the small files.
    pub(super) fn folder_is_tidy(&mut self, loader: &mut Loader, now: Now, out: &mut LogOut) -> Result<(), String> {
        if let Some(offset) = loader.restart_at {
            return self.restart(loader, offset, now, out);
        }
        if let Some(start) = loader.hints.log_start {
            // What no snapshot stands for is read once more: its producers go on. It goes when the log is ready.
            let known_to = loader.usable_snapshots().last().copied().unwrap_or(0);
            let bases: Vec<i64> = loader.logs.keys().copied().collect();
            let below = bases.windows(2).take_while(|pair| pair[1] <= start.min(known_to));
            for pair in below {
                loader.remove_segment(&self.dir, pair[0]);
            }
        }
        if let Some(limit) = loader.limit {
            // Before anything is cut: a snapshot above the cut must never be taken for one of what is appended later.
            let dir = self.dir.clone();
            loader.remove_snapshots_above(&dir, limit);
            // Syncs the folder: a snapshot removed earlier must not come back either.
            loader.has_metadata = false;
        }
        if loader.has_metadata {
            loader.stage = Stage::Metadata;
            let path = format!("{}/{}", self.dir, names::METADATA);
            self.ask(Op::Load, DiskOp::ReadFile { path, len_max: SMALL_FILE_MAX }, out);
            return Ok(());
        }
        let path = format!("{}/{}", self.dir, names::METADATA);
        let data = checkpoint::encode_partition_metadata(self.topic_id).into();
        loader.todo.push_back(DiskOp::WriteFile { path, data });
        self.run_todo(loader, After::MetadataWritten, now, out)
    }

    /// Removes everything, newest first, and begins anew at an offset.
    pub(super) fn restart(
        &mut self,
        loader: &mut Loader,
        offset: i64,
        now: Now,
        out: &mut LogOut,
    ) -> Result<(), String> {
        let dir = self.dir.clone();
        loader.remove_snapshots_above(&dir, -1);
        let bases: Vec<i64> = loader.logs.keys().rev().copied().collect();
        for base in bases {
            loader.remove_segment(&dir, base);
        }
        if !loader.has_metadata {
            let path = format!("{dir}/{}", names::METADATA);
            let data = checkpoint::encode_partition_metadata(self.topic_id).into();
            loader.todo.push_back(DiskOp::WriteFile { path, data });
        }
        self.drop_scanned(out);
        self.run_todo(loader, After::Fresh(offset), now, out)
    }

    fn metadata_read(
        &mut self,
        loader: &mut Loader,
        result: DiskResult,
        now: Now,
        out: &mut LogOut,
    ) -> Result<(), String> {
        let text = String::from_utf8(data_of("reading partition.metadata", result)?.to_vec()).ok();
        let found = text.as_deref().map(checkpoint::decode_partition_metadata);
        match found {
            Some(Ok(id)) if id == self.topic_id => {}
            Some(Ok(id)) => return Err(format!("the folder belongs to topic id {id}, not {}", self.topic_id)),
            _ => {
                loader.note("partition.metadata could not be read and was written again");
                let path = format!("{}/{}", self.dir, names::METADATA);
                let data = checkpoint::encode_partition_metadata(self.topic_id).into();
                loader.todo.push_back(DiskOp::WriteFile { path, data });
            }
        }
        self.run_todo(loader, After::MetadataWritten, now, out)
    }

    fn read_epochs(&mut self, loader: &mut Loader, now: Now, out: &mut LogOut) -> Result<(), String> {
        if !loader.has_epochs {
            return self.list_candidates(loader, now, out);
        }
        loader.stage = Stage::Epochs;
        let path = format!("{}/{}", self.dir, names::EPOCHS);
        self.ask(Op::Load, DiskOp::ReadFile { path, len_max: SMALL_FILE_MAX }, out);
        Ok(())
    }

    fn epochs_read(&mut self, loader: &mut Loader, result: DiskResult) {
        let text =
            data_of("reading it", result).and_then(|data| String::from_utf8(data.to_vec()).map_err(|e| e.to_string()));
        match text.map(|text| EpochCache::decode(&text)) {
            Ok(Ok(epochs)) => loader.known_epochs = Some(epochs),
            _ => loader.note("leader-epoch-checkpoint could not be read and is made again from the batches"),
        }
    }
}

/// Whether the log can do without a step that failed: what it wrote is made again from the batches.
fn is_harmless(step: &DiskOp, error: &DiskError) -> bool {
    let derived =
        |path: &str| [".index", ".timeindex", ".txnindex", ".snapshot"].iter().any(|suffix| path.ends_with(suffix));
    match step {
        DiskOp::WriteFile { path, .. } => error.kind == DiskErrorKind::NoSpace && derived(path),
        // Done by the attempt before this one, or never there.
        DiskOp::Rename { from, to } => {
            let optional = to.ends_with(".deleted") || derived(from.trim_end_matches(".swap"));
            error.kind == DiskErrorKind::NotFound && optional
        }
        _ => false,
    }
}

fn describe(step: &DiskOp) -> String {
    match step {
        DiskOp::WriteFile { path, .. } => format!("writing {path}"),
        DiskOp::Remove { path } => format!("removing {path}"),
        DiskOp::Rename { from, .. } => format!("renaming {from}"),
        DiskOp::SetLen { len, .. } => format!("cutting a segment to {len} bytes"),
        DiskOp::Sync { .. } => "syncing a segment".to_string(),
        _ => "a step".to_string(),
    }
}

fn describe_failure(step: Option<&DiskOp>, error: &DiskError) -> String {
    format!("{}: {}", step.map_or_else(|| "a step".to_string(), describe), error.detail)
}

/// The words for an answer that is not the one hoped for.
fn problem(what: &str, result: DiskResult) -> String {
    match result {
        Err(error) => format!("{what}: {}", error.detail),
        Ok(_) => format!("{what}: answered with something else"),
    }
}

/// The bytes that a read has brought, or the words for what it brought instead.
pub(super) fn data_of(what: &str, result: DiskResult) -> Result<Bytes, String> {
    match result {
        Ok(DiskOutput::Data(data)) => Ok(data),
        other => Err(problem(what, other)),
    }
}
