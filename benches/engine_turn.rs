//! What does a request cost before any system call? A whole engine, fed with real frames, its disk in memory: turns and
//! nanoseconds per request for mixes of produce and fetch.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod kit;

use std::collections::BTreeMap;

use bytes::BytesMut;
use kataract::base::ids::ConnId;
use kataract::cli::bench::raw::consume::LIMITS;
use kataract::cli::bench::raw::wire;
use kataract::engine::Engine;
use kataract::port::net::{NetInput, NetOp};
use kataract::port::range::Part;
use kataract::port::turn::{Effects, Inputs, Machine};
use kataract::shard::message::Message;

const TOPIC: &str = "bench";
const PARTITIONS: i32 = 6;

/// An engine of one core and the clients that speak to it.
struct Rig {
    engine: Engine,
    inputs: Inputs<Message>,
    effects: Effects<Message>,
    /// The buffer of each connection's receive in flight.
    receiving: BTreeMap<ConnId, BytesMut>,
    answers: usize,
    answer_bytes: usize,
    turns: u64,
    /// The last answer, whole.
    last: Vec<Part>,
}

impl Rig {
    fn new(connections: u64) -> Rig {
        let (engine, serving) = kit::engine(kit::now(0));
        let mut rig = Rig {
            engine,
            inputs: Inputs::default(),
            effects: Effects::default(),
            receiving: BTreeMap::new(),
            answers: 0,
            answer_bytes: 0,
            turns: 0,
            last: Vec::new(),
        };
        rig.settle();
        assert!(serving.get(), "an engine over an empty folder serves after its first turns");
        let peer = "127.0.0.1:1".parse().expect("an address");
        rig.inputs.net.extend((0..connections).map(|conn| NetInput::Accepted { conn: ConnId(conn), peer }));
        rig.ask(0, &wire::create_topic(TOPIC, PARTITIONS));
        rig
    }

    /// Turns until nothing is left to answer; the clock goes on a microsecond each.
    fn settle(&mut self) {
        loop {
            self.turns += 1;
            self.engine.turn(kit::now(self.turns), &mut self.inputs, &mut self.effects);
            for (token, op) in self.effects.disk.drain(..) {
                self.inputs.disk.push((token, kit::answer(&op)));
            }
            for op in self.effects.net.drain(..) {
                match op {
                    NetOp::Recv { conn, buffer } => {
                        self.receiving.insert(conn, buffer);
                    }
                    NetOp::Send { conn, parts } => {
                        self.answers += 1;
                        self.answer_bytes += parts.iter().map(Part::len).sum::<usize>();
                        self.last = parts;
                        self.inputs.net.push(NetInput::Sent { conn });
                    }
                    NetOp::Close { conn } => panic!("the engine closed {conn:?}"),
                }
            }
            if self.inputs.is_empty() {
                return;
            }
        }
    }

    /// Bytes arrive on a connection, as many as its buffer takes at a time.
    fn arrive(&mut self, conn: u64, mut frames: &[u8]) {
        while !frames.is_empty() {
            if !self.receiving.contains_key(&ConnId(conn)) {
                self.settle();
            }
            let mut buffer = self.receiving.remove(&ConnId(conn)).expect("a receive in flight");
            let count = frames.len().min(buffer.capacity() - buffer.len());
            buffer.extend_from_slice(&frames[..count]);
            frames = &frames[count..];
            self.inputs.net.push(NetInput::Received { conn: ConnId(conn), buffer, count });
        }
    }

    fn ask(&mut self, conn: u64, frames: &[u8]) -> usize {
        self.settle();
        let before = self.answer_bytes;
        self.arrive(conn, frames);
        self.settle();
        self.answer_bytes - before
    }
}

/// So many connections each bring so many frames for one turn.
fn produce(name: &str, records: usize, record_bytes: usize, connections: u64, depth: usize) {
    let mut rig = Rig::new(connections);
    let batch = kit::batch(records, record_bytes);
    let frames: Vec<Vec<u8>> = (0..PARTITIONS).map(|at| kit::produce(TOPIC, at, &batch)).collect();
    rig.ask(0, &frames[0]);
    let answer = Part::join(&rig.last).expect("memory").to_vec();
    assert_eq!(wire::produced(&answer[4..]).expect("an answer"), 0, "{name}");
    let requests = connections as usize * depth;
    let mut next = 0;
    let took = kit::time(|| {
        for conn in 0..connections {
            for _ in 0..depth {
                next = (next + 1) % frames.len();
                rig.arrive(conn, &frames[next]);
            }
        }
        rig.settle();
    });
    kit::line(name, took / requests as f64, batch.len());
}

fn fetch(name: &str, records: usize, record_bytes: usize) {
    let mut rig = Rig::new(1);
    let batch = kit::batch(records, record_bytes);
    let count = if kit::is_real() { 6 * 40 } else { 6 };
    for at in 0..count {
        rig.ask(0, &kit::produce(TOPIC, at % PARTITIONS, &batch));
    }
    let positions: Vec<(i32, i64)> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    let frame = wire::fetch(TOPIC, &positions, LIMITS);
    let bytes = rig.ask(0, &frame);
    assert!(bytes >= count as usize * batch.len(), "{name}: {bytes} bytes");
    let took = kit::time(|| {
        rig.ask(0, &frame);
    });
    kit::line(name, took, bytes);
}

fn main() {
    produce("produce, one record of 100 B, alone", 1, 100, 1, 1);
    produce("produce, one record of 100 B, 4 x 5 a turn", 1, 100, 4, 5);
    produce("produce, 16 KiB, alone", 15, 1024, 1, 1);
    produce("produce, 16 KiB, 2 x 5 a turn", 15, 1024, 2, 5);
    produce("produce, 1 MB, alone", 1000, 1024, 1, 1);
    fetch("fetch of six partitions, 240 batches of 16 KiB", 15, 1024);
    fetch("fetch of six partitions, 240 batches of 150 B", 1, 100);
}
