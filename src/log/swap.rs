//! Loading: results of a compaction (`.log.swap`) that were to take the place of their originals at the end of the
//! process.

use crate::base::time::Now;
use crate::port::disk::DiskOp;

use super::PartitionLog;
use super::load::{After, Loader, Stage};
use super::names::{self, FileKind, Leftover};
use super::recover::SegmentScan;
use super::scan::ScanEnd;
use super::segment::Segment;
use super::types::LogOut;

impl PartitionLog {
    /// Looks at the next result of a compaction that was to take the place of its originals.
    pub(super) fn next_swap(&mut self, loader: &mut Loader, now: Now, out: &mut LogOut) -> Result<(), String> {
        let Some((base, len)) = loader.swaps.pop_first() else { return self.folder_is_tidy(loader, now, out) };
        self.drop_scanned(out);
        let segment = Segment { swap: true, ..Segment::found(base, base, len, now.wall_ms, now.mono) };
        self.segments.insert(base, segment);
        loader.scan = Some(Box::new(SegmentScan::of_swap(base)));
        loader.stage = Stage::Scan;
        self.scan_file(loader, now, out)
    }

    /// A swap file is whole when it was renamed, so it wins over the segments it was made from: they go, newest first,
    /// and it takes its name last. One that is not whole loses to its originals.
    pub(super) fn swap_scanned(
        &mut self,
        loader: &mut Loader,
        end: ScanEnd,
        now: Now,
        out: &mut LogOut,
    ) -> Result<(), String> {
        let base = loader.scan.take().map_or(0, |scan| scan.base());
        let dir = self.dir.clone();
        self.drop_scanned(out);
        let swap = |kind| names::leftover_path(&dir, kind, base, Leftover::Swap);
        let whole = end.reason.is_none() && end.padding == 0;
        if !whole && loader.logs.contains_key(&base) {
            loader.note(format!("the compacted segment {base} was not whole; its originals stay"));
            for kind in [FileKind::Index, FileKind::TimeIndex, FileKind::TxnIndex, FileKind::Log] {
                loader.todo.push_back(DiskOp::Remove { path: swap(kind) });
            }
            return self.run_todo(loader, After::List, now, out);
        }
        loader.note(format!("the compacted segment {base} took the place of its originals"));
        let replaced: Vec<i64> = match whole {
            true => loader.logs.range(base + 1..end.next_offset.max(base + 1)).rev().map(|(&at, _)| at).collect(),
            false => Vec::new(),
        };
        for original in replaced {
            loader.remove_segment(&dir, original);
        }
        // The offset and time indexes are made again when they are needed.
        for kind in [FileKind::Index, FileKind::TimeIndex] {
            loader.todo.push_back(DiskOp::Remove { path: self.path(kind, base) });
            loader.todo.push_back(DiskOp::Remove { path: swap(kind) });
        }
        for kind in [FileKind::TxnIndex, FileKind::Log] {
            loader.todo.push_back(DiskOp::Rename { from: swap(kind), to: self.path(kind, base) });
        }
        self.run_todo(loader, After::List, now, out)
    }
}
