//! What does the log cost without a disk? Append, seal at the end of the turn, the answer of the write; by batch size
//! and by how many batches share a write.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod kit;

use kataract::base::ids::Uuid;
use kataract::log::{AheadRoom, FileSlots, LogConfig, LogEvent, LogOut, LogTag, PartitionLog};
use kataract::port::disk::DiskOp;

/// A log over a disk that answers at once.
struct Rig {
    log: PartitionLog,
    files: FileSlots,
    ahead: AheadRoom,
    ops: Vec<(LogTag, DiskOp)>,
    events: Vec<LogEvent>,
    step: u64,
}

impl Rig {
    fn new() -> Rig {
        let (mut files, mut ops) = (FileSlots::new(0, 100), Vec::new());
        let ahead = AheadRoom::new(0);
        let mut out = LogOut { ops: &mut ops, files: &mut files, ahead: &ahead };
        let log =
            PartitionLog::create("bench-0".to_owned(), Uuid([7; 16]), LogConfig::default(), kit::now(0), &mut out);
        let mut rig = Rig { log, files, ahead, ops, events: Vec::new(), step: 0 };
        rig.settle();
        assert!(rig.log.is_ready());
        rig
    }

    /// Answers operations until none is left.
    fn settle(&mut self) {
        while !self.ops.is_empty() {
            for (tag, op) in std::mem::take(&mut self.ops) {
                let mut out = LogOut { ops: &mut self.ops, files: &mut self.files, ahead: &self.ahead };
                self.log.complete(tag, kit::answer(&op), kit::now(self.step), &mut out, &mut self.events);
            }
        }
        self.events.clear();
    }

    /// One turn: so many appends, one flush, its completion; what is durable leaves the cache.
    fn turn(&mut self, batch: &[u8], appends: usize) {
        self.step += 1;
        let now = kit::now(self.step);
        for _ in 0..appends {
            self.log.append(batch, 0, now).expect("an append");
        }
        self.log.flush(now, &mut LogOut { ops: &mut self.ops, files: &mut self.files, ahead: &self.ahead });
        self.settle();
        self.log.evict(usize::MAX);
    }
}

fn main() {
    for (name, records, bytes) in [("1 x 100 B", 1, 100), ("15 x 1 KiB", 15, 1024), ("1000 x 1 KiB", 1000, 1024)] {
        let batch = kit::batch(records, bytes);
        for appends in [1, 10] {
            let mut rig = Rig::new();
            let name = format!("{name}, {appends} appends a write, a turn");
            kit::ask(&name, batch.len() * appends, || rig.turn(&batch, appends));
            let end = rig.log.end_offset();
            assert_eq!(rig.log.durable_offset(), end, "everything appended is written");
        }
    }
}
