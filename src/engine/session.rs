//! The connections of one core: bytes in become frames in order, answers go out in the order of the requests.
//!
//! What keeps a client within bounds: Produce requests are taken ahead, at most
//! [`SessionLimits::requests_per_connection`] of them; any other request is taken when everything before it is
//! answered (as Kafka does with all), since a small request may have a large answer. At most
//! [`SessionLimits::bytes_in_flight`] bytes of frames are in work or arriving over the core (`room.rs`); a cold
//! request above [`UNWEIGHED_BYTES`] may decode into, ask for and answer with many times its bytes, so these are also
//! counted by [`COLD_WEIGHT`]. What waits for news or for a group counts with what it holds then, not with its frame,
//! and fetches together take at most half (`api/polls.rs`): none of them keeps others from being served. What waits
//! for slow readers is held to [`SessionLimits::bytes_out`]: beyond it a connection gets its next answer when it has
//! read the one before, large requests wait, fetches answer with as little as they may, and a reader that has stopped
//! is closed. At a limit the connection is not read any more: the socket fills, and TCP tells the client.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;

use crate::api::{Answer, Request};
use crate::base::ids::ConnId;
use crate::base::time::{Mono, Now};
use crate::port::net::NetOp;
use crate::port::range::Part;
use crate::wire::fetch::FETCH_REQUEST_BYTES_MAX;
use crate::wire::frame::{self, Cut};
use crate::wire::guard::COLD_REQUEST_BYTES_MAX;
use crate::wire::versions::key;

use super::line::Line;
use super::room::{OWN_BYTES, Room};

/// Answers that may wait for a reader while further requests of it are taken, bytes: they go out as one.
const ANSWERS_JOINED_BYTES: usize = 64 * 1024;
/// How long one send may take while the core is short of room for answers, milliseconds.
const SEND_MS_MAX: u64 = 30_000;
/// What a header may add to the body of a request, bytes.
const HEADER_BYTES: usize = 64 * 1024;

/// What a cold request may take while it is in work, in multiples of its frame: decoded, asked of the owners, gathered
/// and encoded. The densest (a byte an element) take more, and are few because of it.
const COLD_WEIGHT: usize = 256;
/// Frames up to this size are not weighed and never wait for others that are: what ordinary clients ask, bytes.
const UNWEIGHED_BYTES: usize = 2048;
/// From this weight on a request waits while slow readers hold all the room there is for answers, bytes.
const LARGE_WEIGHT: usize = 1 << 20;

/// Room beyond the smallest that waiting connections may have together because larger frames are expected, a core.
const EXPECTED_BYTES_MAX: usize = 4 << 20;

/// The bounds of one core's connections.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    pub frame_bytes_max: usize,
    pub requests_per_connection: usize,
    pub bytes_in_flight: usize,
    /// Answers of the core that slow readers have not taken.
    pub bytes_out: usize,
    /// `connections.max.idle.ms`; `None`: never.
    pub idle_ms: Option<u64>,
    pub fetch_sessions: usize,
    /// What fetch sessions of the core may hold.
    pub fetch_session_bytes: usize,
}

/// An answer's place in the order of its connection.
#[derive(Debug)]
struct Place {
    /// Of its frame, or what is kept instead.
    held_bytes: usize,
    /// See [`cold_weight`].
    cold_weight: usize,
    /// A Produce: more of them may follow before it is answered.
    is_produce: bool,
    parts: Option<Vec<Part>>,
    /// Its answer is the last one of the connection.
    closes: bool,
}

#[derive(Debug)]
struct Session {
    peer: IpAddr,
    /// Bytes read and not cut into frames; `None` while a read is in flight (the driver has the buffer).
    input: Option<BytesMut>,
    /// Length of the last frame: the next one is expected to be like it.
    last_frame: usize,
    /// This connection's share of [`Sessions::expected_bytes`] while a read is in flight.
    expected_bytes: usize,
    places: VecDeque<Place>,
    first_place: u64,
    out: Vec<Part>,
    /// In `out` and being sent, and how much of it is in memory.
    out_bytes: usize,
    out_memory: usize,
    sending_since: Option<Mono>,
    closing: bool,
    /// A place closes the connection: nothing more is read, and it ends once everything up to that place is sent.
    close_after: bool,
    active_at: Mono,
}

