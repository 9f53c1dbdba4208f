//! The keeper of the data folder's checkpoint files. Lives on core 0, sees the whole node.
//!
//! At start it reads what the folder holds and tells every core. While the node runs it keeps the log start offsets
//! that DeleteRecords moved: one write of the file in flight, what arrives meanwhile goes into the next. At a clean
//! stop it writes the checkpoint files once every core has closed its logs.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::ids::CoreId;
use crate::log::checkpoint::{decode_offsets, encode_offsets};
use crate::port::disk::{DiskErrorKind, DiskOp, DiskOutput, DiskResult};

use super::io::DiskDesk;
use super::message::{AskKey, FolderFacts, LogCheckpoint, LogStart};

const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const LOG_STARTS: &str = "log-start-offset-checkpoint";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
/// A checkpoint line is at most a topic name, two numbers and blanks; this allows 200,000 partitions.
const CHECKPOINT_BYTES_MAX: u64 = 64 << 20;

const OP_LIST: u64 = 0;
const OP_READ_RECOVERY: u64 = 1;
const OP_READ_STARTS: u64 = 2;
const OP_KEEP_STARTS: u64 = 3;
const OP_FINAL: u64 = 4;
const OP_CLEAN_UP: u64 = 5;

/// What the keeper wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum FolderEvent {
    /// Start is done.
    Facts,
    /// These log starts are on stable storage: (core, key of its delete job).
    Kept(Vec<Keeper>),
    /// The checkpoint files of a clean stop are written: core 0 may stop.
    Finished,
    /// They could not be written; core 0 may stop all the same.
    NotFinished(String),
    Failed(String),
}

/// Who waits until the log starts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// A delete job.
    Job(CoreId, AskKey),
    /// The removal of a topic, by the end of its record: its log starts must be gone before its name is free.
    Removal(i64),
}

#[derive(Debug)]
pub struct Folder {
    facts: FolderFacts,
    reads_left: u8,
    log_starts: BTreeMap<(String, i32), i64>,
    keeping: Vec<Keeper>,
    waiting: Vec<Keeper>,
    write_in_flight: bool,
    final_left: u8,
    final_error: Option<String>,
}

impl Folder {
    /// Starts reading the folder.
    pub fn start(clean: bool, desk: &mut DiskDesk) -> Folder {
        desk.folder(OP_LIST, DiskOp::List { path: String::new() });
        let read = |path: &str| DiskOp::ReadFile { path: path.to_string(), len_max: CHECKPOINT_BYTES_MAX };
        desk.folder(OP_READ_RECOVERY, read(RECOVERY_POINTS));
        desk.folder(OP_READ_STARTS, read(LOG_STARTS));
        Folder {
            facts: FolderFacts { clean, ..FolderFacts::default() },
            reads_left: 3,
            log_starts: BTreeMap::new(),
            keeping: Vec::new(),
            waiting: Vec::new(),
            write_in_flight: false,
            final_left: 0,
            final_error: None,
        }
    }

    /// What was found; complete once [`FolderEvent::Facts`] came.
    pub fn facts(&self) -> Arc<FolderFacts> {
        Arc::new(self.facts.clone())
    }

    /// An operation of the keeper was answered.
    pub fn complete(&mut self, id: u64, result: DiskResult, desk: &mut DiskDesk) -> Option<FolderEvent> {
        match id {
            OP_LIST => match result {
                Ok(DiskOutput::Entries(entries)) => {
                    for entry in entries.into_iter().filter(|entry| entry.is_dir) {
                        if entry.name.ends_with("-delete") {
                            desk.folder(OP_CLEAN_UP, DiskOp::RemoveDir { path: entry.name });
                        } else {
                            self.facts.folders.insert(entry.name);
                        }
                    }
                    self.read_done()
                }
                other => Some(FolderEvent::Failed(format!("cannot list the data folder: {other:?}"))),
            },
            OP_READ_RECOVERY => match read_checkpoint(RECOVERY_POINTS, result) {
                Ok(offsets) => {
                    self.facts.recovery_points = offsets;
                    self.read_done()
                }
                Err(message) => Some(FolderEvent::Failed(message)),
            },
            OP_READ_STARTS => match read_checkpoint(LOG_STARTS, result) {
                Ok(offsets) => {
                    self.log_starts = offsets.clone();
                    self.facts.log_starts = offsets;
                    self.read_done()
                }
                Err(message) => Some(FolderEvent::Failed(message)),
            },
            OP_KEEP_STARTS => {
                self.write_in_flight = false;
                if let Err(error) = result {
                    return Some(FolderEvent::Failed(format!("cannot write {LOG_STARTS}: {}", error.detail)));
                }
                let kept = std::mem::take(&mut self.keeping);
                self.write_starts(desk);
                Some(FolderEvent::Kept(kept))
            }
            OP_CLEAN_UP => {
                if let Err(error) = result {
                    tracing::warn!("a deleted partition's folder stays: {}", error.detail);
                }
                None
            }
            _ => self.final_done(result),
        }
    }

