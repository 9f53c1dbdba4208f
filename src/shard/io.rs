//! Disk operations in flight: gives each log's operation a token of the core and finds the log again when it is
//! answered.

use crate::base::slots::{Key, Slots};
use crate::log::{FileSlots, LogOut, LogTag};
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
    /// The replay of all journals, at start.
    JournalStart,
}

/// The disk side of one core. Exists on every core, sees that core's operations only.
#[derive(Debug)]
pub struct DiskDesk {
    files: FileSlots,
    in_flight: Slots<DiskAsker>,
    scratch: Vec<(LogTag, DiskOp)>,
    /// Operations to hand to the driver at the end of the turn.
    pub outgoing: Vec<(Token, DiskOp)>,
}

impl DiskDesk {
    pub fn new(files: FileSlots) -> DiskDesk {
        DiskDesk { files, in_flight: Slots::default(), scratch: Vec::new(), outgoing: Vec::new() }
    }

    /// Lets the log of partition `key` ask for operations.
    pub fn with_log<R>(&mut self, key: Key, act: impl FnOnce(&mut LogOut<'_>) -> R) -> R {
        let result = act(&mut LogOut { ops: &mut self.scratch, files: &mut self.files });
        for (tag, op) in self.scratch.drain(..) {
            let token = Token(self.in_flight.insert(DiskAsker::Log(key, tag)));
            self.outgoing.push((token, op));
        }
        result
    }

    /// Asks for an operation of the folder's keeper.
    pub fn folder(&mut self, id: u64, op: DiskOp) {
        let token = Token(self.in_flight.insert(DiskAsker::Folder(id)));
        self.outgoing.push((token, op));
    }

    /// Asks for an operation of the core's journal.
    pub fn journal(&mut self, what: JournalOp, op: DiskOp) {
        let token = Token(self.in_flight.insert(DiskAsker::Journal(what)));
        self.outgoing.push((token, op));
    }

    /// Asks for an operation of the start that replays journals.
    pub fn journal_start(&mut self, op: DiskOp) {
        let token = Token(self.in_flight.insert(DiskAsker::JournalStart));
        self.outgoing.push((token, op));
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
        self.in_flight.remove(token.0)
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}
