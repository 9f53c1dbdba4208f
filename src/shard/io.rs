//! Disk operations in flight: gives each log's operation a token of the core and finds the log again when it is
//! answered. Reads have a budget, and large zero-fills go one after another; what has to wait waits here.

use std::collections::VecDeque;

use crate::base::slots::{Key, Slots};
use crate::log::{AheadRoom, FileSlots, LogOut, LogTag};
use crate::port::disk::{DiskOp, FileId};
use crate::port::turn::Token;

use super::journal_host::JournalOp;

/// Who asked for a disk operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskAsker {
    /// The log of the partition with this key.
    Log(Key, LogTag),
    /// The keeper of the data folder's checkpoint files.
    Folder(u64),
    /// The core's journal.
    Journal(JournalOp),
    /// The replay of all journals, at start: the journal or a segment, by the number of its file.
    JournalStart(FileId),
}

/// Reads in the disk's hands at the same time.
#[derive(Clone, Copy, Debug)]
struct ReadBudget {
    count: usize,
    /// Unless a single one is larger.
    bytes: u64,
}

/// Enough to keep a disk busy.
const READS_ALONE: ReadBudget = ReadBudget { count: 16, bytes: 8 << 20 };
/// While somebody writes: a sync that a producer waits for finds so much before it in the disk's queue.
const READS_BESIDE_WRITES: ReadBudget = ReadBudget { count: 1, bytes: 2 << 20 };
/// So many reads are begun after a write before the writers are believed to be gone.
const READS_OF_A_WRITE: u32 = 32;

/// A zero-fill of at least so many bytes waits until the one before it is done: each has a piece in the disk's queue
/// all the time, which every sync finds before it. Smaller ones are better at the same time: one commit of the file
/// system serves them all. A log asks when less than three quarters of a step are left, so none waits longer than until
/// so much was written, by whichever log. 1 MiB is four pieces: below, what a fill keeps the disk busy is less than a
/// sync.
const LARGE_FILL_BYTES: u64 = 1 << 20;

/// What an operation has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// So many bytes are asked for.
    Read(u32),
    LargeFill(u64),
    /// Nothing.
    Prompt,
}

impl Class {
    fn of(asker: DiskAsker, op: &DiskOp) -> Class {
        match op {
            // A core makes its journal once, before it can use it.
            DiskOp::ZeroFill { .. } if matches!(asker, DiskAsker::Journal(_)) => Class::Prompt,
            DiskOp::Read { len, .. } | DiskOp::Stage { len, fill: true, .. } if *len > 0 => Class::Read(*len),
            DiskOp::ZeroFill { from, to, .. } => match to.saturating_sub(*from) {
                bytes @ LARGE_FILL_BYTES.. => Class::LargeFill(bytes),
                _ => Class::Prompt,
            },
            _ => Class::Prompt,
        }
    }
}

#[derive(Debug)]
struct Flight {
    asker: DiskAsker,
    class: Class,
}

/// The disk side of one core. Exists on every core, sees that core's operations only.
#[derive(Debug)]
pub struct DiskDesk {
    files: FileSlots,
    ahead: AheadRoom,
    in_flight: Slots<Flight>,
    scratch: Vec<(LogTag, DiskOp)>,
    /// Reads in the disk's hands, and those that wait for their turn in the order of asking.
    reads: usize,
    read_bytes: u64,
    waiting: VecDeque<(Token, DiskOp, u32)>,
    /// Large zero-fills in the disk's hands; the others wait.
    fills: usize,
    /// Each with the count of written bytes at which it waits no more.
    waiting_fills: VecDeque<(Token, DiskOp, u64)>,
    /// Bytes written so far.
    written: u64,
    /// Reads that are still begun as if the last write were in flight.
    beside_writes: u32,
    /// Operations to hand to the driver at the end of the turn.
    pub outgoing: Vec<(Token, DiskOp)>,
}

impl DiskDesk {
    /// `ahead_bytes`: memory for what is read before anybody asks.
    pub fn new(files: FileSlots, ahead_bytes: u64) -> DiskDesk {
        DiskDesk {
            files,
            ahead: AheadRoom::new(ahead_bytes),
            in_flight: Slots::default(),
            scratch: Vec::new(),
            reads: 0,
            read_bytes: 0,
            waiting: VecDeque::new(),
            fills: 0,
            waiting_fills: VecDeque::new(),
            written: 0,
            beside_writes: 0,
            outgoing: Vec::new(),
        }
    }

