//! Sockets on the ring: multishot accept, single-shot receive into the machine's own buffer, vectored send.
//!
//! A connection is gone only when no operation on it is in flight; completions carry keys that are never reused while a
//! completion is outstanding, so a stale one cannot reach a new connection.
#![allow(unsafe_code, reason = "entries for the ring name memory of operations")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bytes::BytesMut;
use io_uring::{cqueue, opcode, squeue, types};

use super::flight::{Flight, SendFlight};
use super::ring::Completion;
use super::{FIXED_FILES_MAX, KEY_IGNORE, Uring};
use crate::base::ids::ConnId;
use crate::port::net::NetInput;
use crate::port::range::Part;
use crate::rt::accept::AcceptPause;
use crate::rt::backend::Events;
use crate::rt::control::{Accepted, Counted};
use crate::rt::send::Outgoing;
use crate::rt::slots::slot_of;
use crate::rt::sys;

/// What one connection sends out of files before others on the core have their turn, bytes.
const FILE_BYTES_PER_STEP: usize = 1 << 20;

/// IORING_RECVSEND_POLL_FIRST: wait for data before trying, when the last receive left nothing behind.
const POLL_FIRST: u16 = 1;

/// A connection and the keys of what is in flight on it.
#[derive(Debug)]
pub struct UringConn {
    fd: OwnedFd,
    fixed: Option<u32>,
    recv: Option<u64>,
    send: Option<u64>,
    broken: bool,
    closing: bool,
    /// The kernel said that more data was there already.
    more_waits: bool,
    _counted: Counted,
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    pub fd: OwnedFd,
    pub pause: AcceptPause,
    pub armed: bool,
}

/// How the ring names a file.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    Fixed(u32),
    Plain(i32),
}

/// Builds an entry for either kind of target.
macro_rules! entry_for {
    ($target:expr, |$fd:ident| $build:expr) => {
        match $target {
            Target::Fixed(slot) => {
                let $fd = types::Fixed(slot);
                $build
            }
            Target::Plain(fd) => {
                let $fd = types::Fd(fd);
                $build
            }
        }
    };
}
pub(super) use entry_for;

impl UringConn {
    fn target(&self) -> Target {
        self.fixed.map_or(Target::Plain(self.fd.as_raw_fd()), Target::Fixed)
    }
}

fn recv_entry(target: Target, buffer: &mut BytesMut, poll_first: bool) -> squeue::Entry {
    let spare = buffer.spare_capacity_mut();
    // One receive never needs more than 4 GiB.
    let (start, len) = (spare.as_mut_ptr().cast(), spare.len().min(u32::MAX as usize) as u32);
    let priority = if poll_first { POLL_FIRST } else { 0 };
    entry_for!(target, |fd| opcode::Recv::new(fd, start, len).ioprio(priority).build())
}

fn send_entry(target: Target, send: &mut SendFlight) -> squeue::Entry {
    let more = if send.rest.file_follows() { libc::MSG_MORE } else { 0 };
    let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL | more;
    let slices = send.rest.slices();
    if let [slice] = slices
        && let Ok(len) = u32::try_from(slice.iov_len)
    {
        let start = slice.iov_base.cast_const().cast();
        return entry_for!(target, |fd| opcode::Send::new(fd, start, len).flags(flags).build());
    }
    send.message.msg_iov = slices.as_mut_ptr();
    send.message.msg_iovlen = slices.len() as _;
    let message = &raw const send.message;
    entry_for!(target, |fd| opcode::SendMsg::new(fd, message).flags(flags as u32).build())
}

