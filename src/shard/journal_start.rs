//! What a start does before any log is loaded: the journals of all cores that a crash left are written into the
//! segments, then emptied; journals of cores that are no more are removed. Lives on core 0, sees the whole node.
//!
//! ```text
//!   Open ─► Head ─► Read … ─► Segments ─► Empty ─► Close ─► next
//! ```
//! Segments (`journal_segment.rs`) are in work several at once, so that their syncs overlap; journals go one after
//! another, and one is emptied only when each of its segments is synced and closed. A crash anywhere in between leaves
//! a journal that is written again: no log has been changed by anything else. Bytes go where they lay, never behind a
//! hole, and only into a segment that is there in a folder that is the same topic's. A segment's room may have gone
//! with the power: a full disk is waited for.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::time::{Mono, Now};
use crate::log::journal::codec::{DATA_START, Superblock, empty_superblocks};
use crate::log::journal::replay::{Placed, Target, Walk};
use crate::log::journal::{core_of, file_name};
use crate::port::disk::{DiskOp, DiskOutput, DiskResult, FileId, OpenMode};

use super::io::DiskDesk;
use super::journal_segment::{Lane, Tally, is_full, retry_at};

/// Segments in work at once, if there are numbers for so many files; at least one is.
const LANES_MAX: usize = 16;

