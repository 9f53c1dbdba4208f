//! Sockets as tasks: one for each receive, send and accept that is asked for.
//!
//! glommio's own receive wants memory that is filled already and its own send takes one slice at a time, so both are
//! tried with the system calls of the posix driver first; glommio's stream then waits until it is worth trying again.
//! A task that finds its connection closing or broken ends without an answer.
#![allow(unsafe_code, reason = "glommio takes a descriptor over as a raw number only")]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::glommio::net::{TcpListener, TcpStream};
use bytes::BytesMut;
use futures_io::{AsyncRead, AsyncWrite};

use super::disk::os_error;
use super::shared::Shared;
use crate::base::ids::ConnId;
use crate::port::net::NetInput;
use crate::port::range::Part;
use crate::rt::send::Outgoing;
use crate::rt::sys;

/// A connection, shared with its tasks; closed when the last of them has ended.
#[derive(Debug)]
pub struct Conn {
    stream: RefCell<TcpStream>,
    receiving: Cell<bool>,
    sending: Cell<bool>,
    broken: Cell<bool>,
    closing: Cell<bool>,
}

impl Conn {
    /// Must be called within an executor.
    pub fn new(fd: OwnedFd) -> Conn {
        // SAFETY: the descriptor is an open socket and, given up by its owner here, nobody else's.
        let stream = unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) };
        Conn {
            stream: RefCell::new(stream),
            receiving: Cell::new(false),
            sending: Cell::new(false),
            broken: Cell::new(false),
            closing: Cell::new(false),
        }
    }

    /// Nothing more is heard of the connection.
    fn is_silent(&self) -> bool {
        self.closing.get() || self.broken.get()
    }

    /// Notes that a receive begins; false when it is ignored.
    pub fn may_receive(&self) -> bool {
        if self.is_silent() {
            return false;
        }
        crate::invariant!(!self.receiving.replace(true), "two receives in flight on one connection");
        true
    }

    /// Notes that a send begins; false when it is ignored.
    pub fn may_send(&self) -> bool {
        if self.is_silent() {
            return false;
        }
        crate::invariant!(!self.sending.replace(true), "two sends in flight on one connection");
        true
    }

    /// Ends what is in flight: both tasks are woken by the shutdown.
    pub fn close(&self) {
        self.closing.set(true);
        sys::shut_down(&*self.stream.borrow());
    }

    /// The task of one receive.
    pub async fn receive(&self, conn: ConnId, mut buffer: BytesMut, shared: &Shared) {
        let result = poll_fn(|cx| self.poll_receive(cx, &mut buffer)).await;
        self.receiving.set(false);
        match result {
            _ if self.is_silent() => {}
            Ok(count) => shared.net(NetInput::Received { conn, buffer, count }),
            Err(error) => self.broke(conn, &error, shared),
        }
    }

    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        let stream = &mut *self.stream.borrow_mut();
        loop {
            if self.is_silent() {
                return Poll::Ready(Ok(0));
            }
            if let Some(result) = sys::receive_now(stream, buffer) {
                return Poll::Ready(result);
            }
            // Waits, or brings the one byte that has come in between.
            let mut byte = [0];
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut byte)) {
                Ok(count) => {
                    buffer.extend_from_slice(&byte[..count]);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// The task of one send.
    pub async fn send(&self, conn: ConnId, parts: Vec<Part>, shared: &Shared) {
        let mut rest = Outgoing::new(parts);
        let result = poll_fn(|cx| self.poll_send(cx, &mut rest, shared)).await;
        self.sending.set(false);
        match result {
            _ if self.is_silent() => {}
            Ok(()) => shared.net(NetInput::Sent { conn }),
            Err(error) => self.broke(conn, &error, shared),
        }
    }

    fn poll_send(&self, cx: &mut Context<'_>, rest: &mut Outgoing, shared: &Shared) -> Poll<io::Result<()>> {
        let stream = &mut *self.stream.borrow_mut();
        loop {
            if self.is_silent() {
                return Poll::Ready(Ok(()));
            }
            if let Some(result) = sys::send_now(stream, rest, &mut shared.pipe.borrow_mut()) {
                return Poll::Ready(result);
            }
            // Waits, or finds the room that was made in between.
            let of_file = match rest.file() {
                Some(piece) => piece.peek()?,
                None => Vec::new(),
            };
            let next = rest.next_part().unwrap_or(&of_file);
            match ready!(Pin::new(&mut *stream).poll_write(cx, next)) {
                Ok(count) => rest.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn broke(&self, conn: ConnId, error: &io::Error, shared: &Shared) {
        tracing::debug!(conn = conn.0, %error, "connection broke");
        self.broken.set(true);
        shared.net(NetInput::Broken { conn });
    }
}

/// A listener of glommio's on this descriptor. Must be called within an executor.
pub fn listener(fd: OwnedFd) -> TcpListener {
    // SAFETY: the descriptor is a listening socket and, given up by its owner here, nobody else's.
    unsafe { TcpListener::from_raw_fd(fd.into_raw_fd()) }
}

/// The task of one accept. glommio does not give a descriptor away: this is a second one of the same connection.
pub async fn accept(listener: &TcpListener) -> io::Result<OwnedFd> {
    let stream = listener.accept().await.map_err(os_error)?;
    sys::duplicate(stream.as_raw_fd())
}