/// What the request at the front of `input` counts for beside its bytes. Nothing, where it is held for long without
/// growing: a Produce, a Fetch, and members that wait for their group.
fn cold_weight(input: &[u8]) -> usize {
    match frame::api_key(input) {
        None | Some(key::PRODUCE | key::FETCH | key::JOIN_GROUP | key::SYNC_GROUP) => 0,
        Some(_) => match frame::announced_bytes(input) {
            0..=UNWEIGHED_BYTES => 0,
            bytes => bytes.saturating_mul(COLD_WEIGHT),
        },
    }
}

#[derive(Debug)]
pub struct Sessions {
    limits: SessionLimits,
    table: BTreeMap<ConnId, Session>,
    bytes_in_flight: usize,
    /// Of the requests in work, see [`cold_weight`].
    cold_weight: usize,
    bytes_out: usize,
    /// Room beyond the smallest in receive buffers that wait for frames like the last.
    expected_bytes: usize,
    room: Room,
    /// Connections that wait for the core's byte budget.
    starved: Line,
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
            cold_weight: 0,
            bytes_out: 0,
            expected_bytes: 0,
            room: Room::new(limits.bytes_in_flight),
            starved: Line::default(),
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
            expected_bytes: 0,
            places: VecDeque::new(),
            first_place: 0,
            out: Vec::new(),
            out_bytes: 0,
            out_memory: 0,
            sending_since: None,
            closing: false,
            close_after: false,
            active_at: now.mono,
        };
        self.table.insert(conn, session);
        let check_at = now.mono.plus_ms(self.check_ms());
        self.idle_check_at.get_or_insert(check_at);
    }

    /// Starts to read from a connection.
    pub fn begin(&mut self, conn: ConnId, now: Now) {
        self.read_on(conn, now);
    }

    /// The node serves now: reads from everyone who came before.
    pub fn begin_all(&mut self, now: Now) {
        let all: Vec<ConnId> = self.table.keys().copied().collect();
        for conn in all {
            self.read_on(conn, now);
        }
    }

    pub fn received(&mut self, conn: ConnId, buffer: BytesMut, count: usize, now: Now) {
        let Some(session) = self.table.get_mut(&conn) else { return };
        session.input = Some(buffer);
        self.expected_bytes -= std::mem::take(&mut session.expected_bytes);
        session.active_at = now.mono;
        self.room.heard(conn, now);
        if count == 0 {
            // The client closed its side. What it asked before is carried out, but nobody reads the answers.
            self.close(conn);
        }
    }

    /// The next whole frame of a connection, if its limits allow one more request.
    pub fn next_request(&mut self, conn: ConnId, now: Now) -> Option<(Request, IpAddr)> {
        let session = self.table.get_mut(&conn)?;
        if session.closing || session.close_after || !self.reading {
            return None;
        }
        let input = session.input.as_ref()?;
        let is_produce = frame::api_key(input) == Some(key::PRODUCE);
        let in_work = session.places.len();
        let in_turn = in_work == 0 || (is_produce && session.places.iter().all(|place| place.is_produce));
        let read_answers = session.out_bytes <= ANSWERS_JOINED_BYTES;
        if !in_turn || !read_answers || in_work >= self.limits.requests_per_connection {
            self.read_ahead(conn, now);
            return None;
        }
        let weight = cold_weight(input);
        let is_heavy = weight > 0 && self.cold_weight > self.limits.bytes_in_flight;
        // Its answer is large too, and those before have not been read.
        let is_late = weight > LARGE_WEIGHT && self.bytes_out > self.limits.bytes_out;
        // Nor before those that wait for longer: their clients may be the ones that read next.
        let overtakes = weight > LARGE_WEIGHT && self.starved.is_before(conn);
        if is_heavy || is_late || overtakes || self.bytes_in_flight > self.limits.bytes_in_flight {
            self.starved.wait(conn);
            return None;
        }
        let frame_bytes_max = match frame::api_key(input) {
            None | Some(key::PRODUCE) => self.limits.frame_bytes_max,
            // No other request is that large; this is known as soon as its first bytes are there.
            Some(key::FETCH) => self.limits.frame_bytes_max.min(FETCH_REQUEST_BYTES_MAX + HEADER_BYTES),
            Some(_) => self.limits.frame_bytes_max.min(COLD_REQUEST_BYTES_MAX + HEADER_BYTES),
        };
        match frame::cut(session.input.as_mut()?, frame_bytes_max) {
            Ok(Cut::Frame(frame)) => {
                session.last_frame = frame.len();
                self.starved.leave(conn);
                let place = session.first_place + in_work as u64;
                session.places.push_back(Place {
                    held_bytes: frame.len(),
                    cold_weight: weight,
                    is_produce,
                    parts: None,
                    closes: false,
                });
                self.bytes_in_flight += frame.len();
                self.cold_weight += weight;
                self.room.give_back(conn);
                Some((Request { conn, place, frame }, session.peer))
            }
            Ok(Cut::Needs(_)) => {
                self.read_on(conn, now);
                None
            }
            Err(error) => {
                tracing::debug!("{}: {error}; connection closed", session.peer);
                self.close(conn);
                None
            }
        }
    }

    /// Reads a little while a request is in work, since only a connection that is read is noticed when it closes. Not
    /// with a whole frame at hand: the driver would keep it until more bytes come, and its turn would pass.
    fn read_ahead(&mut self, conn: ConnId, now: Now) {
        let pending = self.table.get(&conn).and_then(|session| session.input.as_ref());
        let small = |pending: &BytesMut| pending.len() + frame::next_read_bytes(pending) <= OWN_BYTES;
        if pending.is_some_and(|pending| !frame::is_whole(pending) && small(pending)) {
            self.read_on(conn, now);
        }
    }

    /// Asks for more bytes, unless a read is in flight or there is no room for them.
    fn read_on(&mut self, conn: ConnId, now: Now) {
        if !self.reading {
            return;
        }
        let Some(session) = self.table.get_mut(&conn) else { return };
        if session.closing || session.close_after {
            return;
        }
        let Some(pending) = &session.input else { return };
        let wanted = frame::next_read_bytes(pending);
        let Some(read) = self.room.take(conn, pending.len(), wanted, self.bytes_in_flight, now) else { return };
        let mut read = read;
        let expected = frame::expected_read_bytes(session.last_frame);
        let more = expected - frame::IDLE_READ_BYTES;
        if pending.is_empty() && more > 0 && self.expected_bytes + more <= EXPECTED_BYTES_MAX {
            session.expected_bytes = more;
            self.expected_bytes += more;
            read = expected;
        }
        if let Some(pending) = session.input.take() {
            self.ops.push(NetOp::Recv { conn, buffer: frame::next_buffer(pending, read) });
        }
    }

    /// The request at `place` waits, and holds so many bytes from now on instead of its frame.
    pub fn holds(&mut self, conn: ConnId, place: u64, bytes: usize) {
        let Some(session) = self.table.get_mut(&conn) else { return };
        let Some(index) = place.checked_sub(session.first_place) else { return };
        if let Some(place) = session.places.get_mut(index as usize) {
            self.bytes_in_flight = self.bytes_in_flight - place.held_bytes + bytes;
            place.held_bytes = bytes;
        }
    }

    /// Puts an answer in its place and sends what is due.
    pub fn answer(&mut self, answer: Answer, now: Now) {
        let Some(session) = self.table.get_mut(&answer.conn) else { return };
        let Some(index) = answer.place.checked_sub(session.first_place) else { return };
        if let Some(place) = session.places.get_mut(index as usize) {
            place.parts = Some(answer.parts);
            place.closes = answer.close;
            session.close_after |= answer.close;
        }
        let mut is_over = false;
        while session.places.front().is_some_and(|place| is_over || place.parts.is_some()) {
            let Some(place) = session.places.pop_front() else { break };
            session.first_place += 1;
            self.bytes_in_flight -= place.held_bytes;
            self.cold_weight -= place.cold_weight;
            // What was asked behind the last answer is carried out, but has none.
            for part in place.parts.into_iter().flatten().filter(|part| !is_over && !part.is_empty()) {
                session.out_bytes += part.len();
                session.out_memory += part.memory_bytes();
                self.bytes_out += part.memory_bytes();
                session.out.push(part);
            }
            is_over |= place.closes;
        }
        self.send_on(answer.conn, now);
    }

    /// Something failed that has no answer: nothing more is read, and the connection ends once what is owed is sent.
    pub fn hang_up(&mut self, conn: ConnId, now: Now) {
        if let Some(session) = self.table.get_mut(&conn) {
            session.close_after = true;
            self.send_on(conn, now);
        }
    }

    fn send_on(&mut self, conn: ConnId, now: Now) {
        let Some(session) = self.table.get_mut(&conn) else { return };
        if session.sending_since.is_some() || session.closing {
            return;
        }
        if !session.out.is_empty() {
            session.sending_since = Some(now.mono);
            let parts = std::mem::take(&mut session.out);
            self.ops.push(NetOp::Send { conn, parts });
        } else if session.close_after && session.places.is_empty() {
            self.close(conn);
        }
    }

    pub fn sent(&mut self, conn: ConnId, now: Now) {
        let Some(session) = self.table.get_mut(&conn) else { return };
        session.sending_since = None;
        session.active_at = now.mono;
        session.out_bytes = session.out.iter().map(Part::len).sum();
        let waiting = session.out.iter().map(Part::memory_bytes).sum();
        self.bytes_out -= session.out_memory - waiting;
        session.out_memory = waiting;
        self.send_on(conn, now);
    }

    /// Connections that may go on because the core has bytes to spend again.
    pub fn take_fed(&mut self) -> Vec<ConnId> {
        let mut fed = self.room.take_fed(self.bytes_in_flight);
        // Half may be held by fetches for long, so what is above it must not be waited for.
        let limit = self.limits.bytes_in_flight;
        if self.bytes_in_flight <= limit / 4 * 3 && self.cold_weight <= limit / 2 {
            fed.extend(self.starved.take());
        }
        fed
    }

    /// How many more bytes of answers the core should make, as long as slow readers hold the rest.
    pub fn answer_room(&self) -> usize {
        self.limits.bytes_out.saturating_sub(self.bytes_out)
    }

    pub fn close(&mut self, conn: ConnId) {
        if let Some(session) = self.table.get_mut(&conn)
            && !session.closing
        {
            session.closing = true;
            self.room.give_back(conn);
            self.ops.push(NetOp::Close { conn });
        }
    }

    pub fn closed(&mut self, conn: ConnId) {
        if let Some(session) = self.table.remove(&conn) {
            let held: usize = session.places.iter().map(|place| place.held_bytes).sum();
            self.bytes_in_flight -= held;
            self.cold_weight -= session.places.iter().map(|place| place.cold_weight).sum::<usize>();
            self.bytes_out -= session.out_memory;
            self.expected_bytes -= session.expected_bytes;
            self.starved.leave(conn);
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

    /// Closes connections that said nothing for too long and wait for nothing, and those that hold what others need.
    pub fn close_idle(&mut self, now: Now) {
        for conn in self.room.overdue(now) {
            tracing::debug!("a frame did not come to its end while others waited for room; connection closed");
            self.close(conn);
        }
        if self.idle_check_at.is_none_or(|at| now.mono < at) {
            return;
        }
        let idle_ms = self.limits.idle_ms.unwrap_or(u64::MAX);
        let short = self.bytes_out > self.limits.bytes_out;
        let is_overdue = |session: &Session| {
            let idle = session.places.is_empty() && now.mono.ms_since(session.active_at) >= idle_ms;
            let stuck = session.sending_since.is_some_and(|since| now.mono.ms_since(since) >= SEND_MS_MAX);
            idle || (short && stuck)
        };
        let overdue: Vec<ConnId> = self.table.iter().filter(|(_, s)| is_overdue(s)).map(|(conn, _)| *conn).collect();
        for conn in overdue {
            self.close(conn);
        }
        self.idle_check_at = if self.table.is_empty() { None } else { Some(now.mono.plus_ms(self.check_ms())) };
    }

    /// A connection is closed at most a quarter of the idle time late, and at most a few seconds when it is stuck.
    fn check_ms(&self) -> u64 {
        self.limits.idle_ms.map_or(SEND_MS_MAX, |idle_ms| idle_ms / 4 + 1).min(SEND_MS_MAX / 4)
    }

    pub fn next_wake(&self) -> Option<Mono> {
        [self.idle_check_at, self.room.next_wake()].into_iter().flatten().min()
    }

    pub fn take_ops(&mut self, ops: &mut Vec<NetOp>) {
        ops.append(&mut self.ops);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const NOW: Now = Now { mono: Mono(0), wall_ms: 0 };

    fn sessions(connections: u64) -> Sessions {
        let mut sessions = Sessions::new(SessionLimits {
            frame_bytes_max: 1 << 20,
            requests_per_connection: 8,
            bytes_in_flight: 4 << 20,
            bytes_out: 1 << 20,
            idle_ms: None,
            fetch_sessions: 0,
            fetch_session_bytes: 0,
        });
        for conn in 0..connections {
            sessions.accepted(ConnId(conn), SocketAddr::from(([127, 0, 0, 1], 1)), NOW);
        }
        sessions
    }

    /// A connection sends a frame of `size` bytes; whether it is taken into work now, and its place.
    fn asks(sessions: &mut Sessions, conn: u64, api_key: i16, size: u32) -> Option<u64> {
        sessions.begin(ConnId(conn), NOW);
        let mut frame = BytesMut::from(&size.to_be_bytes()[..]);
        frame.extend_from_slice(&api_key.to_be_bytes());
        frame.resize(4 + size as usize, 0);
        let count = frame.len();
        sessions.received(ConnId(conn), frame, count, NOW);
        sessions.next_request(ConnId(conn), NOW).map(|(request, _)| request.place)
    }

    fn answered(sessions: &mut Sessions, conn: u64) {
        let answer = Answer { conn: ConnId(conn), place: 0, parts: Vec::new(), close: false };
        sessions.answer(answer, NOW);
    }

    #[test]
    fn a_large_request_waits_while_the_answers_before_are_not_read() {
        let mut sessions = sessions(3);
        assert_eq!(asks(&mut sessions, 0, key::METADATA, 64), Some(0));
        let parts = vec![Bytes::from(vec![0; 2 << 20]).into()];
        sessions.answer(Answer { conn: ConnId(0), place: 0, parts, close: false }, NOW);
        assert_eq!(asks(&mut sessions, 1, key::METADATA, 5_000), None, "as large an answer");
        assert_eq!(asks(&mut sessions, 2, key::METADATA, 500), Some(0), "a small one");
        sessions.sent(ConnId(0), NOW);
        let fed = sessions.take_fed();
        assert_eq!(fed, [ConnId(1)]);
        assert!(sessions.next_request(ConnId(1), NOW).is_some());
    }

    #[test]
    fn small_requests_that_may_grow_are_taken_as_far_as_memory_goes_and_wait_for_those_before() {
        let mut sessions = sessions(40);
        // 4,096 bytes count as 1 MiB: four fill what there is, one more comes on top.
        let taken = |sessions: &mut Sessions, key| (0..20).filter(|c| asks(sessions, *c, key, 4096).is_some()).count();
        assert_eq!(taken(&mut sessions, key::DESCRIBE_GROUPS), 5);
        assert_eq!(asks(&mut sessions, 20, key::PRODUCE, 4096), Some(0), "records are counted by their bytes");
        assert_eq!(asks(&mut sessions, 21, key::JOIN_GROUP, 4096), Some(0), "members may wait for long");
        assert_eq!(asks(&mut sessions, 22, key::HEARTBEAT, 64), Some(0), "ordinary clients wait for nobody");
        assert!(sessions.take_fed().is_empty());
        (0..2).for_each(|conn| answered(&mut sessions, conn));
        assert!(sessions.take_fed().is_empty(), "more than half is in work");
        answered(&mut sessions, 2);
        let fed = sessions.take_fed();
        assert_eq!(fed.len(), 15);
        let taken = fed.into_iter().filter(|conn| sessions.next_request(*conn, NOW).is_some()).count();
        assert_eq!(taken, 3);
        // What a closed connection had in work is given back too.
        (0..40).for_each(|conn| sessions.closed(ConnId(conn)));
        assert_eq!((sessions.cold_weight, sessions.bytes_in_flight), (0, 0));
    }

    /// What the sessions want of the network beside reads.
    fn ops(sessions: &mut Sessions) -> Vec<String> {
        let mut ops = Vec::new();
        sessions.take_ops(&mut ops);
        let told = ops.into_iter().filter_map(|op| match op {
            NetOp::Recv { .. } => None,
            NetOp::Send { parts, .. } => Some(format!("send {:?}", Part::join(&parts).expect("memory").to_vec())),
            NetOp::Close { .. } => Some("close".to_owned()),
        });
        told.collect()
    }

    #[test]
    fn an_answer_that_closes_the_connection_waits_for_those_before_it() {
        let mut sessions = sessions(1);
        for place in 0..3 {
            assert_eq!(asks(&mut sessions, 0, key::PRODUCE, 64), Some(place));
        }
        let answer = |place, parts: &'static [u8], close| {
            let parts = if parts.is_empty() { Vec::new() } else { vec![Bytes::from_static(parts).into()] };
            Answer { conn: ConnId(0), place, parts, close }
        };
        sessions.answer(answer(1, b"", true), NOW);
        sessions.answer(answer(2, b"2", false), NOW);
        assert!(ops(&mut sessions).is_empty(), "the first has not been answered");
        assert_eq!(asks(&mut sessions, 0, key::PRODUCE, 64), None, "nothing is taken from it any more");
        sessions.answer(answer(0, b"0", false), NOW);
        assert_eq!(ops(&mut sessions), ["send [48]"], "and not the one behind it");
        assert_eq!(sessions.bytes_in_flight, 0);
        sessions.sent(ConnId(0), NOW);
        assert_eq!(ops(&mut sessions), ["close"]);
    }

    #[test]
    fn requests_that_wait_keep_nobody_from_being_served() {
        let mut sessions = sessions(20);
        for conn in 0..10 {
            assert_eq!(asks(&mut sessions, conn, key::FETCH, 1 << 20), Some(0), "fetch {conn}");
            sessions.holds(ConnId(conn), 0, 1000);
        }
        assert_eq!(sessions.bytes_in_flight, 10_000);
        assert_eq!(asks(&mut sessions, 10, key::METADATA, 100), Some(0));
        answered(&mut sessions, 10);
        answered(&mut sessions, 0);
        sessions.closed(ConnId(1));
        assert_eq!(sessions.bytes_in_flight, 8_000);
        // Nobody is waited for at this place any more.
        sessions.holds(ConnId(0), 0, 1 << 20);
        assert_eq!(sessions.bytes_in_flight, 8_000);
        // More than half is held for long: whoever waits for room is fed all the same.
        assert_eq!(asks(&mut sessions, 11, key::FETCH, 64), Some(0));
        sessions.holds(ConnId(11), 0, 5 << 19);
        assert_eq!(asks(&mut sessions, 12, key::PRODUCE, 1 << 20), Some(0));
        assert_eq!(asks(&mut sessions, 13, key::PRODUCE, 1 << 20), Some(0));
        assert_eq!(asks(&mut sessions, 14, key::PRODUCE, 1 << 20), None);
        (12..14).for_each(|conn| answered(&mut sessions, conn));
        assert_eq!(sessions.take_fed(), [ConnId(14)]);
    }
}