#[derive(Debug)]
enum Stage {
    Open,
    Head {
        len: u64,
    },
    Read(Box<Walk>),
    /// The lanes are at work.
    Segments,
    Empty,
    /// The disk was full: emptied again at this time.
    Retry(Mono),
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
    /// The journal's.
    file: FileId,
    /// Segments in work, and those that wait for a lane.
    lanes: Vec<Lane>,
    targets: VecDeque<(Target, Vec<Placed>)>,
    tally: Tally,
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
        let mut start = JournalStart {
            cores: names.filter_map(core_of).collect(),
            cores_now,
            clean,
            core: 0,
            stage: Stage::Close,
            file: desk.take_file()?,
            lanes: Vec::new(),
            targets: VecDeque::new(),
            tally: Tally::default(),
        };
        if start.next_journal(desk) {
            return Some(start);
        }
        desk.give_file(start.file);
        None
    }

    fn next_journal(&mut self, desk: &mut DiskDesk) -> bool {
        let Some(core) = self.cores.pop_front() else { return false };
        self.core = core;
        let mode = OpenMode { direct: false, create: false };
        self.ask(Stage::Open, DiskOp::Open { file: self.file, path: file_name(core), mode }, desk);
        true
    }

    /// Asks for an operation on the journal itself.
    fn ask(&mut self, stage: Stage, op: DiskOp, desk: &mut DiskDesk) {
        self.stage = stage;
        desk.journal_start(self.file, op);
    }

    /// An operation was answered that was asked for with this file number. After a failure nothing more may be told:
    /// answers that other segments still wait for are nobody's then.
    pub fn complete(&mut self, file: FileId, result: DiskResult, now: Now, desk: &mut DiskDesk) -> Option<Replayed> {
        let done = match self.lanes.iter().position(|lane| lane.file() == file) {
            Some(at) => self.lane_step(at, result, now, desk).map(|()| false),
            None => self.step(result, now, desk),
        };
        match done {
            Ok(false) => None,
            Ok(true) => {
                desk.give_file(self.file);
                Some(Replayed::Done(self.report()))
            }
            Err(reason) => Some(Replayed::Failed(format!("{}: {reason}", file_name(self.core)))),
        }
    }

    fn report(&self) -> Option<String> {
        let Tally { segments, bytes, passed_over, notes } = &self.tally;
        let mut parts = notes.clone();
        if *segments > 0 || *passed_over > 0 {
            parts.push(format!("{bytes} bytes written into {segments} segments, {passed_over} are gone"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// True: everything is done.
    fn step(&mut self, result: DiskResult, now: Now, desk: &mut DiskDesk) -> Result<bool, String> {
        match std::mem::replace(&mut self.stage, Stage::Close) {
            Stage::Open => {
                let DiskOutput::Opened { len } = result.map_err(|error| error.detail)? else {
                    return Err("opened with another answer".to_string());
                };
                let op = DiskOp::Read { file: self.file, position: 0, len: DATA_START as u32 };
                self.ask(Stage::Head { len }, op, desk);
            }
            Stage::Head { len } => self.head_read(len, &data(result)?, desk)?,
            Stage::Read(mut walk) => {
                walk.feed(data(result)?);
                self.walk_on(walk, desk)?;
            }
            // Nothing is in flight on the journal then.
            stage @ (Stage::Segments | Stage::Retry(_)) => self.stage = stage,
            Stage::Empty if is_full(&result)? => {
                self.stage = Stage::Retry(retry_at(self.core, &file_name(self.core), now));
            }
            Stage::Empty => self.close(desk),
            Stage::Close if self.core >= self.cores_now => {
                self.ask(Stage::Remove, DiskOp::Remove { path: file_name(self.core) }, desk);
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
                self.tally.notes.push(format!("{}: not replayed, as the stop was clean", file_name(self.core)));
                tracing::debug!("the journal of incarnation {} was left full", superblock.incarnation);
                self.empty(desk);
            }
            Some(superblock) => self.walk_on(Box::new(Walk::new(&superblock, len)), desk)?,
        }
        Ok(())
    }

    fn walk_on(&mut self, mut walk: Box<Walk>, desk: &mut DiskDesk) -> Result<(), String> {
        match walk.next_read() {
            Some((position, len)) => {
                self.ask(Stage::Read(walk), DiskOp::Read { file: self.file, position, len }, desk);
                Ok(())
            }
            None => {
                self.stage = Stage::Segments;
                self.targets = walk.finish().into();
                self.next_targets(desk)
            }
        }
    }

    /// An operation of a lane was answered.
    fn lane_step(&mut self, at: usize, result: DiskResult, now: Now, desk: &mut DiskDesk) -> Result<(), String> {
        if !self.lanes[at].complete(result, now, &mut self.tally, desk)? {
            return Ok(());
        }
        desk.give_file(self.lanes.swap_remove(at).file());
        self.next_targets(desk)
    }

    /// Begins with as many segments as may be in work; with none left the journal is emptied.
    fn next_targets(&mut self, desk: &mut DiskDesk) -> Result<(), String> {
        while self.lanes.len() < LANES_MAX
            && let Some((target, _)) = self.targets.front()
            // A topic that was made anew has the names of its predecessor: whose bytes come last must not be chance.
            && !self.lanes.iter().any(|lane| lane.shares_file(target))
            && let Some(file) = desk.take_file()
            && let Some(next) = self.targets.pop_front()
        {
            self.lanes.push(Lane::begin(self.core, file, next, desk));
        }
        match (self.lanes.is_empty(), self.targets.is_empty()) {
            (true, true) => self.empty(desk),
            (true, false) => return Err("too few files may be open".to_string()),
            (false, _) => {}
        }
        Ok(())
    }

    /// Tries again what found no room, when its time has come.
    pub fn wake(&mut self, now: Now, desk: &mut DiskDesk) {
        for lane in &mut self.lanes {
            lane.wake(now, desk);
        }
        if matches!(self.stage, Stage::Retry(at) if at <= now.mono) {
            self.empty(desk);
        }
    }

    pub fn next_wake(&self) -> Option<Mono> {
        let own = match self.stage {
            Stage::Retry(at) => Some(at),
            _ => None,
        };
        self.lanes.iter().filter_map(Lane::next_wake).chain(own).min()
    }

    fn empty(&mut self, desk: &mut DiskDesk) {
        let data = empty_superblocks();
        self.ask(Stage::Empty, DiskOp::Write { file: self.file, position: 0, data, sync: true }, desk);
    }

    fn close(&mut self, desk: &mut DiskDesk) {
        self.ask(Stage::Close, DiskOp::Close { file: self.file }, desk);
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
    use crate::base::ids::Uuid;
    use crate::log::FileSlots;
    use crate::log::checkpoint::encode_partition_metadata;
    use crate::log::journal::codec::{EntryBuilder, Mark, PieceHead};
    use crate::port::disk::{DirEntry, DiskError, DiskErrorKind};
    use crate::port::turn::Token;
    use crate::shard::folder::{Folder as Keeper, FolderEvent, SPACE_RETRY_MS};
    use crate::shard::io::DiskAsker;

    const LIFE: Uuid = Uuid([5; 16]);
    const TOPIC: Uuid = Uuid([1; 16]);
    const METADATA: &str = "t-0/partition.metadata";

    fn path(segment: i64) -> String {
        Target { dir: "t-0".to_owned(), topic_id: TOPIC, segment }.path()
    }

    /// The folder, as far as a replay needs one.
    struct Folder {
        files: BTreeMap<String, Vec<u8>>,
        open: BTreeMap<FileId, String>,
        /// No file may be longer.
        len_max: usize,
        /// What is not answered but kept in `held`.
        holds: fn(&DiskOp) -> bool,
        held: Vec<(Token, DiskOp)>,
    }

    impl Folder {
        /// A journal with one entry for each of these pieces of the segment, and the segment.
        fn new(pieces: &[(u64, &[u8])], segment: Vec<u8>) -> Folder {
            let pieces: Vec<_> = pieces.iter().map(|(position, data)| (TOPIC, 0, *position, *data)).collect();
            Folder::of(&pieces, [(path(0), segment)])
        }

        /// So many segments with three bytes, and four more of each in the journal.
        fn of_segments(count: usize) -> Folder {
            let pieces: Vec<_> = (0..count as i64).map(|segment| (TOPIC, segment, 3, &b"defg"[..])).collect();
            Folder::of(&pieces, (0..count as i64).map(|segment| (path(segment), b"abc".to_vec())))
        }

        /// A journal with one entry for each of these pieces: topic, segment, position and bytes.
        fn of(pieces: &[(Uuid, i64, u64, &[u8])], segments: impl IntoIterator<Item = (String, Vec<u8>)>) -> Folder {
            let tail = Mark { position: DATA_START, sequence: 1 };
            let superblock = Superblock { incarnation: LIFE, generation: 2, tail };
            let mut journal = vec![0; DATA_START as usize];
            let at = superblock.position() as usize;
            let encoded = superblock.encode();
            journal[at..at + encoded.len()].copy_from_slice(&encoded);
            for (sequence, (topic_id, segment, position, data)) in (1..).zip(pieces) {
                let mut builder = EntryBuilder::with_capacity(PieceHead::piece_len(3, data.len()));
                let (topic_id, segment, position) = (*topic_id, *segment, *position);
                builder.push(&PieceHead { topic_id, dir: "t-0", segment, position }, data);
                journal.extend_from_slice(&builder.finish(LIFE, sequence));
            }
            let mut files: BTreeMap<_, _> = segments.into_iter().collect();
            files.insert(file_name(0), journal);
            files.insert(METADATA.to_owned(), encode_partition_metadata(TOPIC).into_bytes());
            let open = BTreeMap::new();
            Folder { files, open, len_max: usize::MAX, holds: |_| false, held: Vec::new() }
        }

        fn segment(&self) -> &[u8] {
            &self.files[&path(0)]
        }

        /// Segments that have everything.
        fn whole(&self) -> usize {
            self.files.values().filter(|bytes| bytes.starts_with(b"abcdefg")).count()
        }

        fn is_emptied(&self) -> bool {
            self.files[&file_name(0)][..DATA_START as usize].iter().all(|byte| *byte == 0)
        }

        fn answer(&mut self, op: DiskOp) -> DiskResult {
            let failed = |kind| DiskError { kind, detail: format!("{kind:?}") };
            match op {
                DiskOp::Open { file, path, .. } => {
                    let len = self.files.get(&path).ok_or_else(|| failed(DiskErrorKind::NotFound))?.len() as u64;
                    assert!(!self.open.values().any(|other| *other == path), "{path} is open");
                    assert_eq!(self.open.insert(file, path), None, "the number is taken");
                    Ok(DiskOutput::Opened { len })
                }
                DiskOp::Read { file, position, len } => {
                    let bytes = &self.files[&self.open[&file]];
                    let from = bytes.len().min(position as usize);
                    let to = bytes.len().min(from + len as usize);
                    Ok(DiskOutput::Data(Bytes::copy_from_slice(&bytes[from..to])))
                }
                DiskOp::ReadFile { path, .. } => {
                    let bytes = self.files.get(&path).ok_or_else(|| failed(DiskErrorKind::NotFound))?;
                    Ok(DiskOutput::Data(Bytes::copy_from_slice(bytes)))
                }
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
                DiskOp::Sync { file } => {
                    assert!(self.open.contains_key(&file), "it is not open");
                    Ok(DiskOutput::Done)
                }
                DiskOp::Close { file } => {
                    self.open.remove(&file).expect("it is open");
                    Ok(DiskOutput::Done)
                }
                DiskOp::List { .. } => {
                    Ok(DiskOutput::Entries(vec![DirEntry { name: file_name(0), is_dir: false, len: 0 }]))
                }
                other => panic!("a replay does not ask for {other:?}"),
            }
        }

        /// Answers one.
        fn give(
            &mut self,
            (token, op): (Token, DiskOp),
            start: &mut JournalStart,
            now: Now,
            desk: &mut DiskDesk,
        ) -> Option<Replayed> {
            let Some(DiskAsker::JournalStart(file)) = desk.asker(token) else { panic!("{op:?} is another's") };
            start.complete(file, self.answer(op), now, desk)
        }

        /// Answers until there is nothing to answer.
        fn run(&mut self, start: &mut JournalStart, now: Now, desk: &mut DiskDesk) -> Option<Replayed> {
            while !desk.outgoing.is_empty() {
                let (token, op) = desk.outgoing.remove(0);
                if (self.holds)(&op) {
                    self.held.push((token, op));
                } else if let Some(replayed) = self.give((token, op), start, now, desk) {
                    return Some(replayed);
                }
            }
            None
        }
    }

    fn begin(desk: &mut DiskDesk) -> JournalStart {
        JournalStart::begin([file_name(0).as_str()].into_iter(), 1, false, desk).expect("there is a journal")
    }

    fn desk_of(files: u32) -> DiskDesk {
        DiskDesk::new(FileSlots::new(0, files), 0)
    }

    const NOW: Now = Now { mono: Mono(1), wall_ms: 0 };

    #[test]
    fn a_segment_whose_length_went_with_the_power_grows_again() {
        let mut folder = Folder::new(&[(3, b"defg"), (7, b"hi")], b"abc".to_vec());
        let mut desk = desk_of(4);
        let done = folder.run(&mut begin(&mut desk), NOW, &mut desk);
        assert_eq!(folder.segment(), b"abcdefghi");
        assert!(matches!(done, Some(Replayed::Done(Some(report))) if report.starts_with("6 bytes written into 1 seg")));
    }

    #[test]
    fn what_lies_behind_a_hole_is_told_and_not_written() {
        let mut folder = Folder::new(&[(3, b"de"), (7, b"hi")], b"abc".to_vec());
        let mut desk = desk_of(4);
        let done = folder.run(&mut begin(&mut desk), NOW, &mut desk);
        assert_eq!(folder.segment(), b"abcde");
        assert!(matches!(done, Some(Replayed::Done(Some(report))) if report.contains("nothing lies before 7")));
    }

    #[test]
    fn a_full_disk_is_waited_for_and_the_journal_kept_meanwhile() {
        let mut folder = Folder::new(&[(3, b"defg")], b"abc".to_vec());
        folder.len_max = 5;
        let journal = folder.files[&file_name(0)].clone();
        let mut desk = desk_of(4);
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
        assert!(folder.is_emptied());
    }

    fn is_sync(op: &DiskOp) -> bool {
        matches!(op, DiskOp::Sync { .. })
    }

    #[test]
    fn the_second_sync_is_asked_for_before_the_first_is_answered() {
        let mut folder = Folder { holds: is_sync, ..Folder::of_segments(3) };
        let mut desk = desk_of(10);
        assert_eq!(folder.run(&mut begin(&mut desk), NOW, &mut desk), None);
        assert_eq!((folder.held.len(), folder.whole()), (3, 3));
    }

    #[test]
    fn more_segments_than_lanes_are_all_written_synced_and_closed_before_the_journal_is_emptied() {
        let count = 2 * LANES_MAX + 3;
        let mut folder = Folder { holds: is_sync, ..Folder::of_segments(count) };
        let mut desk = desk_of(100);
        let mut start = begin(&mut desk);
        assert_eq!(folder.run(&mut start, NOW, &mut desk), None);
        assert_eq!((folder.held.len(), folder.whole()), (LANES_MAX, LANES_MAX), "no more at once");
        // Every sync is answered but one of the first.
        folder.holds = |_| false;
        let kept = folder.held.remove(0);
        desk.outgoing.append(&mut folder.held);
        assert_eq!(folder.run(&mut start, NOW, &mut desk), None);
        assert_eq!((folder.whole(), folder.open.len()), (count, 2), "the journal and that segment are open");
        assert!(!folder.is_emptied());
        desk.outgoing.push(kept);
        folder.holds = |op| matches!(op, DiskOp::Close { .. });
        assert_eq!(folder.run(&mut start, NOW, &mut desk), None);
        assert!(!folder.is_emptied(), "it is not closed");
        folder.holds = |_| false;
        desk.outgoing.append(&mut folder.held);
        let report = format!("{} bytes written into {count} segments, 0 are gone", 4 * count);
        assert_eq!(folder.run(&mut start, NOW, &mut desk), Some(Replayed::Done(Some(report))));
        assert!(folder.is_emptied() && folder.open.is_empty());
        assert!((0..100).all(|_| desk.take_file().is_some()), "every number was given back");
    }

    #[test]
    fn a_segment_without_room_holds_back_the_emptying_and_no_other_segment() {
        let count = LANES_MAX + 3;
        let mut folder = Folder::of_segments(count);
        folder.len_max = 5;
        for segment in (0..count as i64).filter(|segment| *segment != 1) {
            folder.files.insert(path(segment), vec![b'a', b'b', b'c', 0, 0, 0, 0]);
        }
        let mut desk = desk_of(100);
        let mut start = begin(&mut desk);
        let mut now = NOW;
        for _ in 0..3 {
            assert_eq!(folder.run(&mut start, now, &mut desk), None);
            assert_eq!((folder.whole(), folder.open.len()), (count - 1, 2), "the journal and that segment are open");
            assert!(!folder.is_emptied());
            let at = start.next_wake().expect("it is tried again");
            assert_eq!(at, now.mono.plus_ms(SPACE_RETRY_MS));
            now.mono = at;
            start.wake(now, &mut desk);
        }
        folder.len_max = usize::MAX;
        assert!(matches!(folder.run(&mut start, now, &mut desk), Some(Replayed::Done(Some(_)))));
        assert!(folder.whole() == count && folder.is_emptied());
    }

    #[test]
    fn with_one_file_number_segments_go_one_after_another() {
        let mut folder = Folder { holds: is_sync, ..Folder::of_segments(3) };
        let mut desk = desk_of(2);
        let mut start = begin(&mut desk);
        for written in 1..=3 {
            assert_eq!(folder.run(&mut start, NOW, &mut desk), None);
            assert_eq!((folder.held.len(), folder.whole()), (1, written));
            let sync = folder.held.remove(0);
            assert_eq!(folder.give(sync, &mut start, NOW, &mut desk), None);
        }
        assert!(matches!(folder.run(&mut start, NOW, &mut desk), Some(Replayed::Done(Some(_)))));
        assert!(folder.is_emptied());
        let mut folder = Folder::of_segments(3);
        let mut desk = desk_of(1);
        let done = folder.run(&mut begin(&mut desk), NOW, &mut desk);
        assert!(matches!(done, Some(Replayed::Failed(reason)) if reason.ends_with("too few files may be open")));
    }

    #[test]
    fn two_topics_of_one_name_do_not_write_the_same_file_at_once() {
        let pieces: [(Uuid, i64, u64, &[u8]); 2] = [(TOPIC, 0, 3, b"de"), (Uuid([2; 16]), 0, 3, b"xy")];
        let mut folder = Folder { holds: is_sync, ..Folder::of(&pieces, [(path(0), b"abc".to_vec())]) };
        folder.files.remove(METADATA);
        let mut desk = desk_of(10);
        let mut start = begin(&mut desk);
        assert_eq!(folder.run(&mut start, NOW, &mut desk), None);
        assert_eq!((folder.held.len(), folder.segment()), (1, &b"abcde"[..]));
        folder.holds = |_| false;
        desk.outgoing.append(&mut folder.held);
        assert!(matches!(folder.run(&mut start, NOW, &mut desk), Some(Replayed::Done(Some(_)))));
        assert_eq!(folder.segment(), b"abcxy", "as one after another");
    }

    #[test]
    fn a_segment_that_fails_ends_the_start_and_later_answers_are_nobodys() {
        let mut folder = Folder::of_segments(LANES_MAX + 3);
        let mut desk = desk_of(100);
        let mut keeper = Keeper::start(false, 1, &mut desk);
        let mut syncs = Vec::new();
        while !desk.outgoing.is_empty() {
            let (token, op) = desk.outgoing.remove(0);
            let event = match desk.asker(token) {
                Some(DiskAsker::JournalStart(file)) if is_sync(&op) => {
                    syncs.push(file);
                    None
                }
                Some(DiskAsker::JournalStart(file)) => keeper.journals_step(file, folder.answer(op), NOW, &mut desk),
                Some(DiskAsker::Folder(id)) => keeper.complete(id, folder.answer(op), NOW, &mut desk),
                asker => panic!("{op:?} of {asker:?}"),
            };
            assert_eq!(event, None);
        }
        assert_eq!(syncs.len(), LANES_MAX);
        let failed = Err(DiskError { kind: DiskErrorKind::Io, detail: "worn out".to_owned() });
        let event = keeper.journals_step(syncs.remove(3), failed, NOW, &mut desk);
        assert_eq!(event, Some(FolderEvent::Failed(format!("{}: worn out", file_name(0)))));
        for file in syncs {
            assert_eq!(keeper.journals_step(file, Ok(DiskOutput::Done), NOW, &mut desk), None);
        }
        assert!(desk.outgoing.is_empty() && keeper.next_wake().is_none() && !folder.is_emptied());
    }
}
