//! Decoding a request never takes much more memory than the request has bytes, and never long: counted by an allocator,
//! over every served API and version, populated and randomly changed.
//!
//! One test only, since the counter belongs to the whole process.
#![allow(clippy::disallowed_methods, reason = "measures how long a decoder takes")]
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

/// Checks one body and returns what decoding it took, in percent of its size.
fn check(key: i16, version: i16, body: &Bytes) -> usize {
    let asked = asked_for(key, version, body);
    let allowed = body.len() * guard::MEMORY_FACTOR_MAX + guard::MEMORY_FREE_BYTES;
    let start = &body[..body.len().min(300)];
    assert!(asked <= allowed, "key {key} version {version}: {} bytes took {asked}: {start:?}", body.len());
    asked / body.len().max(1)
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

/// A request whose largest array has the smallest elements its layout allows: what decodes into the most memory a byte.
struct Dense {
    key: i16,
    version: i16,
    before: &'static [u8],
    element: &'static [u8],
    after: &'static [u8],
}

const DENSE: [Dense; 12] = [
    // Produce: topics, and partitions of one topic.
    Dense { key: 0, version: 9, before: b"\0\xff\xff\0\0\0\x01", element: b"\x01\x01\0", after: b"\0" },
    Dense { key: 0, version: 9, before: b"\0\xff\xff\0\0\0\x01\x02\x01", element: b"\0\0\0\0\0\0", after: b"\0\0" },
    // Fetch: topics, and forgotten topics.
    Dense { key: 1, version: 12, before: &[0; 25], element: b"\x01\x01\0", after: b"\x01\x01\0" },
    Dense { key: 1, version: 13, before: &[0; 25], element: &[1; 18], after: b"" },
    // Metadata: topics without and with a tagged field each (the latter is refused as soon as there are many).
    Dense { key: 3, version: 9, before: b"", element: b"\x01\0", after: b"\0\0\0\0" },
    Dense { key: 3, version: 9, before: b"", element: b"\x01\x01\x05\0", after: b"\0\0\0\0" },
    Dense { key: 9, version: 8, before: b"", element: b"\x01\x01\0", after: b"\0\0" },
    Dense { key: 10, version: 4, before: b"\0", element: b"\x01", after: b"\0" },
    Dense { key: 13, version: 4, before: b"\x01", element: b"\x01\0\0", after: b"\0" },
    Dense { key: 14, version: 4, before: b"\x01\0\0\0\0\x01\0", element: b"\x01\x01\0", after: b"\0" },
    // CreateTopics: configs of one topic.
    Dense {
        key: 19,
        version: 5,
        before: b"\x02\x01\0\0\0\x01\0\x01\x01",
        element: b"\x01\0\0",
        after: b"\0\0\0\0\0\0\0",
    },
    // CreatePartitions: assignments of one topic.
    Dense { key: 37, version: 2, before: b"\x02\x01\0\0\0\x01", element: b"\x01\0", after: b"\0\0\0\0\0\0\0" },
];

impl Dense {
    fn body(&self, elements: u32) -> Bytes {
        let count = elements + 1;
        let mut body = self.before.to_vec();
        body.extend([count as u8 | 0x80, (count >> 7) as u8 | 0x80, (count >> 14) as u8]);
        (0..elements).for_each(|_| body.extend_from_slice(self.element));
        body.extend_from_slice(self.after);
        Bytes::from(body)
    }
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
    let mut heaviest = 0;
    for dense in DENSE {
        for elements in [1, 100, 2_000, 20_000, 100_000, 100_001, 2_000_000] {
            let times = check(dense.key, dense.version, &dense.body(elements));
            if elements >= 20_000 {
                heaviest = heaviest.max(times);
            }
        }
    }
    assert!(heaviest >= 30, "{heaviest} times its size is the most that a dense request took: hardly any was decoded");
    // Unoptimised and on a busy machine; quadratic work on these inputs would take minutes.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
