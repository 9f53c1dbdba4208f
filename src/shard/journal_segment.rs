//! One segment of the replay at start (`journal_start.rs`) on its way through the disk; several are in work at once,
//! each with a file number of its own. Lives on core 0, sees one segment.
//!
//! ```text
//!   Metadata ─► Open ─► Writes ─► Sync ─► Close
//!                         ▲  └──► Retry ◄──┘  the disk is full
//!                         └─────────┘
//! ```
//! A segment that is gone, or that is another topic's by now, is passed over; what lies behind a hole is not written.

use crate::base::ids::Uuid;
use crate::base::time::{Mono, Now};
use crate::log::checkpoint::decode_partition_metadata;
use crate::log::journal::file_name;
use crate::log::journal::replay::{Placed, Target};
use crate::port::disk::{DiskErrorKind, DiskOp, DiskOutput, DiskResult, FileId, OpenMode};

use super::folder::SPACE_RETRY_MS;
use super::io::DiskDesk;

/// More than `partition.metadata` ever holds, bytes.
const METADATA_BYTES_MAX: u64 = 4096;

#[derive(Debug)]
enum Stage {
    Metadata,
    Open,
    Writes {
        left: usize,
        no_space: bool,
    },
    /// The disk was full: written again at this time.
    Retry(Mono),
    Sync,
    Close,
}

/// What came of the segments, for people.
#[derive(Debug, Default)]
pub struct Tally {
    /// Segments that got bytes.
    pub segments: u64,
    pub bytes: u64,
    pub passed_over: u64,
    pub notes: Vec<String>,
}

/// A segment in work.
#[derive(Debug)]
pub struct Lane {
    /// The core whose journal has the bytes.
    core: u16,
    file: FileId,
    target: Target,
    pieces: Vec<Placed>,
    stage: Stage,
}

impl Lane {
    /// Begins with a segment; `file` is the lane's until its last answer.
    pub fn begin(core: u16, file: FileId, (target, pieces): (Target, Vec<Placed>), desk: &mut DiskDesk) -> Lane {
        let path = target.metadata_path();
        desk.journal_start(file, DiskOp::ReadFile { path, len_max: METADATA_BYTES_MAX });
        Lane { core, file, target, pieces, stage: Stage::Metadata }
    }

    /// The number of its file, by which its answers find it.
    pub fn file(&self) -> FileId {
        self.file
    }

    /// Whether it has the file in work that `other` would write, be it for another topic of the same name.
    pub fn shares_file(&self, other: &Target) -> bool {
        (&self.target.dir, self.target.segment) == (&other.dir, other.segment)
    }

    /// An operation was answered. True: the lane is done with its segment, and its file is closed.
    pub fn complete(
        &mut self,
        result: DiskResult,
        now: Now,
        tally: &mut Tally,
        desk: &mut DiskDesk,
    ) -> Result<bool, String> {
        match self.stage {
            Stage::Metadata => return self.metadata_read(result, tally, desk),
            Stage::Open => return self.opened(result, tally, desk),
            Stage::Writes { left, no_space } => {
                let no_space = is_full(&result)? || no_space;
                match left - 1 {
                    0 if no_space => self.retry_later(now),
                    0 => self.ask(Stage::Sync, DiskOp::Sync { file: self.file }, desk),
                    left => self.stage = Stage::Writes { left, no_space },
                }
            }
            // Nothing is in flight then.
            Stage::Retry(_) => {}
            Stage::Sync if is_full(&result)? => self.retry_later(now),
            Stage::Sync => self.close(desk),
            Stage::Close => return Ok(true),
        }
        Ok(false)
    }

    fn ask(&mut self, stage: Stage, op: DiskOp, desk: &mut DiskDesk) {
        self.stage = stage;
        desk.journal_start(self.file, op);
    }

    /// A file that cannot be read says nothing: loading the log makes it again.
    fn metadata_read(&mut self, result: DiskResult, tally: &mut Tally, desk: &mut DiskDesk) -> Result<bool, String> {
        let found: Option<Uuid> = match result {
            Ok(DiskOutput::Data(bytes)) => {
                std::str::from_utf8(&bytes).ok().and_then(|text| decode_partition_metadata(text).ok())
            }
            Ok(_) => None,
            Err(error) if matches!(error.kind, DiskErrorKind::NotFound | DiskErrorKind::TooLarge) => None,
            Err(error) => return Err(error.detail),
        };
        if found.is_some_and(|id| id != self.target.topic_id) {
            tally.passed_over += 1;
            return Ok(true);
        }
        let (file, path) = (self.file, self.target.path());
        let mode = OpenMode { direct: false, create: false };
        self.ask(Stage::Open, DiskOp::Open { file, path, mode }, desk);
        Ok(false)
    }

