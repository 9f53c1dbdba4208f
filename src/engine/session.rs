//! The connections of one core: bytes in become frames in order, answers go out in the order of the requests.
//!
//! What keeps a client within bounds: at most [`SessionLimits::requests_per_connection`] requests of a connection are in
//! work, at most [`SessionLimits::bytes_in_flight`] bytes of frames over the core, and at most
//! [`SessionLimits::bytes_out_per_connection`] of answers wait for a slow reader. At a limit the connection is not read
//! any more: the socket fills, and TCP tells the client.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};

use crate::api::{Answer, Request};
use crate::base::ids::ConnId;
use crate::base::time::{Mono, Now};
use crate::port::net::NetOp;
use crate::wire::frame::{self, Cut};

/// Room beyond the smallest that the receive buffers of waiting connections may have together, bytes a core.
const READ_AHEAD_BYTES_MAX: usize = 4 << 20;

/// The bounds of one core's connections.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    pub frame_bytes_max: usize,
    pub requests_per_connection: usize,
    pub bytes_in_flight: usize,
    pub bytes_out_per_connection: usize,
    /// `connections.max.idle.ms`; `None`: never.
    pub idle_ms: Option<u64>,
    pub fetch_sessions: usize,
}

/// An answer's place in the order of its connection.
#[derive(Debug)]
struct Place {
    frame_bytes: usize,
    parts: Option<Vec<Bytes>>,
}

#[derive(Debug)]
struct Session {
    peer: IpAddr,
    /// Bytes read and not cut into frames; `None` while a read is in flight (the driver has the buffer).
    input: Option<BytesMut>,
    /// Length of the last frame: the next one is expected to be like it.
    last_frame: usize,
    /// Room beyond the smallest in the receive buffer that the driver has.
    read_ahead: usize,
    places: VecDeque<Place>,
    first_place: u64,
    out: Vec<Bytes>,
    out_bytes: usize,
    sending: bool,
    closing: bool,
    /// Close once everything before is sent.
    close_after: bool,
    active_at: Mono,
}

#[derive(Debug)]
pub struct Sessions {
    limits: SessionLimits,
    table: BTreeMap<ConnId, Session>,
    bytes_in_flight: usize,
    /// The sum of every session's `read_ahead`.
    read_ahead: usize,
    /// Connections that wait for the core's byte budget, in order.
    starved: VecDeque<ConnId>,
    ops: Vec<NetOp>,
    reading: bool,
    idle_check_at: Option<Mono>,
}

impl Sessions {
    pub fn new(limits: SessionLimits) -> Sessions {
        Sessions {
            limits,
            table: BTreeMap::new(),
            bytes_in_flight: 0,
            read_ahead: 0,
            starved: VecDeque::new(),
            ops: Vec::new(),
            reading: true,
            idle_check_at: None,
        }
    }

    pub fn accepted(&mut self, conn: ConnId, peer: SocketAddr, now: Now) {
        let session = Session {
            peer: peer.ip(),
            input: Some(BytesMut::new()),
            last_frame: 0,
            read_ahead: 0,
            places: VecDeque::new(),
            first_place: 0,
            out: Vec::new(),
            out_bytes: 0,
            sending: false,
            closing: false,
            close_after: false,
            active_at: now.mono,
        };
        self.table.insert(conn, session);
        if let (None, Some(idle_ms)) = (self.idle_check_at, self.limits.idle_ms) {
            self.idle_check_at = Some(now.mono.plus_ms(idle_ms));
        }
    }

    /// Starts to read from a connection.
    pub fn begin(&mut self, conn: ConnId) {
        self.read_on(conn);
    }

    /// The node serves now: reads from everyone who came before.
    pub fn begin_all(&mut self) {
        let all: Vec<ConnId> = self.table.keys().copied().collect();
        for conn in all {
            self.read_on(conn);
        }
    }

    pub fn received(&mut self, conn: ConnId, buffer: BytesMut, count: usize, now: Now) {
        let Some(session) = self.table.get_mut(&conn) else { return };
        session.input = Some(buffer);
        self.read_ahead -= std::mem::take(&mut session.read_ahead);
        session.active_at = now.mono;
        if count == 0 {
            // The client closed its side. What it asked before is carried out, but nobody reads the answers.
            self.close(conn);
        }
    }

    /// The next whole frame of a connection, if its limits allow one more request.
    pub fn next_request(&mut self, conn: ConnId) -> Option<(Request, IpAddr)> {
        let session = self.table.get_mut(&conn)?;
        if session.closing || session.close_after || !self.reading {
            return None;
        }
        if session.places.len() >= self.limits.requests_per_connection
            || session.out_bytes > self.limits.bytes_out_per_connection
        {
            return None;
        }
        if self.bytes_in_flight > self.limits.bytes_in_flight {
            if !self.starved.contains(&conn) {
                self.starved.push_back(conn);
            }
            return None;
        }
        let input = session.input.as_mut()?;
        match frame::cut(input, self.limits.frame_bytes_max) {
            Ok(Cut::Frame(frame)) => {
                session.last_frame = frame.len();
                let place = session.first_place + session.places.len() as u64;
                session.places.push_back(Place { frame_bytes: frame.len(), parts: None });
                self.bytes_in_flight += frame.len();
                Some((Request { conn, place, frame }, session.peer))
            }
            Ok(Cut::Needs(_)) => {
                self.read_on(conn);
                None
            }
            Err(error) => {
                tracing::debug!("{}: {error}; connection closed", session.peer);
                self.close(conn);
                None
            }
        }
    }

