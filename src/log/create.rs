//! A new log: its folder, `partition.metadata`, an empty first segment.

use crate::base::ids::Uuid;
use crate::base::time::Now;
use crate::port::disk::{DiskErrorKind, DiskOp, DiskResult};

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
        log.create_step(out);
        log
    }

    /// Asks for what comes next: the folder, then the metadata.
    fn create_step(&mut self, out: &mut LogOut) {
        let op = match self.stopping.steps {
            0 => DiskOp::MakeDir { path: self.dir.clone() },
            1 => {
                let path = format!("{}/{}", self.dir, names::METADATA);
                DiskOp::WriteFile { path, data: checkpoint::encode_partition_metadata(self.topic_id).into() }
            }
            _ => return,
        };
        self.ask(Op::Create, op, out);
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

    /// The folder is there, or the metadata is written. A full disk is waited for: the partition is not ready until
    /// then, and [`LogEvent::NoSpace`] says so.
    pub(super) fn create_answer(&mut self, result: DiskResult, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        match result {
            Err(error) if error.kind == DiskErrorKind::NoSpace && !self.stopping.close_asked => {
                self.stopping.again = true;
                self.set_no_space(events);
                self.retry_soon(now.mono);
                return;
            }
            Err(error) => return self.fail(format!("making {}: {}", self.dir, error.detail), events),
            Ok(_) => {}
        }
        self.stopping.steps += 1;
        self.create_step(out);
        self.space_seems_back(events);
        self.pump_create(now, out, events);
    }

    /// Ready once the metadata is written and the first segment open; closed again when that was asked for meanwhile.
    pub(super) fn pump_create(&mut self, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        if self.phase != Phase::Creating {
            return;
        }
        if self.stopping.again && self.retry_at.is_none() {
            self.stopping.again = false;
            self.create_step(out);
        }
        if self.stopping.steps == 0 {
            return;
        }
        let base = self.active().base;
        if self.ensure_open(base, now, out).is_some() && self.stopping.steps == 2 {
            self.stopping.steps = 0;
            if self.stopping.close_asked {
                self.phase = Phase::Closing;
                return self.pump(now, out, events);
            }
            self.phase = Phase::Ready;
            events.push(LogEvent::Ready);
        }
    }
}
