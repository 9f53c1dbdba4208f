//! How near does an engine with its driver come to the disk? Sequential appends of 1 MB batches through a whole
//! engine on the real driver, without a socket: frames are handed to it as if they had arrived. Beside it, in
//! turns, the driver alone writing as much in the same way: into space written before, and growing the file.
//!
//! The folder is the build's own, so put `target` on the disk in question (`CARGO_TARGET_DIR`). What fio says of
//! the same folder: `fio --name=x --directory=DIR --rw=write --bs=1M --direct=1 --ioengine=io_uring --sync=dsync
//! --numjobs=6 --size=512M --group_reporting --thread`.
#![allow(clippy::disallowed_methods, reason = "measures on the outside of the machine")]

mod kit;
#[path = "kit/writer.rs"]
mod writer;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;

use bytes::{Bytes, BytesMut};
use kataract::base::ids::ConnId;
use kataract::base::time::{Mono, Now};
use kataract::cli::bench::raw::wire;
use kataract::engine::Engine;
use kataract::port::net::{NetInput, NetOp};
use kataract::port::range::Part;
use kataract::port::turn::{Effects, Inputs, Machine, NextWake};
use kataract::rt::{DriverKind, DriverOptions, run};
use kataract::shard::message::Message;

use writer::{Case, Writer};

const TOPIC: &str = "bench";
const PARTITIONS: u32 = 6;
/// Requests of each connection in flight; a connection for each partition.
const DEPTH: u64 = 2;
const RUNS: usize = 5;

/// An engine whose network is us: a connection for each partition, each with a few requests in flight.
struct Fed {
    engine: Engine,
    serving: Rc<Cell<bool>>,
    frames: Vec<Bytes>,
    /// Of each connection: the buffer of its receive in flight, and the frames still to come, the first in part.
    receiving: BTreeMap<ConnId, BytesMut>,
    coming: BTreeMap<ConnId, Vec<Bytes>>,
    net: Vec<NetInput>,
    created: Option<bool>,
    left: u64,
    unanswered: u64,
    start: Mono,
    told: mpsc::Sender<u64>,
}

impl Fed {
    fn new(requests: u64, batch: &[u8], told: mpsc::Sender<u64>) -> Fed {
        let (engine, serving) = kit::engine(kit::now(0));
        let frames = (0..PARTITIONS).map(|at| kit::produce(TOPIC, at as i32, batch).into()).collect();
        let (receiving, coming, net) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let (left, unanswered) = (requests, requests);
        Fed { engine, serving, frames, receiving, coming, net, created: None, left, unanswered, start: Mono(0), told }
    }

    fn send(&mut self, conn: u64, frame: Bytes) {
        self.coming.entry(ConnId(conn)).or_default().push(frame);
        self.arrive(ConnId(conn));
    }

    /// The next bytes of a connection arrive, as many as its buffer takes.
    fn arrive(&mut self, conn: ConnId) {
        let Some(frames) = self.coming.get_mut(&conn).filter(|frames| !frames.is_empty()) else { return };
        let Some(mut buffer) = self.receiving.remove(&conn) else { return };
        let count = frames[0].len().min(buffer.capacity() - buffer.len());
        buffer.extend_from_slice(&frames[0].split_to(count));
        if frames[0].is_empty() {
            frames.remove(0);
        }
        self.net.push(NetInput::Received { conn, buffer, count });
    }

