//! What this machine can do at best: a stream over loopback, direct writes with a data sync, CRC, copy. The frame that
//! every other figure is read against.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::args::MachineArgs;
use super::machine::{Disk, Machine};
use super::outcome::Spread;
use super::process;
use super::store::now_ms;
use super::units;
use crate::base::chunk::Chunk;
use crate::cli::output::{Failure, Out};

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub value: f64,
    pub unit: String,
}

/// All figures and where they were taken; kept as `machine.json` beside the results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    pub machine: Machine,
    pub disk: Option<Disk>,
    pub rows: Vec<Row>,
}

/// How much is done: enough for a figure, or just enough to see that it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Full,
    Short,
}

impl Size {
    fn of(self, full: usize, short: usize) -> usize {
        if self == Size::Full { full } else { short }
    }
}

const FILE: &str = "machine.json";

/// What was measured in this folder of results, if anything.
pub fn stored(folder: &Path) -> Option<Envelope> {
    serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()
}

pub fn run(args: &MachineArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    let told = |path: &Path, error: io::Error| Failure::new(format!("{}: {error}", path.display()));
    fs::create_dir_all(&args.out).map_err(|error| told(&args.out, error))?;
    let data = args.data.as_ref().unwrap_or(&args.out);
    let size = if args.short { Size::Short } else { Size::Full };
    let rows = measure(data, size).map_err(|error| told(data, error))?;
    let envelope = Envelope { at_ms: now_ms(), machine: Machine::here(), disk: Disk::of(data), rows };
    if out.is_json() {
        out.json(&json!(envelope))?;
    } else {
        let mut rows = vec![vec!["THIS MACHINE".to_owned(), String::new(), String::new()]];
        rows.extend(envelope.rows.iter().map(|row| vec![row.name.clone(), units::number(row.value), row.unit.clone()]));
        out.table(&rows)?;
    }
    let path = args.out.join(FILE);
    let text = serde_json::to_vec_pretty(&envelope).map_err(|error| told(&path, error.into()))?;
    fs::write(&path, text).map_err(|error| told(&path, error))
}

/// Measures; the files in `folder` are removed again.
pub fn measure(folder: &Path, size: Size) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut row = |name: String, value: f64, unit: &str| rows.push(Row { name, value, unit: unit.to_owned() });
    let data: Vec<u8> = (0..1 << 20).map(|at: u32| at as u8).collect();
    let mut copy = vec![0; 1 << 20];
    for len in [16 << 10, 1 << 20] {
        let named = |what: &str| format!("{what} of {}", units::bytes(len as u64));
        let crc = rate(len, size, || {
            black_box(crc32c::crc32c(black_box(&data[..len])));
        });
        row(named("CRC-32C"), crc / 1e9, "GB/s");
        let copied = rate(len, size, || copy[..len].copy_from_slice(black_box(&data[..len])));
        row(named("copy"), copied / 1e9, "GB/s");
    }
    for block in [16 << 10, 64 << 10, 1 << 20] {
        let (speed, cpu) = stream(block, size.of(4 << 30, 4 << 20))?;
        let name = format!("loopback stream, {} a call", units::bytes(block as u64));
        row(name.clone(), speed / 1e6, "MB/s");
        if size == Size::Full {
            row(format!("{name}: both sides"), cpu, "CPU s/GB");
        }
    }
    row("loopback, one byte there and back".to_owned(), echo(size.of(50_000, 10))?, "µs");
    for block in [4 << 10, 16 << 10, 64 << 10, 1 << 20] {
        let name = |depth: usize| format!("direct write + data sync, {} × depth {depth}", units::bytes(block as u64));
        for depth in [1, 8] {
            let writes = size.of((512 << 20) / block, 2).clamp(2, 400) / depth.min(size.of(8, 1));
            let (speed, median) = synced(folder, block, depth, writes.max(2), true)?;
            row(name(depth), speed / 1e6, "MB/s");
            row(format!("{}: median", name(depth)), median, "µs");
        }
        let (_, median) = synced(folder, block, 1, size.of(100, 2), false)?;
        row(format!("{}, where the file grows: median", name(1)), median, "µs");
    }
    for depth in [1, 8] {
        let speed = unsynced(folder, 1 << 20, depth, size.of(512, 2))?;
        row(format!("direct write, no sync, 1 MiB × depth {depth}"), speed / 1e6, "MB/s");
    }
    Ok(rows)
}

/// Bytes a second of some work in memory, the median of several samples.
fn rate(bytes: usize, size: Size, mut work: impl FnMut()) -> f64 {
    let calls = size.of((256 << 20) / bytes, 1);
    let samples = (0..size.of(7, 1)).map(|_| {
        let start = Instant::now();
        (0..calls).for_each(|_| work());
        (calls * bytes) as f64 / start.elapsed().as_secs_f64()
    });
    Spread::of(samples).map_or(0.0, |spread| spread.median)
}

