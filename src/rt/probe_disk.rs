//! What a folder's disk can do and what a durable write costs there, measured in a few milliseconds on a small file of
//! our own that is removed again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::sys;
use crate::base::chunk::Chunk;

/// Written and synced at a time, bytes.
const WRITE_BYTES: usize = 16 << 10;
/// Writes of one kind; fewer when the disk is slow.
const WRITES_MAX: u32 = 16;
/// No further write of a kind after this long.
const TIME_MAX: Duration = Duration::from_millis(20);

/// What was found out.
#[derive(Clone, Debug)]
pub struct DiskFacts {
    /// O_DIRECT works.
    pub direct: bool,
    /// Alignment that direct I/O wants of memory, bytes (statx STATX_DIOALIGN, 6.1); `None`: the kernel does not say.
    pub memory_align: Option<u32>,
    /// Alignment of positions and lengths, bytes.
    pub offset_align: Option<u32>,
    /// fallocate(2) reserves space.
    pub fallocate: bool,
    /// Median cost of writing 16 KiB over written space and syncing the data.
    pub sync_inside: Duration,
    /// The same at the end of the file, which grows.
    pub sync_growing: Duration,
}

/// Measures in a folder, which must exist and be writable.
pub fn disk(folder: &Path) -> io::Result<DiskFacts> {
    let path = folder.join(format!(".kataract-probe-{}.tmp", std::process::id()));
    let facts = measure(&path);
    let removed = std::fs::remove_file(&path);
    let facts = facts?;
    removed?;
    Ok(facts)
}

fn measure(path: &Path) -> io::Result<DiskFacts> {
    let (file, direct) = match sys::open_rw(path, libc::O_CREAT | libc::O_DIRECT) {
        Ok(fd) => (File::from(fd), true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            (File::from(sys::open_rw(path, libc::O_CREAT)?), false)
        }
        Err(error) => return Err(error),
    };
    let chunk = Chunk::zeroed(WRITE_BYTES);
    let span = WRITE_BYTES as u64;
    let growing = median(|number| write(&file, &chunk, u64::from(number) * span))?;
    let written = file.metadata()?.len() / span;
    let inside = median(|number| write(&file, &chunk, u64::from(number) % written * span))?;
    let align = sys::direct_alignment(path)?;
    Ok(DiskFacts {
        direct,
        memory_align: align.map(|(memory, _)| memory),
        offset_align: align.map(|(_, offset)| offset),
        fallocate: sys::reserve(&file, 0, 1 << 20).is_ok(),
        sync_inside: inside,
        sync_growing: growing,
    })
}

fn write(file: &File, chunk: &Chunk, position: u64) -> io::Result<()> {
    file.write_all_at(chunk.as_slice(), position)?;
    file.sync_data()
}

fn median(mut step: impl FnMut(u32) -> io::Result<()>) -> io::Result<Duration> {
    let start = Instant::now();
    let mut times = Vec::new();
    for number in 0..WRITES_MAX {
        let before = Instant::now();
        step(number)?;
        times.push(before.elapsed());
        if start.elapsed() > TIME_MAX {
            break;
        }
    }
    times.sort();
    Ok(times[times.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_measures_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("folder");
        let facts = disk(folder.path()).expect("facts");
        assert!(facts.sync_inside > Duration::ZERO && facts.sync_growing > Duration::ZERO, "{facts:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 0);
        assert!(disk(&folder.path().join("missing")).is_err());
    }
}
