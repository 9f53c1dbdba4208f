//! Decoding a request never takes much more memory than the request has bytes, and never long: counted by an allocator, over
//! every served API and version, populated and randomly changed.
//!
//! One test only, since the counter belongs to the whole process.
#![allow(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use kataract::base::prng::Prng;
use kataract::wire::{self, fetch, guard, produce};

#[path = "../src/wire/guard/samples.rs"]
mod samples;

/// Counts the bytes that the current thread asks for.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    // The counter has no destructor, so it is there as long as its thread allocates.
    ASKED.with(|asked| asked.set(asked.get().saturating_add(bytes)));
}

// SAFETY: every call goes to the system's allocator unchanged; the counter does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(start, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// All bytes asked for while decoding `body`, whether it was accepted or not.
fn asked_for(key: i16, version: i16, body: &Bytes) -> usize {
    let body = body.clone();
    ASKED.with(|asked| asked.set(0));
    match key {
        0 => drop(produce::decode_request(version, &body)),
        1 => drop(fetch::decode_request(version, &body)),
        _ => drop(samples::decode(key, version, body)),
    }
    ASKED.with(Cell::get)
}

fn check(key: i16, version: i16, body: &Bytes) {
    let asked = asked_for(key, version, body);
    let allowed = body.len() * guard::MEMORY_FACTOR_MAX + guard::MEMORY_FREE_BYTES;
    assert!(asked <= allowed, "key {key} version {version}: {} bytes took {asked}: {body:?}", body.len());
}

/// One byte, four bytes or a tail of `body` becomes something that hurts when it is a count.
fn changed(body: &Bytes, prng: &mut Prng) -> Bytes {
    const COUNTS: [&[u8]; 6] = [
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff\x0f",
        b"\x00\x01\x00\x00",
        b"\xff\xff\x07",
        b"\x00\x00\x40\x00",
        b"\xff\x7f",
    ];
    let mut bytes = body.to_vec();
    for _ in 0..=prng.below(3) {
        let at = prng.below(bytes.len().max(1) as u64) as usize;
        let piece = COUNTS[prng.below(6) as usize];
        match prng.below(4) {
            0 if !bytes.is_empty() => bytes[at] = prng.next_u64() as u8,
            1 => drop(bytes.splice(at..(at + piece.len()).min(bytes.len()), piece.iter().copied())),
            2 => drop(bytes.splice(at..at, piece.iter().copied())),
            _ => {
                // Something for the counts to run over.
                let filler = prng.below(3) as u8;
                bytes.resize(bytes.len() + prng.below(3000) as usize, filler);
            }
        }
    }
    Bytes::from(bytes)
}

/// The requests with the most elements, or tags, that so many bytes can hold.
fn dense(key: i16, version: i16, bytes: usize, prng: &mut Prng) -> Bytes {
    let filler = [0u8, 1, 2][prng.below(3) as usize];
    let mut body = vec![filler; bytes];
    // A count of about what fits, at a place where the layout may have one.
    let count = (bytes / (1 + prng.below(8) as usize)) as u32;
    let at = prng.below(24.min(bytes as u64 - 8)) as usize;
    if wire::versions::find(key).is_some_and(|api| api.is_flexible(version)) {
        let encoded = [count as u8 | 0x80, (count >> 7) as u8 | 0x80, (count >> 14) as u8 & 0x7f];
        body[at..at + 3].copy_from_slice(&encoded);
    } else {
        body[at..at + 4].copy_from_slice(&count.to_be_bytes());
    }
    Bytes::from(body)
}

#[test]
fn decoding_takes_memory_in_proportion_to_the_bytes_and_little_time() {
    let mut prng = Prng::new(29);
    let started = std::time::Instant::now();
    for size in [1, 3, 30] {
        for sample in samples::all(size) {
            check(sample.key, sample.version, &sample.body);
            for _ in 0..60 {
                check(sample.key, sample.version, &changed(&sample.body, &mut prng));
            }
        }
    }
    for api in wire::versions::APIS {
        for version in api.min..=api.max {
            for _ in 0..60 {
                let bytes = 64 + prng.below(20_000) as usize;
                check(api.key, version, &dense(api.key, version, bytes, &mut prng));
            }
        }
    }
    // Unoptimised and on a busy machine; quadratic work on these inputs would take minutes.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
