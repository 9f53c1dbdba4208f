//! What a hostile client does to a well-formed request; the same seed does the same.

use kataract::base::prng::Prng;
use kataract::batch::patch;

use crate::corpus::Seed;

/// Where the payload of a frame begins.
const LENGTH: usize = 4;
/// Numbers that hurt where a length, a count, an offset or a time is expected.
const NUMBERS: [i64; 14] =
    [-1, -2, 0, 1, 127, 128, 32_767, -32_768, 65_536, 1_000_000, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN];
/// Unsigned varints that hurt, the last two with more bits than they may have.
const VARINTS: [&[u8]; 6] = [
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\x07",
    b"\x80\x80\x80\x80\x08",
    b"\xff\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
];

/// One mutated frame. Most keep a right length, so that what follows on the connection is read as frames.
pub fn mutated(seed: &Seed, other: &Seed, prng: &mut Prng) -> Vec<u8> {
    let mut frame = seed.frame.clone();
    if let Some(place) = seed.batch
        && prng.chance(2, 3)
    {
        return with_broken_batch(frame, place, prng);
    }
    for _ in 0..=prng.below(5) / 4 {
        match prng.below(16) {
            0 => {} // As it is: the state behind the requests moves.
            1..=3 => flip(&mut frame, LENGTH, prng),
            4..=6 => number(&mut frame, LENGTH, prng),
            7 | 8 => varint(&mut frame, prng),
            9 => truncate(&mut frame, prng),
            10 => extend(&mut frame, prng),
            11 => splice(&mut frame, other, prng),
            12 => version(&mut frame, prng),
            13 => remove(&mut frame, prng),
            14 => repeat(&mut frame, prng),
            _ => body_number(&mut frame, prng),
        }
    }
    fix_length(&mut frame);
    if prng.chance(1, 400) {
        // Half a frame, a negative or an oversized length: nothing behind it is read as it was meant.
        let wrong = NUMBERS[prng.below(NUMBERS.len() as u64) as usize] as i32;
        frame[..LENGTH].copy_from_slice(&wrong.to_be_bytes());
    }
    frame
}

fn fix_length(frame: &mut [u8]) {
    let length = (frame.len() - LENGTH) as u32;
    frame[..LENGTH].copy_from_slice(&length.to_be_bytes());
}

/// A place at or behind `from`; `None` when there is none.
fn place(frame: &[u8], from: usize, prng: &mut Prng) -> Option<usize> {
    let room = frame.len().checked_sub(from).filter(|room| *room > 0)?;
    Some(from + prng.below(room as u64) as usize)
}

fn flip(frame: &mut [u8], from: usize, prng: &mut Prng) {
    for _ in 0..=prng.below(4) {
        if let Some(at) = place(frame, from, prng) {
            frame[at] ^= 1 << prng.below(8);
        }
    }
}

/// A number of one to eight bytes somewhere.
fn number(frame: &mut [u8], from: usize, prng: &mut Prng) {
    let bytes = NUMBERS[prng.below(NUMBERS.len() as u64) as usize].to_be_bytes();
    let size = [1, 2, 4, 8][prng.below(4) as usize];
    if let Some(at) = place(frame, from, prng) {
        let size = size.min(frame.len() - at);
        frame[at..at + size].copy_from_slice(&bytes[8 - size..]);
    }
}

/// As [`number`], behind the header: API and version stay what they are.
fn body_number(frame: &mut [u8], prng: &mut Prng) {
    number(frame, (LENGTH + 17).min(frame.len()), prng);
}

fn varint(frame: &mut Vec<u8>, prng: &mut Prng) {
    let piece = VARINTS[prng.below(VARINTS.len() as u64) as usize];
    if let Some(at) = place(frame, LENGTH + 8, prng) {
        let replaced = if prng.chance(1, 2) { at..(at + 1).min(frame.len()) } else { at..at };
        frame.splice(replaced, piece.iter().copied());
    }
}

fn truncate(frame: &mut Vec<u8>, prng: &mut Prng) {
    if let Some(at) = place(frame, LENGTH, prng) {
        frame.truncate(at);
    }
}

fn extend(frame: &mut Vec<u8>, prng: &mut Prng) {
    let count = 1 + prng.below(2_000);
    let random = prng.chance(1, 2);
    frame.extend((0..count).map(|_| if random { prng.next_u64() as u8 } else { 1 }));
}

/// The header of one request before the body of another.
fn splice(frame: &mut Vec<u8>, other: &Seed, prng: &mut Prng) {
    if let (Some(here), Some(there)) = (place(frame, LENGTH + 8, prng), place(&other.frame, LENGTH + 8, prng)) {
        frame.truncate(here);
        frame.extend_from_slice(&other.frame[there..]);
    }
}

fn version(frame: &mut [u8], prng: &mut Prng) {
    if let Some(field) = frame.get_mut(LENGTH + 2..LENGTH + 4) {
        field.copy_from_slice(&(prng.below(22) as i16 - 2).to_be_bytes());
    }
}

fn remove(frame: &mut Vec<u8>, prng: &mut Prng) {
    if let Some(at) = place(frame, LENGTH + 8, prng) {
        let end = (at + 1 + prng.below(16) as usize).min(frame.len());
        frame.drain(at..end);
    }
}

/// A piece of the request again, which makes lists longer than their counts and names longer than their lengths.
fn repeat(frame: &mut Vec<u8>, prng: &mut Prng) {
    if let Some(at) = place(frame, LENGTH + 8, prng) {
        let piece = frame[at..(at + 1 + prng.below(40) as usize).min(frame.len())].to_vec();
        for _ in 0..=prng.below(30) {
            frame.splice(at..at, piece.iter().copied());
        }
    }
}

/// The batch inside a Produce is changed and, mostly, sealed again, so that what lies behind the CRC is reached.
fn with_broken_batch(mut frame: Vec<u8>, (start, end): (usize, usize), prng: &mut Prng) -> Vec<u8> {
    let batch = &mut frame[start..end];
    for _ in 0..=prng.below(3) {
        if prng.chance(1, 2) { flip(batch, 0, prng) } else { number(batch, 0, prng) }
    }
    if prng.chance(7, 8) {
        // The length of the batch must fit its bytes, otherwise the CRC is not even looked at.
        let length = (batch.len() - 12) as u32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        patch::seal_crc(batch);
    }
    frame
}
