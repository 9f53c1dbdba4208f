//! Connections on epoll.
#![allow(unsafe_code, reason = "epoll")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use bytes::BytesMut;

use super::Posix;
use crate::base::ids::ConnId;
use crate::port::net::NetInput;
use crate::port::range::Part;
use crate::rt::backend::Events;
use crate::rt::control::{Accepted, Counted};
use crate::rt::send::Outgoing;
use crate::rt::sys;

/// Events taken from the kernel in one round.
const EVENTS_PER_ROUND_MAX: usize = 512;

/// An epoll set.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: no pointers are involved.
        Ok(Epoll { fd: sys::own(sys::check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?) })
    }

    /// Closing the descriptor takes it out again.
    pub fn add(&self, fd: RawFd, key: u64, flags: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: flags, u64: key };
        // SAFETY: `event` is valid for the call, which copies it.
        sys::check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) }).map(drop)
    }

    /// Keys and flags of what is ready.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<(u64, u32)>> {
        // Up to the next millisecond: a timer must not come early.
        let ms = timeout.map_or(-1, |timeout| {
            libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
        });
        let mut ready = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_PER_ROUND_MAX];
        // SAFETY: room for as many events as announced.
        let result = unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), ready.as_mut_ptr(), EVENTS_PER_ROUND_MAX as libc::c_int, ms)
        };
        match sys::check(result) {
            Ok(count) => Ok(ready[..count as usize].iter().map(|event| (event.u64, event.events)).collect()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// A connection and what waits for it to become ready.
#[derive(Debug)]
pub struct PosixConn {
    fd: OwnedFd,
    recv: Option<BytesMut>,
    send: Option<Outgoing>,
    broken: bool,
    _counted: Counted,
}

impl Posix {
    pub fn adopt_conn(&mut self, accepted: Accepted, events: &mut Events) {
        let Accepted { fd, peer, counted } = accepted;
        let raw = fd.as_raw_fd();
        let conn = self.conns.insert(PosixConn { fd, recv: None, send: None, broken: false, _counted: counted });
        let interest = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
        match self.epoll.add(raw, conn.0, interest) {
            Ok(()) => events.net.push(NetInput::Accepted { conn, peer }),
            Err(error) => {
                tracing::warn!(%error, %peer, "a connection was closed: epoll has no room for it");
                self.conns.remove(conn);
            }
        }
    }

    pub fn begin_recv(&mut self, conn: ConnId, buffer: BytesMut, events: &mut Events) {
        crate::invariant!(buffer.capacity() > buffer.len(), "receive into a full buffer");
        let Some(entry) = self.conns.get_mut(conn) else { return };
        crate::invariant!(entry.recv.is_none(), "two receives in flight on one connection");
        if !entry.broken {
            entry.recv = Some(buffer);
            self.recv_ready(conn, events);
        }
    }

    pub fn begin_send(&mut self, conn: ConnId, parts: Vec<Part>, events: &mut Events) {
        let Some(entry) = self.conns.get_mut(conn) else { return };
        crate::invariant!(entry.send.is_none(), "two sends in flight on one connection");
        if !entry.broken {
            entry.send = Some(Outgoing::new(parts));
            self.sends += 1;
            self.send_ready(conn, events);
        }
    }

    /// An edge on a connection; an edge of one that is closed meanwhile finds nobody.
    pub fn conn_ready(&mut self, conn: ConnId, flags: u32, events: &mut Events) {
        let ended = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
        if flags & (ended | (libc::EPOLLIN | libc::EPOLLRDHUP) as u32) != 0 {
            self.recv_ready(conn, events);
        }
        if flags & (ended | libc::EPOLLOUT as u32) != 0 {
            self.send_ready(conn, events);
        }
    }

    fn recv_ready(&mut self, conn: ConnId, events: &mut Events) {
        let Some(entry) = self.conns.get_mut(conn) else { return };
        let Some(mut buffer) = entry.recv.take() else { return };
        match sys::receive_now(&entry.fd, &mut buffer) {
            None => entry.recv = Some(buffer),
            Some(Ok(count)) => events.net.push(NetInput::Received { conn, buffer, count }),
            Some(Err(error)) => self.broke(conn, &error, events),
        }
    }

    fn send_ready(&mut self, conn: ConnId, events: &mut Events) {
        let Some(entry) = self.conns.get_mut(conn) else { return };
        let Some(mut send) = entry.send.take() else { return };
        match sys::send_now(&entry.fd, &mut send, &mut self.pipe) {
            None => entry.send = Some(send),
            Some(Ok(())) => {
                self.sends -= 1;
                events.net.push(NetInput::Sent { conn });
            }
            Some(Err(error)) => {
                self.sends -= 1;
                self.broke(conn, &error, events);
            }
        }
    }

    fn broke(&mut self, conn: ConnId, error: &io::Error, events: &mut Events) {
        let Some(entry) = self.conns.get_mut(conn) else { return };
        tracing::debug!(conn = conn.0, %error, "connection broke");
        entry.broken = true;
        entry.recv = None;
        if entry.send.take().is_some() {
            self.sends -= 1;
        }
        events.net.push(NetInput::Broken { conn });
    }

    pub fn close(&mut self, conn: ConnId, events: &mut Events) {
        let Some(entry) = self.conns.remove(conn) else { return };
        sys::shut_down(&entry.fd);
        if entry.send.is_some() {
            self.sends -= 1;
        }
        events.net.push(NetInput::Closed { conn });
    }
}
