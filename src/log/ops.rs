//! Operations in flight: what each one is for.

use crate::port::disk::{DiskOp, FileId};

use super::PartitionLog;
use super::names::FileKind;
use super::types::{LogOut, LogTag};

/// Why an operation was asked for. Segments are named by their base offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// A step of making the folder.
    Create,
    /// A step of loading it.
    Load,
    Open {
        segment: i64,
        file: FileId,
    },
    /// Closes a file whose segment may be forgotten already.
    Close {
        segment: i64,
        file: FileId,
    },
    Write,
    RoundSync,
    /// A sync that no append waits for.
    LazySync {
        segment: i64,
        position: u64,
        offset: i64,
    },
    /// Room ahead: zeros, or space reserved.
    Fill {
        segment: i64,
        to: u64,
    },
    /// The current step of a segment's [`super::finish::Finish`].
    Finish {
        segment: i64,
    },
    /// The current step of the soft recovery checkpoint.
    Checkpoint,
    Epochs,
    IndexRead {
        segment: i64,
        kind: FileKind,
    },
    RebuildRead {
        segment: i64,
    },
    /// One of the two indexes of a rebuilt segment.
    RebuildWrite {
        segment: i64,
    },
    /// A read for a reader or a look-up by time.
    Read {
        job: u64,
    },
    /// Renaming or removing a file of a doomed segment.
    Doom {
        segment: i64,
    },
    /// Removing a producer snapshot that is not needed any more.
    DropSnapshot,
    /// A step of deleting the log.
    Delete,
}

/// The operations of one log that were not answered yet.
#[derive(Debug, Default)]
pub(super) struct Ops {
    next: u64,
    /// A handful at most, so a list is faster and smaller than a map.
    in_flight: Vec<(u64, Op)>,
}

impl Ops {
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether nothing is in flight but the closing of files.
    pub fn only_closes(&self) -> bool {
        self.in_flight.iter().all(|(_, op)| matches!(op, Op::Close { .. }))
    }

    pub fn take(&mut self, tag: LogTag) -> Option<Op> {
        let at = self.in_flight.iter().position(|(in_flight, _)| *in_flight == tag.0)?;
        Some(self.in_flight.swap_remove(at).1)
    }
}

impl PartitionLog {
    /// Asks for an operation.
    pub(super) fn ask(&mut self, op: Op, disk: DiskOp, out: &mut LogOut) {
        let tag = self.ops.next;
        self.ops.next += 1;
        self.ops.in_flight.push((tag, op));
        out.ops.push((LogTag(tag), disk));
    }
}
