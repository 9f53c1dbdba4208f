//! The keeper of the data folder's checkpoint files. Lives on core 0, sees the whole node.
//!
//! At start it reads what the folder holds, has the journals written into the segments (`journal_start.rs`), and tells
//! every core. While the node runs it keeps the log start offsets
//! that DeleteRecords moved: one write of the file in flight, what arrives meanwhile goes into the next. At a clean
//! stop it writes the checkpoint files once every core has closed its logs.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::ids::CoreId;
use crate::base::time::{Mono, Now};
use crate::log::checkpoint::{decode_offsets, encode_offsets};
use crate::port::disk::{DiskErrorKind, DiskOp, DiskOutput, DiskResult, FileId};

use super::io::DiskDesk;
use super::journal_start::{JournalStart, Replayed};
use super::message::{AskKey, FolderFacts, LogCheckpoint, LogStart};

const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const LOG_STARTS: &str = "log-start-offset-checkpoint";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
/// A checkpoint line is at most a topic name, two numbers and blanks; this allows 200,000 partitions.
const CHECKPOINT_BYTES_MAX: u64 = 64 << 20;

/// How long to wait before trying again when the disk is full, milliseconds.
pub(super) const SPACE_RETRY_MS: u64 = 1000;

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
    cores: u16,
    /// The journals that a start found are being written into the segments.
    journals: Option<JournalStart>,
    /// What came of it, for people.
    replay_report: Option<String>,
    reads_left: u8,
    log_starts: BTreeMap<(String, i32), i64>,
    keeping: Vec<Keeper>,
    waiting: Vec<Keeper>,
    write_in_flight: bool,
    /// The disk was full: the write is tried again at this time, for all of `keeping`.
    retry_at: Option<Mono>,
    final_left: u8,
    final_error: Option<String>,
}

impl Folder {
    /// Starts reading the folder.
    pub fn start(clean: bool, cores: u16, desk: &mut DiskDesk) -> Folder {
        desk.folder(OP_LIST, DiskOp::List { path: String::new() });
        let read = |path: &str| DiskOp::ReadFile { path: path.to_string(), len_max: CHECKPOINT_BYTES_MAX };
        desk.folder(OP_READ_RECOVERY, read(RECOVERY_POINTS));
        desk.folder(OP_READ_STARTS, read(LOG_STARTS));
        Folder {
            facts: FolderFacts { clean, ..FolderFacts::default() },
            cores,
            journals: None,
            replay_report: None,
            reads_left: 3,
            log_starts: BTreeMap::new(),
            keeping: Vec::new(),
            waiting: Vec::new(),
            write_in_flight: false,
            retry_at: None,
            final_left: 0,
            final_error: None,
        }
    }

    /// What was found; complete once [`FolderEvent::Facts`] came.
    pub fn facts(&self) -> Arc<FolderFacts> {
        Arc::new(self.facts.clone())
    }

