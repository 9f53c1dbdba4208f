//! temporary
use super::*;
use crate::base::time::Now;
#[derive(Debug)]
pub struct Loader;
impl PartitionLog {
    pub fn load(dir: String, id: Uuid, c: LogConfig, _: LoadHints, now: Now, out: &mut LogOut) -> PartitionLog { PartitionLog::create(dir, id, c, now, out) }
    pub(super) fn load_answer(&mut self, _: crate::port::disk::DiskResult, _: Now, _: &mut LogOut, _: &mut Vec<LogEvent>) {}
    pub(super) fn pump_load(&mut self, _: Now, _: &mut LogOut, _: &mut Vec<LogEvent>) {}
    pub(super) fn pump_truncate(&mut self, _: Now, _: &mut LogOut, _: &mut Vec<LogEvent>) {}
}