    fn opened(&mut self, result: DiskResult, tally: &mut Tally, desk: &mut DiskDesk) -> Result<bool, String> {
        let len = match result {
            Ok(DiskOutput::Opened { len }) => len,
            Ok(_) => return Err("opened with another answer".to_string()),
            Err(error) if error.kind == DiskErrorKind::NotFound => {
                tally.passed_over += 1;
                return Ok(true);
            }
            Err(error) => return Err(error.detail),
        };
        // The power may have gone before the file system put down how long the file is; a hole is something else.
        let mut end = len;
        let hole = self.pieces.iter().position(|(position, bytes)| {
            let touches = *position <= end;
            end = end.max(position + bytes.len() as u64);
            !touches
        });
        if let Some(at) = hole {
            tally.notes.push(format!("{}: nothing lies before {}", self.target.path(), self.pieces[at].0));
            self.pieces.truncate(at);
        }
        if self.pieces.is_empty() {
            self.close(desk);
            return Ok(false);
        }
        tally.segments += 1;
        tally.bytes += self.pieces.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        self.write(desk);
        Ok(false)
    }

    fn write(&mut self, desk: &mut DiskDesk) {
        self.stage = Stage::Writes { left: self.pieces.len(), no_space: false };
        for (position, data) in &self.pieces {
            let op = DiskOp::Write { file: self.file, position: *position, data: data.clone(), sync: false };
            desk.journal_start(self.file, op);
        }
    }

    fn retry_later(&mut self, now: Now) {
        self.stage = Stage::Retry(retry_at(self.core, &self.target.path(), now));
    }

    /// Tries again what found no room, when its time has come.
    pub fn wake(&mut self, now: Now, desk: &mut DiskDesk) {
        if self.next_wake().is_some_and(|at| at <= now.mono) {
            self.write(desk);
        }
    }

    pub fn next_wake(&self) -> Option<Mono> {
        match self.stage {
            Stage::Retry(at) => Some(at),
            _ => None,
        }
    }

    fn close(&mut self, desk: &mut DiskDesk) {
        self.ask(Stage::Close, DiskOp::Close { file: self.file }, desk);
    }
}

/// When `path` is written again, for which the disk had no room; says so.
pub fn retry_at(core: u16, path: &str, now: Now) -> Mono {
    tracing::warn!("{}: no room for {path}, the disk is full: written again when there is", file_name(core));
    now.mono.plus_ms(SPACE_RETRY_MS)
}

/// Whether the disk had no room; any other error is one.
pub fn is_full(result: &DiskResult) -> Result<bool, String> {
    match result {
        Ok(_) => Ok(false),
        Err(error) if error.kind == DiskErrorKind::NoSpace => Ok(true),
        Err(error) => Err(error.detail.clone()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::log::FileSlots;
    use crate::port::disk::DiskError;

    #[test]
    fn a_sync_that_finds_no_room_is_asked_for_again_behind_the_writes() {
        let mut desk = DiskDesk::new(FileSlots::new(0, 1), 0);
        let mut now = Now { mono: Mono(1), wall_ms: 0 };
        let mut tally = Tally::default();
        let target = Target { dir: "t-0".to_owned(), topic_id: Uuid([1; 16]), segment: 0 };
        let pieces = vec![(3, Bytes::from_static(b"de"))];
        let mut lane = Lane::begin(0, FileId(0), (target, pieces), &mut desk);
        let failed = |kind| Err(DiskError { kind, detail: String::new() });
        let (no_metadata, full) = (failed(DiskErrorKind::NotFound), failed(DiskErrorKind::NoSpace));
        for result in [no_metadata, Ok(DiskOutput::Opened { len: 3 }), Ok(DiskOutput::Done), full] {
            assert_eq!(lane.complete(result, now, &mut tally, &mut desk), Ok(false));
        }
        desk.outgoing.clear();
        lane.wake(now, &mut desk);
        assert!(desk.outgoing.is_empty(), "not before its time");
        now.mono = lane.next_wake().expect("it is tried again");
        lane.wake(now, &mut desk);
        assert!(matches!(desk.outgoing[..], [(_, DiskOp::Write { .. })]), "{:?}", desk.outgoing);
        let done = || Ok(DiskOutput::Done);
        let steps = [done(), done(), done()].map(|result| lane.complete(result, now, &mut tally, &mut desk));
        assert_eq!(steps, [Ok(false), Ok(false), Ok(true)], "written, synced, closed");
        assert_eq!((tally.segments, tally.bytes), (1, 2), "counted once");
    }
}