    /// An operation of the keeper was answered.
    pub fn complete(&mut self, id: u64, result: DiskResult, now: Now, desk: &mut DiskDesk) -> Option<FolderEvent> {
        match id {
            OP_LIST => match result {
                Ok(DiskOutput::Entries(entries)) => {
                    let files = entries.iter().filter(|entry| !entry.is_dir).map(|entry| entry.name.as_str());
                    self.journals = JournalStart::begin(files, self.cores, self.facts.clean, desk);
                    self.reads_left += u8::from(self.journals.is_some());
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
            OP_KEEP_STARTS => self.starts_written(result, now, desk),
            OP_CLEAN_UP => {
                if let Err(error) = result {
                    tracing::warn!("a deleted partition's folder stays: {}", error.detail);
                }
                None
            }
            _ => self.final_done(result),
        }
    }

    /// An operation of the journals' replay was answered. No log is loaded before the last one is. After a failure
    /// nobody waits for what the other segments still have in flight, and their file numbers stay taken.
    pub fn journals_step(
        &mut self,
        file: FileId,
        result: DiskResult,
        now: Now,
        desk: &mut DiskDesk,
    ) -> Option<FolderEvent> {
        match self.journals.as_mut()?.complete(file, result, now, desk)? {
            Replayed::Done(report) => {
                self.journals = None;
                self.replay_report = report;
                self.read_done()
            }
            Replayed::Failed(reason) => {
                self.journals = None;
                Some(FolderEvent::Failed(reason))
            }
        }
    }

    /// What the replay of the journals had to tell, once.
    pub fn take_replay_report(&mut self) -> Option<String> {
        self.replay_report.take()
    }

    fn read_done(&mut self) -> Option<FolderEvent> {
        self.reads_left -= 1;
        (self.reads_left == 0).then_some(FolderEvent::Facts)
    }

    /// Keeps new log starts; `Kept` names the asker once they are on stable storage.
    pub fn keep(&mut self, from: CoreId, key: AskKey, starts: Vec<LogStart>, desk: &mut DiskDesk) {
        for start in starts {
            // Two cores may tell of a partition that moved between them, the later one first.
            let kept = self.log_starts.entry((start.topic, start.partition)).or_insert(start.offset);
            *kept = start.offset.max(*kept);
        }
        self.waiting.push(Keeper::Job(from, key));
        self.write_starts(desk);
    }

    /// A full disk is waited for: what was deleted makes room when its segments go.
    fn starts_written(&mut self, result: DiskResult, now: Now, desk: &mut DiskDesk) -> Option<FolderEvent> {
        self.write_in_flight = false;
        match result {
            Err(error) if error.kind == DiskErrorKind::NoSpace => {
                tracing::warn!("{LOG_STARTS}: the disk is full: written again when there is room");
                self.retry_at = Some(now.mono.plus_ms(SPACE_RETRY_MS));
                None
            }
            Err(error) => Some(FolderEvent::Failed(format!("cannot write {LOG_STARTS}: {}", error.detail))),
            Ok(_) => {
                let kept = std::mem::take(&mut self.keeping);
                self.write_starts(desk);
                Some(FolderEvent::Kept(kept))
            }
        }
    }

    /// Tries again what found no room, when its time has come.
    pub fn wake(&mut self, now: Now, desk: &mut DiskDesk) {
        if self.retry_at.is_some_and(|at| at <= now.mono) {
            self.retry_at = None;
            self.write_starts(desk);
        }
        if let Some(journals) = &mut self.journals {
            journals.wake(now, desk);
        }
    }

    pub fn next_wake(&self) -> Option<Mono> {
        let journals = self.journals.as_ref().and_then(|journals| journals.next_wake());
        self.retry_at.into_iter().chain(journals).min()
    }

    fn write_starts(&mut self, desk: &mut DiskDesk) {
        let nobody = self.waiting.is_empty() && self.keeping.is_empty();
        if self.write_in_flight || self.retry_at.is_some() || nobody {
            return;
        }
        self.keeping.append(&mut self.waiting);
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
        // The file is written with the others, and nobody is left to be answered.
        self.retry_at = None;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::FileSlots;
    use crate::port::disk::DiskError;

    fn start(offset: i64) -> Vec<LogStart> {
        vec![LogStart { topic: "t".to_owned(), partition: 0, offset }]
    }

    #[test]
    fn log_starts_that_find_no_room_are_written_again_and_everyone_is_answered_then() {
        let mut desk = DiskDesk::new(FileSlots::new(0, 4), 0);
        let mut folder = Folder::start(true, 1, &mut desk);
        let mut now = Now { mono: Mono(1), wall_ms: 0 };
        let full = || Err(DiskError { kind: DiskErrorKind::NoSpace, detail: "full".to_owned() });
        desk.outgoing.clear();
        folder.keep(CoreId(0), 1, start(5), &mut desk);
        assert_eq!(desk.outgoing.len(), 1);
        assert_eq!(folder.complete(OP_KEEP_STARTS, full(), now, &mut desk), None, "a full disk is no failure");
        folder.keep(CoreId(1), 2, start(7), &mut desk);
        folder.wake(now, &mut desk);
        assert_eq!(desk.outgoing.len(), 1, "not before its time");
        let at = folder.next_wake().expect("it is tried again");
        now.mono = at;
        folder.wake(now, &mut desk);
        assert_eq!((desk.outgoing.len(), folder.next_wake()), (2, None));
        let Some((_, DiskOp::WriteFile { path, data })) = desk.outgoing.pop() else { panic!("a file is written") };
        assert_eq!(path, LOG_STARTS);
        assert!(std::str::from_utf8(&data).is_ok_and(|text| text.contains("t 0 7")), "{data:?}");
        let kept = folder.complete(OP_KEEP_STARTS, Ok(DiskOutput::Done), now, &mut desk);
        let all = vec![Keeper::Job(CoreId(0), 1), Keeper::Job(CoreId(1), 2)];
        assert_eq!(kept, Some(FolderEvent::Kept(all)));
        assert_eq!(desk.outgoing.len(), 1, "nothing more is asked");
    }
}
