//! What may be asked of the network, and what comes back. TCP connections only; a driver accepts them and tells.

use std::net::SocketAddr;

use bytes::BytesMut;

use super::range::Part;
use crate::base::ids::ConnId;

/// Something a driver noticed on a connection.
#[derive(Debug)]
pub enum NetInput {
    /// A client connected. Nothing is read before the machine asks with [`NetOp::Recv`].
    Accepted { conn: ConnId, peer: SocketAddr },
    /// A [`NetOp::Recv`] ended: `buffer` comes back with `count` bytes appended. 0 bytes: the peer closed its side (a
    /// reset may look like this first and be told as [`NetInput::Broken`] by the next operation).
    Received { conn: ConnId, buffer: BytesMut, count: usize },
    /// A [`NetOp::Send`] ended: every byte is in the kernel's hands.
    Sent { conn: ConnId },
    /// The connection broke (reset, time-out), told once; what was in flight on it is gone, what is asked for after it
    /// is ignored. Noticed only while an operation is in flight. Still needs [`NetOp::Close`].
    Broken { conn: ConnId },
    /// [`NetOp::Close`] is done: nothing more will be heard of this id.
    Closed { conn: ConnId },
}

/// Something a machine asks for.
#[derive(Debug)]
pub enum NetOp {
    /// Read once into the spare capacity of `buffer` (which is not empty); at most one in flight a connection.
    /// Not asking is how a machine stops reading from a client.
    Recv { conn: ConnId, buffer: BytesMut },
    /// Write all parts in order; at most one in flight a connection. No bytes at all are sent at once. A file that
    /// cannot be read breaks the connection.
    Send { conn: ConnId, parts: Vec<Part> },
    /// Shut down and close; operations in flight on it end without an answer, then [`NetInput::Closed`] follows.
    /// Operations on an id that is closing or closed are ignored.
    Close { conn: ConnId },
}