    /// Asks for more bytes, unless a read is in flight.
    fn read_on(&mut self, conn: ConnId) {
        if !self.reading {
            return;
        }
        let Some(session) = self.table.get_mut(&conn) else { return };
        if session.closing || session.close_after {
            return;
        }
        if let Some(pending) = session.input.take() {
            let expected = frame::expected_read_bytes(session.last_frame);
            let more = expected - frame::IDLE_READ_BYTES;
            let between = if self.read_ahead + more <= READ_AHEAD_BYTES_MAX {
                session.read_ahead = more;
                self.read_ahead += more;
                expected
            } else {
                frame::IDLE_READ_BYTES
            };
            self.ops.push(NetOp::Recv { conn, buffer: frame::next_buffer(pending, between) });
        }
    }

    /// Puts an answer in its place and sends what is due.
    pub fn answer(&mut self, answer: Answer) {
        let Some(session) = self.table.get_mut(&answer.conn) else { return };
        let Some(index) = answer.place.checked_sub(session.first_place) else { return };
        if let Some(place) = session.places.get_mut(index as usize) {
            place.parts = Some(answer.parts);
        }
        if answer.close {
            session.close_after = true;
        }
        while session.places.front().is_some_and(|place| place.parts.is_some()) {
            let Some(place) = session.places.pop_front() else { break };
            session.first_place += 1;
            self.bytes_in_flight -= place.frame_bytes;
            for part in place.parts.into_iter().flatten().filter(|part| !part.is_empty()) {
                session.out_bytes += part.len();
                session.out.push(part);
            }
        }
        self.send_on(answer.conn);
    }

    fn send_on(&mut self, conn: ConnId) {
        let Some(session) = self.table.get_mut(&conn) else { return };
        if session.sending || session.closing {
            return;
        }
        if !session.out.is_empty() {
            session.sending = true;
            let parts = std::mem::take(&mut session.out);
            self.ops.push(NetOp::Send { conn, parts });
        } else if session.close_after {
            self.close(conn);
        }
    }

    pub fn sent(&mut self, conn: ConnId, now: Now) {
        let Some(session) = self.table.get_mut(&conn) else { return };
        session.sending = false;
        session.active_at = now.mono;
        session.out_bytes = session.out.iter().map(Bytes::len).sum();
        self.send_on(conn);
    }

    /// Connections that may go on because the core has bytes to spend again.
    pub fn take_fed(&mut self) -> Vec<ConnId> {
        if self.starved.is_empty() || self.bytes_in_flight > self.limits.bytes_in_flight / 2 {
            return Vec::new();
        }
        self.starved.drain(..).collect()
    }

    pub fn close(&mut self, conn: ConnId) {
        if let Some(session) = self.table.get_mut(&conn)
            && !session.closing
        {
            session.closing = true;
            self.ops.push(NetOp::Close { conn });
        }
    }

    pub fn closed(&mut self, conn: ConnId) {
        if let Some(session) = self.table.remove(&conn) {
            let held: usize = session.places.iter().map(|place| place.frame_bytes).sum();
            self.bytes_in_flight -= held;
            self.read_ahead -= session.read_ahead;
        }
    }

    pub fn close_all(&mut self) {
        let all: Vec<ConnId> = self.table.keys().copied().collect();
        for conn in all {
            self.close(conn);
        }
    }

    /// No further request is taken from anyone.
    pub fn stop_reading(&mut self) {
        self.reading = false;
    }

    /// Closes connections that said nothing for too long and wait for nothing.
    pub fn close_idle(&mut self, now: Now) {
        let (Some(at), Some(idle_ms)) = (self.idle_check_at, self.limits.idle_ms) else { return };
        if now.mono < at {
            return;
        }
        let idle: Vec<ConnId> = self
            .table
            .iter()
            .filter(|(_, s)| s.places.is_empty() && now.mono.ms_since(s.active_at) >= idle_ms)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in idle {
            self.close(conn);
        }
        // A connection is closed at most a quarter of the idle time late.
        self.idle_check_at = if self.table.is_empty() { None } else { Some(now.mono.plus_ms(idle_ms / 4 + 1)) };
    }

    pub fn next_wake(&self) -> Option<Mono> {
        self.idle_check_at
    }

    pub fn take_ops(&mut self, ops: &mut Vec<NetOp>) {
        ops.append(&mut self.ops);
    }
}