    /// Lets the log of partition `key` ask for operations.
    pub fn with_log<R>(&mut self, key: Key, act: impl FnOnce(&mut LogOut<'_>) -> R) -> R {
        let result = act(&mut LogOut { ops: &mut self.scratch, files: &mut self.files, ahead: &self.ahead });
        let mut scratch = std::mem::take(&mut self.scratch);
        for (tag, op) in scratch.drain(..) {
            self.ask(DiskAsker::Log(key, tag), op);
        }
        self.scratch = scratch;
        result
    }

    /// Asks for an operation of the folder's keeper.
    pub fn folder(&mut self, id: u64, op: DiskOp) {
        self.ask(DiskAsker::Folder(id), op);
    }

    fn ask(&mut self, asker: DiskAsker, mut op: DiskOp) {
        if matches!(op, DiskOp::Write { .. } | DiskOp::Sync { .. }) {
            self.beside_writes = READS_OF_A_WRITE;
        }
        if let DiskOp::Write { data, .. } = &op {
            self.written += data.len() as u64;
        }
        if let DiskOp::Stage { fill, .. } = &mut op {
            // The kernel reads megabytes ahead, and a sync that a producer waits for would find them before it.
            *fill &= self.beside_writes == 0;
        }
        let class = Class::of(asker, &op);
        let token = Token(self.in_flight.insert(Flight { asker, class }));
        match class {
            Class::Prompt => self.outgoing.push((token, op)),
            Class::Read(bytes) => {
                self.waiting.push_back((token, op, bytes));
                self.begin_reads();
            }
            Class::LargeFill(bytes) => self.waiting_fills.push_back((token, op, self.written + bytes / 4 * 3)),
        }
        self.begin_fills();
    }

    fn begin_fills(&mut self) {
        while let Some(next) = self
            .waiting_fills
            .iter()
            .position(|(_, _, deadline)| self.written >= *deadline)
            .or((self.fills == 0).then_some(0))
            && let Some((token, op, _)) = self.waiting_fills.remove(next)
        {
            self.fills += 1;
            self.outgoing.push((token, op));
        }
    }

    fn begin_reads(&mut self) {
        while let Some((_, _, bytes)) = self.waiting.front() {
            let bytes = u64::from(*bytes);
            let budget = if self.beside_writes > 0 { READS_BESIDE_WRITES } else { READS_ALONE };
            let full = self.reads >= budget.count || self.read_bytes + bytes > budget.bytes;
            if full && self.reads > 0 {
                return;
            }
            let Some((token, op, _)) = self.waiting.pop_front() else { return };
            self.reads += 1;
            self.read_bytes += bytes;
            self.beside_writes = self.beside_writes.saturating_sub(1);
            self.outgoing.push((token, op));
        }
    }

    /// Asks for an operation of the core's journal.
    pub fn journal(&mut self, what: JournalOp, op: DiskOp) {
        self.ask(DiskAsker::Journal(what), op);
    }

    /// Asks for an operation of the start that replays journals, for whichever of them has this file number.
    pub fn journal_start(&mut self, file: FileId, op: DiskOp) {
        self.ask(DiskAsker::JournalStart(file), op);
    }

    /// The number of a file that is no log's; `None` when all are taken.
    pub fn take_file(&mut self) -> Option<FileId> {
        self.files.take()
    }

    /// It is closed.
    pub fn give_file(&mut self, file: FileId) {
        self.files.give_back(file);
    }

    /// Whose operation `token` was; `None` for an answer that nobody waits for.
    pub fn asker(&mut self, token: Token) -> Option<DiskAsker> {
        let flight = self.in_flight.remove(token.0)?;
        match flight.class {
            Class::Prompt => {}
            Class::Read(bytes) => {
                self.reads -= 1;
                self.read_bytes -= u64::from(bytes);
                self.begin_reads();
            }
            Class::LargeFill(_) => {
                self.fills -= 1;
                self.begin_fills();
            }
        }
        Some(flight.asker)
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::disk::FileId;

    #[test]
    fn reads_wait_for_their_turn_in_order_and_nothing_else_waits_behind_them() {
        let mut desk = DiskDesk::new(FileSlots::new(0, 1), 0);
        let read = |position| DiskOp::Read { file: FileId(0), position, len: 1 << 20 };
        for position in 0..20 {
            desk.folder(position, read(position));
        }
        desk.folder(99, DiskOp::Close { file: FileId(0) });
        let out = std::mem::take(&mut desk.outgoing);
        assert_eq!(out.len(), 9, "8 MiB of reads and what is no read");
        assert!(matches!(out[8].1, DiskOp::Close { .. }));
        assert_eq!(desk.asker(out[8].0), Some(DiskAsker::Folder(99)));
        assert!(desk.outgoing.is_empty(), "no read has ended");
        assert_eq!(desk.asker(out[3].0), Some(DiskAsker::Folder(3)));
        assert_eq!(std::mem::take(&mut desk.outgoing).iter().map(|(_, op)| op).collect::<Vec<_>>(), [&read(8)]);
        desk.folder(100, DiskOp::Sync { file: FileId(0) });
        assert_eq!((desk.outgoing.len(), desk.in_flight()), (1, 20), "a sync goes at once");
    }

    #[test]
    fn beside_writes_few_reads_are_in_flight_until_no_more_writes_come() {
        let mut desk = DiskDesk::new(FileSlots::new(0, 1), 0);
        desk.folder(0, DiskOp::Sync { file: FileId(0) });
        for position in 1..100 {
            desk.folder(position, DiskOp::Read { file: FileId(1), position, len: 64 << 10 });
        }
        let mut in_flight: VecDeque<Token> = desk.outgoing.drain(..).skip(1).map(|(token, _)| token).collect();
        let mut most = Vec::new();
        while let Some(token) = in_flight.pop_front() {
            most.push(in_flight.len() + 1);
            assert!(desk.asker(token).is_some());
            in_flight.extend(desk.outgoing.drain(..).map(|(token, _)| token));
        }
        assert_eq!((most.len(), most[0], most[20]), (99, 1, 1));
        assert_eq!(most.iter().max(), Some(&16), "the disk is theirs again");
    }

    #[test]
    fn the_page_cache_is_filled_for_nobody_while_somebody_writes() {
        let mut desk = DiskDesk::new(FileSlots::new(0, 1), 0);
        let stage = |fill| DiskOp::Stage { file: FileId(1), position: 0, len: 1 << 20, look: 100, fill };
        let fills = |desk: &DiskDesk| -> Vec<bool> {
            desk.outgoing
                .iter()
                .filter_map(|(_, op)| if let DiskOp::Stage { fill, .. } = op { Some(*fill) } else { None })
                .collect()
        };
        desk.folder(0, stage(true));
        desk.folder(1, DiskOp::Sync { file: FileId(0) });
        for id in 2..5 {
            desk.folder(id, stage(true));
        }
        assert_eq!(fills(&desk), [true, false, false, false], "and what is there is given at once");
        (0..u64::from(READS_OF_A_WRITE))
            .for_each(|id| desk.folder(id, DiskOp::Read { file: FileId(1), position: 0, len: 9 }));
        let mut in_flight: VecDeque<Token> = desk.outgoing.drain(..).map(|(token, _)| token).collect();
        while let Some(token) = in_flight.pop_front() {
            assert!(desk.asker(token).is_some());
            in_flight.extend(desk.outgoing.drain(..).map(|(token, _)| token));
        }
        desk.folder(5, stage(true));
        assert_eq!(fills(&desk), [true], "the writers are gone");
    }

    #[test]
    fn large_fills_go_one_after_another_and_small_ones_at_once() {
        let mut desk = DiskDesk::new(FileSlots::new(0, 1), 0);
        let fill = |to| DiskOp::ZeroFill { file: FileId(0), from: 0, to };
        for (id, to) in [(0, 4 << 20), (1, 16 << 20), (2, 64 << 10), (3, 1 << 20)] {
            desk.folder(id, fill(to));
        }
        let mut out: Vec<Token> = desk.outgoing.drain(..).map(|(token, _)| token).collect();
        assert_eq!(out.len(), 2, "the first, and the small one");
        assert_eq!(desk.asker(out[1]), Some(DiskAsker::Folder(2)));
        assert!(desk.outgoing.is_empty());
        for id in [0, 1, 3] {
            assert_eq!(desk.asker(out[0]), Some(DiskAsker::Folder(id)));
            out = desk.outgoing.drain(..).map(|(token, _)| token).collect();
            assert_eq!(out.len(), usize::from(id != 3), "one after another");
        }
        for id in 4..7 {
            desk.folder(id, fill(1 << 20));
        }
        assert_eq!(desk.outgoing.len(), 1, "none was in flight");
        let write = |len| DiskOp::Write { file: FileId(0), position: 0, data: vec![0; len].into(), sync: true };
        desk.folder(7, write(600 << 10));
        assert_eq!(desk.outgoing.len(), 2, "there is room ahead yet");
        desk.folder(8, write(600 << 10));
        assert_eq!(desk.outgoing.len(), 5, "their room ahead is used up");
    }

    #[test]
    fn a_read_larger_than_all_that_is_allowed_goes_alone() {
        let mut desk = DiskDesk::new(FileSlots::new(0, 1), 0);
        desk.folder(0, DiskOp::Read { file: FileId(0), position: 0, len: 64 << 20 });
        desk.folder(1, DiskOp::Read { file: FileId(0), position: 0, len: 4096 });
        let out = std::mem::take(&mut desk.outgoing);
        assert_eq!(out.len(), 1);
        assert_eq!(desk.asker(out[0].0), Some(DiskAsker::Folder(0)));
        assert_eq!(desk.outgoing.len(), 1);
    }
}