    fn read_done(&mut self) -> Option<FolderEvent> {
        self.reads_left -= 1;
        (self.reads_left == 0).then_some(FolderEvent::Facts)
    }

    /// Keeps new log starts; `Kept` names the asker once they are on stable storage.
    pub fn keep(&mut self, from: CoreId, key: AskKey, starts: Vec<LogStart>, desk: &mut DiskDesk) {
        for start in starts {
            self.log_starts.insert((start.topic, start.partition), start.offset);
        }
        self.waiting.push(Keeper::Job(from, key));
        self.write_starts(desk);
    }

    fn write_starts(&mut self, desk: &mut DiskDesk) {
        if self.write_in_flight || self.waiting.is_empty() {
            return;
        }
        self.keeping = std::mem::take(&mut self.waiting);
        self.write_in_flight = true;
        let data = encode_map(&self.log_starts);
        desk.folder(OP_KEEP_STARTS, DiskOp::WriteFile { path: LOG_STARTS.to_string(), data });
    }

    /// A topic is gone, and its log starts with it. True: `Kept` will name the removal that ends at `end`.
    pub fn forget_topic(&mut self, topic: &str, end: i64, desk: &mut DiskDesk) -> bool {
        let before = self.log_starts.len();
        self.log_starts.retain(|(name, _), _| name != topic);
        if self.log_starts.len() == before {
            return false;
        }
        self.waiting.push(Keeper::Removal(end));
        self.write_starts(desk);
        true
    }

    /// Writes the checkpoint files of a clean stop.
    pub fn finish(&mut self, logs: &[LogCheckpoint], desk: &mut DiskDesk) {
        let column = |value: fn(&LogCheckpoint) -> i64| -> Bytes {
            let map = logs.iter().map(|log| ((log.topic.clone(), log.partition), value(log))).collect();
            encode_map(&map)
        };
        let starts: BTreeMap<_, _> = logs
            .iter()
            .filter(|log| log.log_start > 0)
            .map(|log| ((log.topic.clone(), log.partition), log.log_start))
            .collect();
        let files = [
            (RECOVERY_POINTS, column(|log| log.recovery_point)),
            (HIGH_WATERMARKS, column(|log| log.high_watermark)),
            (LOG_STARTS, encode_map(&starts)),
        ];
        self.final_left = files.len() as u8;
        for (path, data) in files {
            desk.folder(OP_FINAL, DiskOp::WriteFile { path: path.to_string(), data });
        }
    }

    fn final_done(&mut self, result: DiskResult) -> Option<FolderEvent> {
        self.final_left = self.final_left.saturating_sub(1);
        if let Err(error) = result {
            self.final_error = Some(format!("cannot write the checkpoint files: {}", error.detail));
        }
        if self.final_left > 0 {
            return None;
        }
        Some(self.final_error.take().map_or(FolderEvent::Finished, FolderEvent::NotFinished))
    }
}

fn encode_map(map: &BTreeMap<(String, i32), i64>) -> Bytes {
    Bytes::from(encode_offsets(map))
}

fn read_checkpoint(name: &str, result: DiskResult) -> Result<BTreeMap<(String, i32), i64>, String> {
    match result {
        Ok(DiskOutput::Data(data)) => std::str::from_utf8(&data)
            .map_err(|error| format!("{name}: {error}"))
            .and_then(|text| decode_offsets(text).map_err(|error| format!("{name}: {error}"))),
        Ok(other) => Err(format!("{name}: the disk answered {other:?}")),
        Err(error) if error.kind == DiskErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(format!("{name}: {}", error.detail)),
    }
}
