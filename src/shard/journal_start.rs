//! What a start does before any log is loaded: the journals of all cores that a crash left are written into the
//! segments, then emptied; journals of cores that are no more are removed. Lives on core 0, sees the whole node.
//!
//! ```text
//!   Open ─► Head ─► Read … ─► for each segment: Metadata ─► Segment ─► Writes ─► Sync ─► Leave
//!        ─► Empty ─► Close ─► next
//! ```
//! A crash anywhere in between leaves a journal that is written again: no log has been changed by anything else. Bytes
//! go where they lay, never behind a hole, and only into a segment that is there in a folder that is the same topic's.
//! A segment's room may have gone with the power: a full disk is waited for.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::ids::Uuid;
use crate::base::time::{Mono, Now};
use crate::log::checkpoint::decode_partition_metadata;
use crate::log::journal::codec::{DATA_START, Superblock, empty_superblocks};
use crate::log::journal::replay::{Placed, Target, Walk};
use crate::log::journal::{core_of, file_name};
use crate::port::disk::{DiskErrorKind, DiskOp, DiskOutput, DiskResult, FileId, OpenMode};

use super::folder::SPACE_RETRY_MS;
use super::io::DiskDesk;

/// More than `partition.metadata` ever holds, bytes.
const METADATA_BYTES_MAX: u64 = 4096;