impl Uring {
    /// Starts accepting where it rests and may go on.
    pub fn arm_listeners(&mut self) {
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            if listener.armed || (listener.pause.rests() && !listener.pause.ended()) {
                continue;
            }
            listener.armed = true;
            let fd = types::Fd(listener.fd.as_raw_fd());
            let key = self.flights.insert(Flight::Accept { listener: index });
            let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build().user_data(key);
            // SAFETY: the entry points to no memory; the listener is closed only after the ring is idle.
            unsafe { self.ring.push(entry) };
        }
    }

    pub fn accept_completed(&mut self, listener: usize, completion: Completion, events: &mut Events) {
        if completion.result >= 0 {
            events.accepted.push(sys::own(completion.result));
        }
        if cqueue::more(completion.flags) {
            return;
        }
        self.flights.release(completion.key);
        let listener = &mut self.listeners[listener];
        listener.armed = false;
        if completion.result < 0 {
            // Either way it is armed again by `arm_listeners`, after the pause if there is one.
            listener.pause.retry_at_once(&io::Error::from_raw_os_error(-completion.result));
        }
    }

    pub fn adopt_conn(&mut self, accepted: Accepted, events: &mut Events) {
        let Accepted { fd, peer, counted } = accepted;
        let raw = fd.as_raw_fd();
        let conn = self.conns.insert(UringConn {
            fd,
            fixed: None,
            recv: None,
            send: None,
            broken: false,
            closing: false,
            more_waits: true,
            _counted: counted,
        });
        let slot = FIXED_FILES_MAX.saturating_add(slot_of(conn));
        if slot < self.fixed_slots
            && self.ring.register_file(slot, raw)
            && let Some(entry) = self.conns.get_mut(conn)
        {
            entry.fixed = Some(slot);
        }
        events.net.push(NetInput::Accepted { conn, peer });
    }

    pub fn begin_recv(&mut self, conn: ConnId, buffer: BytesMut) {
        crate::invariant!(buffer.capacity() > buffer.len(), "receive into a full buffer");
        let Some(entry) = self.conns.get_mut(conn) else { return };
        crate::invariant!(entry.recv.is_none() || entry.closing, "two receives in flight on one connection");
        if entry.broken || entry.closing {
            return;
        }
        let key = self.flights.insert(Flight::Recv { conn, buffer });
        entry.recv = Some(key);
        self.push_recv(key);
    }

    fn push_recv(&mut self, key: u64) {
        let Flight::Recv { conn, buffer } = self.flights.get_mut(key) else { unreachable!("key of a receive") };
        let Some(entry) = self.conns.get_mut(*conn) else { unreachable!("connections outlive their operations") };
        let prepared = recv_entry(entry.target(), buffer, !entry.more_waits).user_data(key);
        // SAFETY: the memory belongs to `buffer`, which stays in the flight table until the completion.
        unsafe { self.ring.push(prepared) };
    }

    pub fn begin_send(&mut self, conn: ConnId, parts: Vec<Part>, events: &mut Events) {
        let Some(entry) = self.conns.get_mut(conn) else { return };
        crate::invariant!(entry.send.is_none() || entry.closing, "two sends in flight on one connection");
        if entry.broken || entry.closing {
            return;
        }
        let rest = Outgoing::new(parts);
        if rest.is_done() {
            events.net.push(NetInput::Sent { conn });
            return;
        }
        // SAFETY: all zeros is a valid msghdr.
        let message = unsafe { std::mem::zeroed() };
        let key =
            self.flights.insert(Flight::Send { conn, send: Box::new(SendFlight { rest, message, waits: false }) });
        entry.send = Some(key);
        self.sends += 1;
        if let Some(result) = self.push_send(key) {
            self.end_send(key, conn, result, events);
        }
    }

    /// Goes on with a send. What lies in files goes at once, as far as the socket takes it. `Some`: it has ended.
    fn push_send(&mut self, key: u64) -> Option<io::Result<()>> {
        let Flight::Send { conn, send } = self.flights.get_mut(key) else { unreachable!("key of a send") };
        let Some(entry) = self.conns.get_mut(*conn) else { unreachable!("connections outlive their operations") };
        let mut left = FILE_BYTES_PER_STEP;
        while let Some(mut piece) = send.rest.file() {
            piece.more |= left < piece.len;
            piece.len = piece.len.min(left);
            match if left > 0 { self.pipe.send(&piece, &entry.fd) } else { None } {
                Some(Ok(count)) => {
                    send.rest.advance(count);
                    left -= count;
                }
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    send.waits = true;
                    let events = libc::POLLOUT as u32;
                    let prepared = entry_for!(entry.target(), |fd| opcode::PollAdd::new(fd, events).build());
                    // SAFETY: the entry points to no memory.
                    unsafe { self.ring.push(prepared.user_data(key)) };
                    return None;
                }
            }
        }
        if send.rest.is_done() {
            return Some(Ok(()));
        }
        let prepared = send_entry(entry.target(), send).user_data(key);
        // SAFETY: the parts, the slices and the header are on the heap, owned by `send`, which stays in the flight
        // table until the completion.
        unsafe { self.ring.push(prepared) };
        None
    }

    pub fn recv_completed(&mut self, conn: ConnId, completion: Completion, events: &mut Events) {
        let Some(entry) = self.conns.get_mut(conn) else { unreachable!("connections outlive their operations") };
        let silent = entry.broken || entry.closing;
        if !silent && matches!(-completion.result, libc::EINTR | libc::EAGAIN) {
            entry.more_waits = false;
            return self.push_recv(completion.key);
        }
        entry.recv = None;
        entry.more_waits = cqueue::sock_nonempty(completion.flags);
        let Flight::Recv { mut buffer, .. } = self.flights.release(completion.key) else {
            unreachable!("key of a receive")
        };
        if silent {
            return self.close_if_idle(conn, events);
        }
        match usize::try_from(completion.result) {
            Ok(count) => {
                let len = buffer.len() + count;
                // SAFETY: the kernel has written `count` bytes behind the old length, within the capacity.
                unsafe { buffer.set_len(len) };
                events.net.push(NetInput::Received { conn, buffer, count });
            }
            Err(_) => self.broke(conn, &io::Error::from_raw_os_error(-completion.result), events),
        }
    }

    pub fn send_completed(&mut self, conn: ConnId, completion: Completion, events: &mut Events) {
        let Some(entry) = self.conns.get_mut(conn) else { unreachable!("connections outlive their operations") };
        let silent = entry.broken || entry.closing;
        let Flight::Send { send, .. } = self.flights.get_mut(completion.key) else { unreachable!("key of a send") };
        let waited = std::mem::take(&mut send.waits);
        let mut result = Some(Ok(()));
        match usize::try_from(completion.result) {
            // What a poll brings is no count; an error of the socket meets the next try.
            Ok(_) if waited => {}
            Ok(count) => send.rest.advance(count),
            Err(_) if matches!(-completion.result, libc::EINTR | libc::EAGAIN) => {}
            Err(_) => result = Some(Err(io::Error::from_raw_os_error(-completion.result))),
        }
        if !silent && matches!(result, Some(Ok(()))) && !send.rest.is_done() {
            result = self.push_send(completion.key);
        }
        if let Some(result) = result {
            self.end_send(completion.key, conn, result, events);
        }
    }

    /// A send has nothing in flight any more.
    fn end_send(&mut self, key: u64, conn: ConnId, result: io::Result<()>, events: &mut Events) {
        let Some(entry) = self.conns.get_mut(conn) else { unreachable!("connections outlive their operations") };
        let silent = entry.broken || entry.closing;
        entry.send = None;
        self.sends -= 1;
        self.flights.release(key);
        match result {
            _ if silent => self.close_if_idle(conn, events),
            Err(error) => self.broke(conn, &error, events),
            Ok(()) => events.net.push(NetInput::Sent { conn }),
        }
    }

    fn broke(&mut self, conn: ConnId, error: &io::Error, events: &mut Events) {
        let Some(entry) = self.conns.get_mut(conn) else { return };
        tracing::debug!(conn = conn.0, %error, "connection broke");
        entry.broken = true;
        let in_flight = [entry.recv, entry.send];
        self.cancel(in_flight);
        events.net.push(NetInput::Broken { conn });
    }

    fn cancel(&mut self, keys: [Option<u64>; 2]) {
        for key in keys.into_iter().flatten() {
            let entry = opcode::AsyncCancel::new(key).build().user_data(KEY_IGNORE);
            // SAFETY: the entry points to no memory.
            unsafe { self.ring.push(entry) };
        }
    }

    pub fn close(&mut self, conn: ConnId, events: &mut Events) {
        let Some(entry) = self.conns.get_mut(conn) else { return };
        if entry.closing {
            return;
        }
        entry.closing = true;
        sys::shut_down(&entry.fd);
        let in_flight = [entry.recv, entry.send];
        self.cancel(in_flight);
        self.close_if_idle(conn, events);
    }

    fn close_if_idle(&mut self, conn: ConnId, events: &mut Events) {
        let Some(entry) = self.conns.get_mut(conn) else { return };
        if !entry.closing || entry.recv.is_some() || entry.send.is_some() {
            return;
        }
        if let Some(slot) = entry.fixed {
            self.ring.unregister_file(slot);
        }
        self.conns.remove(conn);
        events.net.push(NetInput::Closed { conn });
    }
}
