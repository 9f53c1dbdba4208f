//! A new log: its folder, `partition.metadata`, an empty first segment.

use crate::base::ids::Uuid;
use crate::base::time::Now;
use crate::port::disk::{DiskOp, DiskResult};

use super::checkpoint;
use super::names;
use super::ops::Op;
use super::segment::Segment;
use super::types::{Durability, LogConfig, LogEvent, LogOut};
use super::{PartitionLog, Phase};

impl PartitionLog {
    /// Makes the log of a partition that has none: folder (`<topic>-<partition>`, relative to the data folder),
    /// `partition.metadata`, first segment at offset 0. [`LogEvent::Ready`] follows, or [`LogEvent::Failed`].
    pub fn create(dir: String, topic_id: Uuid, config: LogConfig, now: Now, out: &mut LogOut) -> PartitionLog {
        let mut log = PartitionLog::blank(dir, topic_id, config, Phase::Creating);
        log.begin_first_segment(0, now);
        let path = log.dir.clone();
        log.ask(Op::Create, DiskOp::MakeDir { path }, out);
        log
    }

    /// An empty active segment at `base`, and every offset there.
    pub(super) fn begin_first_segment(&mut self, base: i64, now: Now) {
        let direct = self.config.durability == Durability::Stable;
        self.segments.insert(base, Segment::new(base, direct, now.wall_ms, now.mono));
        self.start_offset = base;
        self.end_offset = base;
        self.durable_offset = base;
        self.synced_offset = base;
        self.written_offset = base;
    }

    /// The folder is there, or the metadata is written.
    pub(super) fn create_answer(&mut self, result: DiskResult, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        if let Err(error) = result {
            self.fail(format!("making {}: {}", self.dir, error.detail), events);
            return;
        }
        self.stopping.steps += 1;
        if self.stopping.steps == 1 {
            let path = format!("{}/{}", self.dir, names::METADATA);
            let data = checkpoint::encode_partition_metadata(self.topic_id).into();
            self.ask(Op::Create, DiskOp::WriteFile { path, data }, out);
        }
        self.pump_create(now, out, events);
    }

    /// Ready once the metadata is written and the first segment open.
    pub(super) fn pump_create(&mut self, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        if self.phase != Phase::Creating || self.stopping.steps == 0 {
            return;
        }
        let base = self.active().base;
        if self.ensure_open(base, now, out).is_some() && self.stopping.steps == 2 {
            self.stopping.steps = 0;
            self.phase = Phase::Ready;
            events.push(LogEvent::Ready);
        }
    }
}
