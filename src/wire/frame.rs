//! Cuts a connection's byte stream into frames, and says how large the next receive buffer should be.
//!
//! A frame is a 4-byte big-endian length and that many bytes. The length is checked before anything is allocated for it,
//! and memory follows the bytes that really arrive: whoever claims 100 MiB gets 1 MiB until the first of it is sent.

use bytes::{Buf, Bytes, BytesMut};

use super::WireError;

/// Bytes of the length in front of each frame.
pub const LENGTH_BYTES: usize = 4;
/// Room for reading between frames, bytes: a connection that waits holds no more than this.
pub const IDLE_READ_BYTES: usize = 8 * 1024;
/// Frames up to this size get their whole room at once; larger ones grow by doubling as their bytes arrive.
pub const WHOLE_FRAME_BYTES_MAX: usize = 1024 * 1024;

/// What [`cut`] found at the front of the pending bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut {
    /// A whole frame without its length; it shares the memory of the buffer it was cut from.
    Frame(Bytes),
    /// Not whole yet: at least so many bytes are still missing (never 0).
    Needs(usize),
}

/// Takes the next frame off the front of `pending`. Call again until it answers [`Cut::Needs`].
///
/// `frame_bytes_max` is `socket.request.max.bytes`. An error means: close the connection at once (Kafka does).
pub fn cut(pending: &mut BytesMut, frame_bytes_max: usize) -> Result<Cut, WireError> {
    let Some(length) = announced(pending, frame_bytes_max)? else {
        return Ok(Cut::Needs(LENGTH_BYTES - pending.len()));
    };
    let whole = LENGTH_BYTES + length;
    if pending.len() < whole {
        return Ok(Cut::Needs(whole - pending.len()));
    }
    pending.advance(LENGTH_BYTES);
    Ok(Cut::Frame(pending.split_to(length).freeze()))
}

/// The length of the frame at the front, `None` while its four bytes have not all arrived.
fn announced(pending: &[u8], frame_bytes_max: usize) -> Result<Option<usize>, WireError> {
    let Some(prefix) = pending.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let announced = i32::from_be_bytes(*prefix);
    match usize::try_from(announced) {
        Ok(length) if length <= frame_bytes_max => Ok(Some(length)),
        _ => Err(WireError::FrameSize { announced, limit: frame_bytes_max }),
    }
}

/// How many bytes the next receive should have room for, given what is pending (less than one frame, see [`cut`]).
///
/// Between frames: [`IDLE_READ_BYTES`]. Inside one of at most [`WHOLE_FRAME_BYTES_MAX`]: exactly its rest, so that the
/// next frame starts in fresh memory and nothing is copied. Inside a larger one: as much as has arrived already (1 MiB at
/// first), at most its rest. Never 0.
pub fn next_read_bytes(pending: &[u8]) -> usize {
    let Ok(Some(length)) = announced(pending, i32::MAX as usize) else { return IDLE_READ_BYTES };
    let whole = LENGTH_BYTES + length;
    if pending.len() >= whole {
        return IDLE_READ_BYTES;
    }
    let rest = whole - pending.len();
    if length <= WHOLE_FRAME_BYTES_MAX { rest } else { rest.min(pending.len().max(WHOLE_FRAME_BYTES_MAX)) }
}

/// The buffer for the next receive: the pending bytes with spare room for [`next_read_bytes`] more.
///
/// Allocates what is missing and no more; the pending bytes move at most once per doubling. Between frames a fresh small
/// buffer is made unless the one at hand has enough room, so that a waiting connection never keeps a large frame alive.
pub fn next_buffer(pending: BytesMut) -> BytesMut {
    let read = next_read_bytes(&pending);
    let spare = pending.capacity() - pending.len();
    let kept = if pending.is_empty() { IDLE_READ_BYTES } else { usize::MAX };
    if spare >= read && spare <= kept {
        return pending;
    }
    let mut buffer = BytesMut::with_capacity(pending.len() + read);
    buffer.extend_from_slice(&pending);
    buffer
}
