//! Cuts a connection's byte stream into frames, and says how large the next receive buffer should be.
//!
//! A frame is a 4-byte big-endian length and that many bytes. The length is checked before anything is allocated for
//! it, and memory follows the bytes that really arrive: whoever claims 100 MiB gets 1 MiB until the first of it is
//! sent.

use bytes::{Buf, Bytes, BytesMut};

use super::WireError;

/// Bytes of the length in front of each frame.
pub const LENGTH_BYTES: usize = 4;
/// Room for reading between frames, bytes: a connection that waits holds no more than this.
pub const IDLE_READ_BYTES: usize = 8 * 1024;
/// Largest frame that a waiting connection may have room for because its last one was as large, bytes.
pub const EXPECTED_READ_BYTES_MAX: usize = 128 * 1024;
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

/// Whether [`cut`] would bring a frame (or an error) from `pending` as it is.
pub fn is_whole(pending: &[u8]) -> bool {
    match announced(pending, i32::MAX as usize) {
        Ok(Some(length)) => pending.len() >= LENGTH_BYTES + length,
        Ok(None) => false,
        Err(_) => true,
    }
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

/// The API key of the frame at the front, as soon as its bytes are there. Nothing is checked.
pub fn api_key(pending: &[u8]) -> Option<i16> {
    let prefix = pending.get(LENGTH_BYTES..LENGTH_BYTES + 2)?;
    Some(i16::from_be_bytes([prefix[0], prefix[1]]))
}

/// Bytes of the frame at the front without its length, as it says itself; 0 while that is not known or is nonsense.
pub fn announced_bytes(pending: &[u8]) -> usize {
    announced(pending, i32::MAX as usize).ok().flatten().unwrap_or(0)
}

/// Room for a frame like the last one of the connection, so that it arrives with one receive and is not moved.
pub fn expected_read_bytes(last_frame: usize) -> usize {
    let whole = LENGTH_BYTES + last_frame;
    if whole <= EXPECTED_READ_BYTES_MAX { whole.max(IDLE_READ_BYTES) } else { IDLE_READ_BYTES }
}

/// How many bytes the next receive should have room for, given what is pending (less than one frame, see [`cut`]).
///
/// Between frames: [`IDLE_READ_BYTES`]. Inside one of at most [`WHOLE_FRAME_BYTES_MAX`]: exactly its rest, so that the
/// next frame starts in fresh memory and nothing is copied. Inside a larger one: as much as has arrived already (1 MiB
/// at first), at most its rest. Never 0.
pub fn next_read_bytes(pending: &[u8]) -> usize {
    let Ok(Some(length)) = announced(pending, i32::MAX as usize) else { return IDLE_READ_BYTES };
    let whole = LENGTH_BYTES + length;
    if pending.len() >= whole {
        return IDLE_READ_BYTES;
    }
    let rest = whole - pending.len();
    if length <= WHOLE_FRAME_BYTES_MAX { rest } else { rest.min(pending.len().max(WHOLE_FRAME_BYTES_MAX)) }
}

/// The buffer for the next receive: the pending bytes with spare room for `read` more ([`next_read_bytes`], less when
/// memory is short, or [`expected_read_bytes`] between frames).
///
/// Allocates what is missing and no more; the pending bytes move at most once per doubling. When the frames cut from
/// the buffer are gone, its memory is used again. Between frames a buffer that was made for a large frame is given up,
/// so that a waiting connection holds little.
pub fn next_buffer(mut pending: BytesMut, read: usize) -> BytesMut {
    let fits = pending.capacity() - pending.len() >= read || pending.try_reclaim(read);
    if fits && !(pending.is_empty() && pending.capacity() > 2 * read) {
        return pending;
    }
    let mut buffer = BytesMut::with_capacity(pending.len() + read);
    buffer.extend_from_slice(&pending);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    fn next_buffer(pending: BytesMut) -> BytesMut {
        let read = next_read_bytes(&pending);
        super::next_buffer(pending, read)
    }

    fn framed(payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as i32).to_be_bytes()[..], payload].concat()
    }

    #[test]
    fn a_whole_frame_at_hand_is_told_from_a_part_of_one() {
        let frame = framed(b"abc");
        assert!(!is_whole(&[]));
        assert!(!is_whole(&frame[..frame.len() - 1]));
        assert!(is_whole(&frame));
        assert!(is_whole(&[&frame[..], b"more"].concat()));
        assert!(is_whole(&(-1i32).to_be_bytes()), "cut tells what is wrong with it");
    }

    #[test]
    fn frames_come_out_whole_and_in_order_however_the_bytes_arrive() {
        let stream = [framed(b"one"), framed(b""), framed(b"three")].concat();
        for step in 1..=stream.len() {
            let mut pending = BytesMut::new();
            let mut frames = Vec::new();
            for piece in stream.chunks(step) {
                pending.extend_from_slice(piece);
                while let Cut::Frame(frame) = cut(&mut pending, LIMIT).expect("within the limit") {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [&b"one"[..], b"", b"three"], "in steps of {step}");
            assert!(pending.is_empty());
        }
    }

    #[test]
    fn a_frame_like_the_last_one_arrives_in_one_piece_and_memory_waits_for_no_large_one() {
        assert_eq!(expected_read_bytes(0), IDLE_READ_BYTES);
        assert_eq!(expected_read_bytes(16_000), 16_004);
        assert_eq!(expected_read_bytes(EXPECTED_READ_BYTES_MAX), IDLE_READ_BYTES);
        let buffer = super::next_buffer(BytesMut::new(), expected_read_bytes(100_000));
        let start = buffer.as_ptr();
        assert_eq!(buffer.capacity(), 100_004);
        assert_eq!(super::next_buffer(buffer, expected_read_bytes(90_000)).as_ptr(), start, "used again");
    }

    #[test]
    fn the_answer_says_how_many_bytes_are_missing() {
        let cut_of = |bytes: &[u8]| cut(&mut BytesMut::from(bytes), LIMIT);
        assert_eq!(cut_of(b""), Ok(Cut::Needs(4)));
        assert_eq!(cut_of(b"\x00\x00\x00"), Ok(Cut::Needs(1)));
        assert_eq!(cut_of(b"\x00\x00\x00\x09abc"), Ok(Cut::Needs(6)));
    }

    #[test]
    fn a_negative_or_too_large_length_is_refused_as_soon_as_it_is_known() {
        for announced in [-1, i32::MIN, 1001, i32::MAX] {
            let mut pending = BytesMut::from(&announced.to_be_bytes()[..]);
            assert_eq!(cut(&mut pending, LIMIT), Err(WireError::FrameSize { announced, limit: LIMIT }));
        }
        assert_eq!(cut(&mut BytesMut::from(&1000i32.to_be_bytes()[..]), LIMIT), Ok(Cut::Needs(1000)));
    }

    #[test]
    fn a_frame_shares_the_memory_it_arrived_in() {
        let mut pending = BytesMut::from(&framed(b"payload")[..]);
        let start = pending.as_ptr() as usize;
        let Ok(Cut::Frame(frame)) = cut(&mut pending, LIMIT) else { panic!("a frame") };
        assert_eq!(frame.as_ptr() as usize, start + LENGTH_BYTES);
    }

    #[test]
    fn reads_are_small_between_frames_and_exactly_the_rest_inside_one() {
        assert_eq!(next_read_bytes(b""), IDLE_READ_BYTES);
        assert_eq!(next_read_bytes(b"\x00\x00"), IDLE_READ_BYTES);
        let mut pending = BytesMut::from(&500_000i32.to_be_bytes()[..]);
        pending.extend_from_slice(&[7; 1000]);
        assert_eq!(next_read_bytes(&pending), 499_000);
        let buffer = next_buffer(pending);
        assert_eq!((buffer.len(), buffer.capacity()), (1004, 500_004));
    }

    #[test]
    fn a_claimed_hundred_mebibytes_costs_memory_only_as_they_arrive() {
        let length = 100 * 1024 * 1024;
        let mut buffer = next_buffer(BytesMut::from(&(length as i32).to_be_bytes()[..]));
        let mut steps = 0;
        while buffer.len() < LENGTH_BYTES + length {
            assert!(buffer.capacity() <= 2 * buffer.len().max(WHOLE_FRAME_BYTES_MAX), "{}", buffer.len());
            let room = buffer.capacity() - buffer.len();
            assert!(room > 0);
            buffer.resize(buffer.len() + room, 1);
            buffer = next_buffer(buffer);
            steps += 1;
        }
        assert!(steps <= 10, "{steps} steps");
        let Ok(Cut::Frame(frame)) = cut(&mut buffer, length) else { panic!("a frame") };
        assert_eq!(frame.len(), length);
        assert!(buffer.is_empty(), "the last read ended with the frame");
    }

    #[test]
    fn a_waiting_connection_keeps_only_a_small_buffer() {
        let stream = framed(&[1; 300_000]);
        let mut buffer = next_buffer(BytesMut::from(&stream[..100]));
        buffer.extend_from_slice(&stream[100..]);
        drop(cut(&mut buffer, 400_000).expect("a frame"));
        let idle = next_buffer(buffer);
        assert_eq!((idle.len(), idle.capacity()), (0, IDLE_READ_BYTES));
        let start = idle.as_ptr();
        let mut again = next_buffer(idle);
        assert_eq!(again.as_ptr(), start, "used again when it has room already");
        again.extend_from_slice(&framed(b"small"));
        drop(cut(&mut again, 100).expect("a frame"));
        assert_eq!(next_buffer(again).as_ptr(), start, "used again when the frame is gone");
    }
}
