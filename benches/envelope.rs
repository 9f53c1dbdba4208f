//! What does this machine allow at all? A raw stream over loopback, raw direct writes with a data sync, CRC, copy:
//! the frame that every other figure is read against.
#![allow(clippy::disallowed_methods, reason = "measures the machine itself")]

mod kit;

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use kataract::base::chunk::Chunk;
use rustix::fs::{Mode, OFlags};

fn stream(block: usize, total: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("an address");
    let sender = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("loopback");
        let data = vec![7; block];
        for _ in 0..total / block {
            stream.write_all(&data).expect("loopback");
        }
    });
    let (mut stream, _) = listener.accept().expect("loopback");
    let mut buffer = vec![0; block];
    let (mut received, start) = (0, Instant::now());
    loop {
        match stream.read(&mut buffer).expect("loopback") {
            0 => break,
            count => received += count,
        }
    }
    let took = start.elapsed().as_nanos() as f64;
    sender.join().expect("the sender");
    kit::line(&format!("loopback stream, {block} B a call, whole"), took, received);
}

/// Echoes one byte: what a request over loopback costs in waking two threads.
fn echo(rounds: u32) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("an address");
    let other = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("loopback");
        stream.set_nodelay(true).expect("loopback");
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).expect("loopback");
        }
    });
    let (mut stream, _) = listener.accept().expect("loopback");
    stream.set_nodelay(true).expect("loopback");
    let (mut byte, start) = ([1], Instant::now());
    for _ in 0..rounds {
        stream.write_all(&byte).expect("loopback");
        stream.read_exact(&mut byte).expect("loopback");
    }
    let took = start.elapsed().as_nanos() as f64 / f64::from(rounds);
    drop(stream);
    other.join().expect("the echo");
    kit::line("loopback, one byte there and back", took, 0);
}

fn direct(folder: &Path, name: &str) -> File {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::DIRECT;
    File::from(rustix::fs::open(folder.join(name), flags, Mode::from_raw_mode(0o644)).expect("direct I/O"))
}

/// One writer, one write in flight, each made durable.
fn disk(folder: &Path, block: usize, writes: u64) {
    let data = Chunk::zeroed(block);
    for filled in [true, false] {
        let file = direct(folder, if filled { "filled" } else { "growing" });
        if filled {
            (0..writes).for_each(|at| file.write_all_at(data.as_slice(), at * block as u64).expect("a write"));
            file.sync_all().expect("a sync");
        }
        let mut samples: Vec<f64> = (0..writes)
            .map(|at| {
                let start = Instant::now();
                file.write_all_at(data.as_slice(), at * block as u64).expect("a write");
                file.sync_data().expect("a sync");
                start.elapsed().as_nanos() as f64
            })
            .collect();
        let what = if filled { "inside written space" } else { "growing" };
        kit::line(&format!("direct write + data sync, {block} B, {what}"), kit::median(&mut samples), block);
    }
    let name = format!("direct write, no sync, {block} B");
    let file = direct(folder, "filled");
    let mut at = 0;
    kit::ask(&name, block, || {
        at = (at + 1) % writes;
        file.write_all_at(data.as_slice(), at * block as u64).expect("a write");
    });
}

fn main() {
    let real = kit::is_real();
    let data: Vec<u8> = (0..1 << 20).map(|at: u32| at as u8).collect();
    let mut copy = vec![0; 1 << 20];
    for len in [16 << 10, 1 << 20] {
        kit::ask(&format!("CRC-32C of {len} B"), len, || crc32c::crc32c(&data[..len]));
        kit::ask(&format!("copy of {len} B"), len, || {
            copy[..len].copy_from_slice(black_box(&data[..len]));
            copy[0]
        });
    }
    for block in [16 << 10, 1 << 20] {
        stream(block, if real { 4 << 30 } else { 4 << 20 });
    }
    echo(if real { 50_000 } else { 10 });
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    for block in [4 << 10, 16 << 10, 1 << 20] {
        disk(folder.path(), block, if real { 300 } else { 3 });
    }
}
