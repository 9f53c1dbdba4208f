//! A whole engine over an empty folder, fed with bytes as a driver brings them: what one receive holds is answered,
//! whether more bytes come or not.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::{Engine, SessionLimits};
use crate::base::ids::ConnId;
use crate::base::time::{Mono, Now};
use crate::port::disk::{DiskError, DiskErrorKind, DiskOp, DiskOutput, DiskResult};
use crate::port::net::{NetInput, NetOp};
use crate::port::range::Part;
use crate::port::turn::{Effects, Inputs, Machine};
use crate::shard::Notice;
use crate::shard::message::Message;
use crate::shard::test_config::test_config;

/// One engine and the far side of one connection.
pub(super) struct Rig {
    pub engine: Engine,
    conn: ConnId,
    inputs: Inputs<Message>,
    turns: u64,
    receiving: Option<BytesMut>,
    pub sent: Vec<u8>,
    /// The engine has closed the connection.
    pub closed: bool,
}

impl Rig {
    pub fn new() -> Rig {
        let config = test_config(1, &[("listeners", "PLAINTEXT://127.0.0.1:9092")]);
        let limits = SessionLimits {
            frame_bytes_max: 1 << 20,
            requests_per_connection: 8,
            bytes_in_flight: 1 << 20,
            bytes_out: 1 << 20,
            idle_ms: None,
            fetch_sessions: 10,
            fetch_session_bytes: 1 << 20,
        };
        let serving = Rc::new(RefCell::new(false));
        let told = serving.clone();
        let report = Box::new(move |_, notice| *told.borrow_mut() |= notice == Notice::Serving);
        let engine = Engine::new(config, limits, at(0), report);
        let mut rig = Rig {
            engine,
            conn: ConnId(0),
            inputs: Inputs::default(),
            turns: 0,
            receiving: None,
            sent: Vec::new(),
            closed: false,
        };
        rig.settle();
        assert!(*serving.borrow(), "an engine over an empty folder serves after its first turns");
        rig.reconnect();
        rig
    }

    /// A new connection in the place of the one before.
    pub fn reconnect(&mut self) {
        self.conn = ConnId(self.conn.0 + 1);
        self.closed = false;
        let peer = "127.0.0.1:1".parse().expect("an address");
        self.inputs.net.push(NetInput::Accepted { conn: self.conn, peer });
        self.settle();
    }

    /// Asks the engine to stop.
    pub fn stop(&mut self) {
        self.inputs.stop = true;
        self.settle();
    }

    /// Turns until nothing is left to bring in.
    fn settle(&mut self) {
        let mut effects = Effects::default();
        loop {
            self.turns += 1;
            self.engine.turn(at(self.turns), &mut self.inputs, &mut effects);
            self.inputs.disk.extend(effects.disk.drain(..).map(|(token, op)| (token, empty_disk(&op))));
            for op in effects.net.drain(..) {
                match op {
                    NetOp::Recv { buffer, .. } => self.receiving = Some(buffer),
                    NetOp::Send { parts, .. } => {
                        self.sent.extend(Part::join(&parts).expect("memory"));
                        self.inputs.net.push(NetInput::Sent { conn: self.conn });
                    }
                    NetOp::Close { conn } => {
                        self.closed = true;
                        self.inputs.net.push(NetInput::Closed { conn });
                    }
                }
            }
            if self.inputs.is_empty() || effects.stopped {
                return;
            }
        }
    }

    /// All of `bytes` with one receive.
    pub fn receive(&mut self, bytes: &[u8]) {
        let mut buffer = self.receiving.take().expect("a receive in flight");
        assert!(buffer.capacity() - buffer.len() >= bytes.len(), "one receive has room for it");
        buffer.extend_from_slice(bytes);
        self.inputs.net.push(NetInput::Received { conn: self.conn, buffer, count: bytes.len() });
        self.settle();
    }

    /// Correlation ids of the answers sent so far.
    pub fn answered(&self) -> Vec<i32> {
        let mut rest = Bytes::from(self.sent.clone());
        let mut ids = Vec::new();
        while let Some(length) = rest.first_chunk::<4>().map(|prefix| i32::from_be_bytes(*prefix)) {
            let answer = rest.split_to(4 + length as usize);
            ids.push(i32::from_be_bytes(answer[4..8].try_into().expect("four bytes")));
        }
        ids
    }
}

pub(super) fn at(turn: u64) -> Now {
    Now { mono: Mono(10_000_000_000 + turn * 1000), wall_ms: 1_750_000_000_000 }
}

/// The answer of a disk that is empty, keeps nothing and takes no time.
fn empty_disk(op: &DiskOp) -> DiskResult {
    match op {
        DiskOp::Open { .. } => Ok(DiskOutput::Opened { len: 0 }),
        DiskOp::Read { .. } => Ok(DiskOutput::Data(Bytes::new())),
        DiskOp::List { .. } => Ok(DiskOutput::Entries(Vec::new())),
        DiskOp::ReadFile { path, .. } => {
            Err(DiskError { kind: DiskErrorKind::NotFound, detail: format!("{path}: not found") })
        }
        _ => Ok(DiskOutput::Done),
    }
}

/// A request with a header of version 1: key, version, correlation id, no client id.
pub(super) fn frame(key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(correlation.to_be_bytes());
    request.extend((-1i16).to_be_bytes());
    request.extend(body);
    [&(request.len() as i32).to_be_bytes()[..], &request].concat()
}

/// ApiVersions 0 has no body; Metadata 1 asks for no topic.
fn api_versions(correlation: i32) -> Vec<u8> {
    frame(18, 0, correlation, &[])
}

fn metadata(correlation: i32) -> Vec<u8> {
    frame(3, 1, correlation, &0i32.to_be_bytes())
}

#[test]
fn whole_requests_of_one_receive_are_all_answered_though_no_more_bytes_come() {
    let mut rig = Rig::new();
    rig.receive(&[api_versions(1), metadata(2)].concat());
    assert_eq!(rig.answered(), [1, 2]);
    rig.receive(&[metadata(3), metadata(4), api_versions(5)].concat());
    assert_eq!(rig.answered(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_part_of_a_request_behind_whole_ones_is_answered_when_its_rest_comes() {
    let mut rig = Rig::new();
    let bytes = [api_versions(1), metadata(2), metadata(3)].concat();
    for cut in 1..bytes.len() {
        rig.sent.clear();
        rig.receive(&bytes[..cut]);
        let whole = [api_versions(1).len(), api_versions(1).len() + metadata(2).len()];
        assert_eq!(rig.answered().len(), whole.iter().filter(|end| cut >= **end).count(), "cut at {cut}");
        rig.receive(&bytes[cut..]);
        assert_eq!(rig.answered(), [1, 2, 3], "cut at {cut}");
    }
}