/// Bytes a second, and CPU seconds of both sides for a gigabyte.
fn stream(block: usize, total: usize) -> io::Result<(f64, f64)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let own = std::process::id();
    let before = process::cpu(own).unwrap_or_default();
    let sender = std::thread::spawn(move || -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let data = vec![7; block];
        (0..total / block).try_for_each(|_| stream.write_all(&data))
    });
    let (mut stream, _) = listener.accept()?;
    let mut buffer = vec![0; block];
    let (mut received, start) = (0, Instant::now());
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            count => received += count,
        }
    }
    let speed = received as f64 / start.elapsed().as_secs_f64();
    sender.join().map_err(|_| io::Error::other("the sender panicked"))??;
    let cpu = process::cpu(own).unwrap_or_default().since(before).total();
    Ok((speed, cpu / (received as f64 / 1e9)))
}

/// Microseconds for one byte there and back: what a request over loopback costs in waking two threads.
fn echo(rounds: usize) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let other = std::thread::spawn(move || -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut byte = [0];
        while stream.read(&mut byte)? == 1 {
            stream.write_all(&byte)?;
        }
        Ok(())
    });
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let (mut byte, start) = ([1], Instant::now());
    for _ in 0..rounds {
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
    }
    let took = start.elapsed().as_secs_f64() * 1e6 / rounds as f64;
    drop(stream);
    other.join().map_err(|_| io::Error::other("the echo panicked"))??;
    Ok(took)
}

/// A file for direct writes that is gone when it is dropped.
struct Scratch {
    file: File,
    path: std::path::PathBuf,
}

impl Scratch {
    fn new(folder: &Path, number: usize) -> io::Result<Scratch> {
        let path = folder.join(format!(".kataract-bench-{}-{number}", std::process::id()));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::DIRECT;
        let file = File::from(rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))?);
        Ok(Scratch { file, path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done about a file that does not go; its name says whose it is.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes that are each made durable, by `depth` writers with a file each. Bytes a second of all, median of one in µs.
fn synced(folder: &Path, block: usize, depth: usize, writes: usize, is_filled: bool) -> io::Result<(f64, f64)> {
    let files: Vec<Scratch> = (0..depth).map(|number| Scratch::new(folder, number)).collect::<io::Result<_>>()?;
    let data = Chunk::zeroed(block);
    if is_filled {
        for scratch in &files {
            (0..writes).try_for_each(|at| scratch.file.write_all_at(data.as_slice(), (at * block) as u64))?;
            scratch.file.sync_all()?;
        }
    }
    let start = Instant::now();
    let samples = each(&files, |scratch| {
        let data = Chunk::zeroed(block);
        (0..writes)
            .map(|at| {
                let start = Instant::now();
                scratch.file.write_all_at(data.as_slice(), (at * block) as u64)?;
                scratch.file.sync_data()?;
                Ok(start.elapsed().as_secs_f64() * 1e6)
            })
            .collect::<io::Result<Vec<f64>>>()
    })?;
    let speed = (depth * writes * block) as f64 / start.elapsed().as_secs_f64();
    Ok((speed, Spread::of(samples.concat()).map_or(0.0, |spread| spread.median)))
}

/// Writes into space that was written before, without a sync. Bytes a second of all writers.
fn unsynced(folder: &Path, block: usize, depth: usize, writes: usize) -> io::Result<f64> {
    let files: Vec<Scratch> = (0..depth).map(|number| Scratch::new(folder, number)).collect::<io::Result<_>>()?;
    let writes = (writes / depth).max(1);
    let pass = |scratch: &Scratch| {
        let data = Chunk::zeroed(block);
        (0..writes).try_for_each(|at| scratch.file.write_all_at(data.as_slice(), (at * block) as u64))
    };
    each(&files, pass)?;
    let start = Instant::now();
    each(&files, pass)?;
    Ok((depth * writes * block) as f64 / start.elapsed().as_secs_f64())
}

/// One thread for each file.
fn each<T: Send>(files: &[Scratch], work: impl Fn(&Scratch) -> io::Result<T> + Sync) -> io::Result<Vec<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = files.iter().map(|scratch| scope.spawn(move || work(scratch))).collect();
        let ends = threads.into_iter().map(|one| one.join().map_err(|_| io::Error::other("a writer panicked"))?);
        ends.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_look_has_every_figure_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let rows = match measure(folder.path(), Size::Short) {
            Ok(rows) => rows,
            // A file system without direct I/O says so at the first open.
            Err(error) => return assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}"),
        };
        assert!(rows.iter().all(|row| row.value.is_finite() && row.value > 0.0), "{rows:?}");
        for what in ["CRC-32C", "copy", "loopback stream", "there and back", "data sync", "grows", "no sync"] {
            assert!(rows.iter().any(|row| row.name.contains(what)), "{what}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
