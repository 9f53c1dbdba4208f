//! Sending out of files: what was staged goes to real clients, between parts in memory and to slow readers, too.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::Acting;
use super::disk::{DIRECT, pattern};
use super::drivers::Real;
use super::net::{connect, stop};
use crate::base::limits::BLOCK;
use crate::base::time::Now;
use crate::port::disk::{DiskOp, DiskOutput, FileId};
use crate::port::net::{NetInput, NetOp};
use crate::port::range::{FileRange, Part};
use crate::port::turn::{Effects, Inputs, NextWake, Token};
use crate::rt::{Running, run};

const FILE: FileId = FileId(3);
const BLOCKS: u64 = 700;
/// Where the staged range begins and ends: inside blocks.
const FROM: usize = 1_234;
const TO: usize = BLOCKS as usize * BLOCK - 77;
/// How often it is sent: more than sockets hold.
const TIMES: usize = 20;

fn content() -> Bytes {
    pattern(5, BLOCKS)
}

/// Writes a file, stages a range of it, has `spoil` done to it, and sends `answer` of the range to whoever connects.
fn serve(real: &Real, spoil: Option<DiskOp>, answer: fn(&FileRange) -> Vec<Part>) -> (tempfile::TempDir, Running) {
    let (folder, mut options) = real.options(1);
    options.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    let running = run(real.0, options, move |_| {
        let stage =
            |fill| DiskOp::Stage { file: FILE, position: FROM as u64, len: (TO - FROM) as u32, look: 100, fill };
        let write = DiskOp::Write { file: FILE, position: 0, data: content(), sync: true };
        let mut steps = vec![DiskOp::Open { file: FILE, path: "staged.log".to_owned(), mode: DIRECT }, write];
        // Once more, from the page cache now.
        steps.extend([stage(true), stage(false)]);
        steps.extend(spoil.clone());
        let mut steps = steps.into_iter();
        let (mut staged, mut asked, mut early) = (None, false, Vec::new());
        Acting(move |_: Now, inputs: Inputs<u64>, effects: &mut Effects<u64>| {
            for (_, result) in inputs.disk {
                asked = false;
                if let DiskOutput::Staged { range, tail } = result.expect("nothing fails") {
                    assert_eq!((range.len(), range.position()), (TO - FROM, FROM as u64));
                    assert_eq!(tail, content().slice(TO - 100..TO), "the last bytes of it");
                    staged = Some(range);
                }
            }
            if !asked && let Some(op) = steps.next() {
                asked = true;
                effects.disk.push((Token(1), op));
            }
            for input in inputs.net {
                match input {
                    NetInput::Accepted { conn, .. } => early.push(conn),
                    NetInput::Sent { conn } | NetInput::Broken { conn } => effects.net.push(NetOp::Close { conn }),
                    NetInput::Received { .. } | NetInput::Closed { .. } => {}
                }
            }
            if !asked && let Some(range) = &staged {
                effects.net.extend(early.drain(..).map(|conn| NetOp::Send { conn, parts: answer(range) }));
            }
            effects.stopped = inputs.stop;
            NextWake::Never
        })
    });
    (folder, running.expect("start"))
}

/// Parts in memory before, between and behind ranges of the file, some of them empty.
fn mixed(range: &FileRange) -> Vec<Part> {
    let mut parts = vec![Part::from(Bytes::from_static(b"head"))];
    for time in 0..TIMES {
        let (mut front, mut none) = (range.clone(), range.clone());
        front.truncate((1000 * time) as u32);
        none.truncate(0);
        parts.extend([Part::File(front), Part::File(none), Bytes::from_static(b"between").into(), Bytes::new().into()]);
        parts.push(Part::File(range.clone()));
    }
    parts.push(Bytes::from_static(b"tail").into());
    parts
}

fn expected() -> Vec<u8> {
    let staged = content().slice(FROM..TO);
    let mut all = BytesMut::from(&b"head"[..]);
    for time in 0..TIMES {
        all.extend_from_slice(&staged[..1000 * time]);
        all.extend_from_slice(b"between");
        all.extend_from_slice(&staged);
    }
    all.extend_from_slice(b"tail");
    all.to_vec()
}

fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("read");
    all
}

/// Several clients at once, of which one begins to read when all sockets have long been full.
pub fn what_was_staged_is_sent_between_parts_in_memory_to_slow_readers_too(real: &Real) {
    let (_folder, running) = serve(real, None, mixed);
    thread::scope(|scope| {
        for client in 0..3 {
            let running = &running;
            scope.spawn(move || {
                let mut stream = connect(running);
                thread::sleep(Duration::from_millis(300 * client));
                assert!(read_all(&mut stream) == expected(), "client {client} got other bytes");
            });
        }
    });
    stop(running);
}

/// A file that is shorter than promised ends the connection before anything wrong is sent.
pub fn a_staged_file_that_is_cut_breaks_the_connection(real: &Real) {
    let (_folder, running) = serve(real, Some(DiskOp::SetLen { file: FILE, len: 8 * BLOCK as u64 }), mixed);
    let mut stream = connect(&running);
    let mut all = Vec::new();
    // An end, or a reset if the rest was in the way.
    let _ = stream.read_to_end(&mut all);
    assert!(all.len() < expected().len() && expected().starts_with(&all), "{} bytes", all.len());
    stop(running);
}

/// The number is given back; the range still has the bytes.
pub fn a_staged_file_that_is_closed_is_sent_all_the_same(real: &Real) {
    let (_folder, running) = serve(real, Some(DiskOp::Close { file: FILE }), |range| vec![Part::File(range.clone())]);
    let mut stream = connect(&running);
    assert!(read_all(&mut stream) == content().slice(FROM..TO), "other bytes");
    stop(running);
}