#[derive(Debug)]
enum Stage {
    Open,
    Head {
        len: u64,
    },
    Read(Box<Walk>),
    Metadata,
    Segment,
    Writes {
        left: usize,
        no_space: bool,
    },
    /// The disk was full: written again at this time.
    Retry(Mono),
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
    pub fn complete(&mut self, result: DiskResult, now: Now, desk: &mut DiskDesk) -> Option<Replayed> {
        match self.step(result, now, desk) {
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
    fn step(&mut self, result: DiskResult, now: Now, desk: &mut DiskDesk) -> Result<bool, String> {
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
            Stage::Writes { left, no_space } => {
                let no_space = is_full(&result)? || no_space;
                self.stage = match left - 1 {
                    0 if no_space => self.retry_later(now),
                    0 => {
                        desk.journal_start(DiskOp::Sync { file: segment_file });
                        Stage::Sync
                    }
                    left => Stage::Writes { left, no_space },
                };
            }
            // Nothing is in flight then.
            Stage::Retry(at) => self.stage = Stage::Retry(at),
            Stage::Sync if is_full(&result)? => self.stage = self.retry_later(now),
            Stage::Sync => self.leave_segment(desk),
            Stage::Leave => {
                self.targets.pop_front();
                self.next_target(desk);
            }
            Stage::Empty if is_full(&result)? => self.stage = self.retry_later(now),
            Stage::Empty => self.close(desk),
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
        // The power may have gone before the file system put down how long the file is; a hole is something else.
        let mut end = len;
        let hole = pieces.iter().position(|(position, bytes)| {
            let touches = *position <= end;
            end = end.max(position + bytes.len() as u64);
            !touches
        });
        if let Some(at) = hole {
            self.notes.push(format!("{}: nothing lies before {}", target.path(), pieces[at].0));
            pieces.truncate(at);
        }
        if pieces.is_empty() {
            self.leave_segment(desk);
            return Ok(());
        }
        self.written.0 += 1;
        self.written.1 += pieces.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        self.write_pieces(file, desk);
        Ok(())
    }

    fn write_pieces(&mut self, file: FileId, desk: &mut DiskDesk) {
        let Some((_, pieces)) = self.targets.front() else { return };
        self.stage = Stage::Writes { left: pieces.len(), no_space: false };
        for (position, data) in pieces {
            desk.journal_start(DiskOp::Write { file, position: *position, data: data.clone(), sync: false });
        }
    }

    fn retry_later(&self, now: Now) -> Stage {
        let own = file_name(self.core);
        let path = self.targets.front().map_or(own.clone(), |(target, _)| target.path());
        tracing::warn!("{own}: no room for {path}, the disk is full: written again when there is");
        Stage::Retry(now.mono.plus_ms(SPACE_RETRY_MS))
    }

    /// Tries again what found no room, when its time has come.
    pub fn wake(&mut self, now: Now, desk: &mut DiskDesk) {
        match (&self.stage, self.segment_file) {
            (Stage::Retry(at), Some(file)) if *at <= now.mono => match self.targets.is_empty() {
                true => self.empty(desk),
                false => self.write_pieces(file, desk),
            },
            _ => {}
        }
    }

    pub fn next_wake(&self) -> Option<Mono> {
        match self.stage {
            Stage::Retry(at) => Some(at),
            _ => None,
        }
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

/// Whether the disk had no room; any other error is one.
fn is_full(result: &DiskResult) -> Result<bool, String> {
    match result {
        Ok(_) => Ok(false),
        Err(error) if error.kind == DiskErrorKind::NoSpace => Ok(true),
        Err(error) => Err(error.detail.clone()),
    }
}

fn data(result: DiskResult) -> Result<Bytes, String> {
    match result {
        Ok(DiskOutput::Data(data)) => Ok(data),
        Ok(_) => Err("read with another answer".to_string()),
        Err(error) => Err(error.detail),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::log::FileSlots;
    use crate::log::checkpoint::encode_partition_metadata;
    use crate::log::journal::codec::{EntryBuilder, Mark, PieceHead};
    use crate::port::disk::DiskError;

    const LIFE: Uuid = Uuid([5; 16]);
    const TOPIC: Uuid = Uuid([1; 16]);
    const SEGMENT: &str = "t-0/00000000000000000000.log";

    /// The folder, as far as a replay needs one.
    struct Folder {
        files: BTreeMap<String, Vec<u8>>,
        open: BTreeMap<FileId, String>,
        /// No file may be longer.
        len_max: usize,
    }

    impl Folder {
        /// A journal with one entry for each of these pieces of the segment, and the segment.
        fn new(pieces: &[(u64, &[u8])], segment: Vec<u8>) -> Folder {
            let tail = Mark { position: DATA_START, sequence: 1 };
            let superblock = Superblock { incarnation: LIFE, generation: 2, tail };
            let mut journal = vec![0; DATA_START as usize];
            let at = superblock.position() as usize;
            let encoded = superblock.encode();
            journal[at..at + encoded.len()].copy_from_slice(&encoded);
            for (sequence, (position, data)) in (1..).zip(pieces) {
                let mut builder = EntryBuilder::with_capacity(PieceHead::piece_len(3, data.len()));
                builder.push(&PieceHead { topic_id: TOPIC, dir: "t-0", segment: 0, position: *position }, data);
                journal.extend_from_slice(&builder.finish(LIFE, sequence));
            }
            let metadata = encode_partition_metadata(TOPIC).into_bytes();
            let files = [(file_name(0), journal), (SEGMENT.to_owned(), segment)];
            let mut files: BTreeMap<_, _> = files.into();
            files.insert("t-0/partition.metadata".to_owned(), metadata);
            Folder { files, open: BTreeMap::new(), len_max: usize::MAX }
        }

        fn segment(&self) -> &[u8] {
            &self.files[SEGMENT]
        }

        fn answer(&mut self, op: DiskOp) -> DiskResult {
            let failed = |kind| DiskError { kind, detail: format!("{kind:?}") };
            match op {
                DiskOp::Open { file, path, .. } => {
                    let len = self.files.get(&path).ok_or_else(|| failed(DiskErrorKind::NotFound))?.len() as u64;
                    self.open.insert(file, path);
                    Ok(DiskOutput::Opened { len })
                }
                DiskOp::Read { file, position, len } => {
                    let bytes = &self.files[&self.open[&file]];
                    let from = bytes.len().min(position as usize);
                    let to = bytes.len().min(from + len as usize);
                    Ok(DiskOutput::Data(Bytes::copy_from_slice(&bytes[from..to])))
                }
                DiskOp::ReadFile { path, .. } => Ok(DiskOutput::Data(Bytes::copy_from_slice(&self.files[&path]))),
                DiskOp::Write { file, position, data, .. } => {
                    let bytes = self.files.get_mut(&self.open[&file]).expect("an open file is there");
                    let end = position as usize + data.len();
                    if end > self.len_max.max(bytes.len()) {
                        return Err(failed(DiskErrorKind::NoSpace));
                    }
                    bytes.resize(end.max(bytes.len()), 0);
                    bytes[position as usize..end].copy_from_slice(&data);
                    Ok(DiskOutput::Done)
                }
                DiskOp::Sync { .. } | DiskOp::Close { .. } => Ok(DiskOutput::Done),
                other => panic!("a replay does not ask for {other:?}"),
            }
        }

        /// Answers until there is nothing to answer.
        fn run(&mut self, start: &mut JournalStart, now: Now, desk: &mut DiskDesk) -> Option<Replayed> {
            while !desk.outgoing.is_empty() {
                let (token, op) = desk.outgoing.remove(0);
                desk.asker(token);
                let result = self.answer(op);
                if let Some(replayed) = start.complete(result, now, desk) {
                    return Some(replayed);
                }
            }
            None
        }
    }

    fn begin(desk: &mut DiskDesk) -> JournalStart {
        JournalStart::begin([file_name(0).as_str()].into_iter(), 1, false, desk).expect("there is a journal")
    }

    const NOW: Now = Now { mono: Mono(1), wall_ms: 0 };

    #[test]
    fn a_segment_whose_length_went_with_the_power_grows_again() {
        let mut folder = Folder::new(&[(3, b"defg"), (7, b"hi")], b"abc".to_vec());
        let mut desk = DiskDesk::new(FileSlots::new(0, 4), 0);
        let done = folder.run(&mut begin(&mut desk), NOW, &mut desk);
        assert_eq!(folder.segment(), b"abcdefghi");
        assert!(matches!(done, Some(Replayed::Done(Some(report))) if report.starts_with("6 bytes written into 1 seg")));
    }

    #[test]
    fn what_lies_behind_a_hole_is_told_and_not_written() {
        let mut folder = Folder::new(&[(3, b"de"), (7, b"hi")], b"abc".to_vec());
        let mut desk = DiskDesk::new(FileSlots::new(0, 4), 0);
        let done = folder.run(&mut begin(&mut desk), NOW, &mut desk);
        assert_eq!(folder.segment(), b"abcde");
        assert!(matches!(done, Some(Replayed::Done(Some(report))) if report.contains("nothing lies before 7")));
    }

    #[test]
    fn a_full_disk_is_waited_for_and_the_journal_kept_meanwhile() {
        let mut folder = Folder::new(&[(3, b"defg")], b"abc".to_vec());
        folder.len_max = 5;
        let journal = folder.files[&file_name(0)].clone();
        let mut desk = DiskDesk::new(FileSlots::new(0, 4), 0);
        let mut start = begin(&mut desk);
        assert_eq!(folder.run(&mut start, NOW, &mut desk), None);
        let at = start.next_wake().expect("it is tried again");
        start.wake(NOW, &mut desk);
        assert!(desk.outgoing.is_empty(), "not before its time");
        start.wake(Now { mono: at, ..NOW }, &mut desk);
        assert_eq!(folder.run(&mut start, NOW, &mut desk), None, "still full");
        assert_eq!(folder.files[&file_name(0)], journal);
        folder.len_max = usize::MAX;
        let at = start.next_wake().expect("it is tried again");
        start.wake(Now { mono: at, ..NOW }, &mut desk);
        assert!(matches!(folder.run(&mut start, NOW, &mut desk), Some(Replayed::Done(_))));
        assert_eq!(folder.segment(), b"abcdefg");
        assert!(folder.files[&file_name(0)][..DATA_START as usize].iter().all(|byte| *byte == 0));
    }
}