    fn answered(&mut self, conn: ConnId, parts: &[Part], now: Now) {
        self.net.push(NetInput::Sent { conn });
        if self.created == Some(false) {
            self.created = Some(true);
            self.start = now.mono;
            for conn in 0..u64::from(PARTITIONS) {
                (0..DEPTH).for_each(|_| self.next(conn));
            }
            return;
        }
        let mut bytes = Part::join(parts).expect("memory");
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
            let answer = bytes.split_to(4 + length);
            assert_eq!(wire::produced(&answer[4..]).expect("an answer"), 0, "every batch is taken");
            self.unanswered -= 1;
            self.next(conn.0);
        }
        if self.unanswered == 0 {
            // The receiver waits for exactly this.
            let _ = self.told.send(now.mono - self.start);
        }
    }

    fn next(&mut self, conn: u64) {
        if self.left > 0 {
            self.left -= 1;
            self.send(conn, self.frames[conn as usize].clone());
        }
    }

    fn network(&mut self, now: Now, effects: &mut Effects<Message>) {
        for op in std::mem::take(&mut effects.net) {
            match op {
                NetOp::Recv { conn, buffer } => {
                    self.receiving.insert(conn, buffer);
                    self.arrive(conn);
                }
                NetOp::Send { conn, parts } => self.answered(conn, &parts, now),
                NetOp::Close { conn } => {
                    assert_eq!(self.unanswered, 0, "the engine closed {conn:?} before the stop");
                    self.net.push(NetInput::Closed { conn });
                }
            }
        }
    }
}

impl Machine for Fed {
    type Message = Message;

    fn turn(&mut self, now: Now, inputs: &mut Inputs<Message>, effects: &mut Effects<Message>) -> NextWake {
        inputs.net.append(&mut self.net);
        let wake = self.engine.turn(now, inputs, effects);
        self.network(now, effects);
        if self.serving.get() && self.created.is_none() {
            self.created = Some(false);
            let peer = "127.0.0.1:1".parse().expect("an address");
            let conns = 0..u64::from(PARTITIONS);
            self.net.extend(conns.map(|conn| NetInput::Accepted { conn: ConnId(conn), peer }));
            self.send(0, wire::create_topic(TOPIC, PARTITIONS as i32).into());
        }
        // What arrives next is for the next turn, as with sockets: the disk has this one's writes meanwhile.
        if self.net.is_empty() { wake } else { NextWake::Now }
    }
}

/// MB/s of an engine.
fn engine(kind: DriverKind, folder: &Path, requests: u64) -> f64 {
    let batch = kit::batch(1000, 1000);
    let bytes = requests as f64 * batch.len() as f64;
    let (told, tell) = mpsc::channel();
    let build = move |_| Fed::new(requests, &batch, told.clone());
    let running = run(kind, DriverOptions::new(folder.to_owned()), build).expect("the driver runs");
    let nanoseconds = tell.recv().expect("every batch is answered");
    running.request_stop();
    running.join().expect("a clean end");
    bytes / nanoseconds as f64 * 1000.0
}

/// MB/s of the driver alone.
fn driver(kind: DriverKind, folder: &Path, writes: u64, filled: bool) -> f64 {
    let case = Case { bytes: 1 << 20, files: PARTITIONS, writes, sync: true, filled };
    let (told, tell) = mpsc::channel();
    let build = move |_| Writer::new(case, told.clone());
    let running = run(kind, DriverOptions::new(folder.to_owned()), build).expect("the driver runs");
    let (_, nanoseconds) = tell.recv().expect("the writer finishes");
    running.request_stop();
    running.join().expect("a clean end");
    (writes << 20) as f64 / nanoseconds as f64 * 1000.0
}

fn main() {
    let (runs, requests) = if kit::is_real() { (RUNS, 2400) } else { (1, 12) };
    let mut figures: [Vec<f64>; 3] = Default::default();
    for _ in 0..runs {
        let folder = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        figures[0].push(driver(DriverKind::Uring, folder().path(), requests, true));
        figures[1].push(driver(DriverKind::Uring, folder().path(), requests, false));
        figures[2].push(engine(DriverKind::Uring, folder().path(), requests));
    }
    let names =
        ["driver alone, inside written space", "driver alone, growing the file", "engine and driver, 1 MB batches"];
    for (name, mut figures) in names.into_iter().zip(figures) {
        let median = kit::median(&mut figures);
        if kit::is_real() {
            println!("{name:<40} {median:>8.0} MB/s   of {:.0} to {:.0}", figures[0], figures[runs - 1]);
        } else {
            println!("{name}: runs");
        }
    }
}
