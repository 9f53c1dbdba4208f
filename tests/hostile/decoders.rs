//! Every decoder of foreign bytes over mutated input, the entries that `fuzz/` feeds too: none panics, and none takes
//! more memory than its input may ask for, counted by the allocator. How many inputs each entry gets:
//! `KATARACT_HOSTILE_DECODES`; the seed: `KATARACT_HOSTILE_SEED`.
#![allow(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::env;

use kataract::base::prng::Prng;

use crate::entries;

/// Most that one input of at most [`INPUT_BYTES_MAX`] may hold at a time, bytes: several times what the windows of the
/// decompressors and the settings of a configuration take.
const HELD_MAX: isize = 1 << 20;
const INPUT_BYTES_MAX: usize = 4 << 10;

/// Counts what the current thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // The counters have no destructor, so they are there as long as their thread allocates.
    HELD.with(|held| {
        held.set(held.get() + bytes);
        PEAK.with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes held at a time while `act` ran.
fn most_held(act: impl FnOnce()) -> isize {
    let before = HELD.get();
    PEAK.set(before);
    act();
    PEAK.get() - before
}

fn setting(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

/// What hurts where a length, a count, an offset or a time is expected.
const PIECES: [&[u8]; 9] = [
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"99999999999999999999",
    b"\n",
    b"\xff\x7f",
];

fn mutated(seeds: &[Vec<u8>], prng: &mut Prng) -> Vec<u8> {
    let pick = |prng: &mut Prng, below: usize| prng.below(below.max(1) as u64) as usize;
    let mut bytes = seeds[pick(prng, seeds.len())].clone();
    for _ in 0..prng.below(4) {
        let at = pick(prng, bytes.len());
        let piece = PIECES[pick(prng, PIECES.len())];
        let rest = at.min(bytes.len())..(at + piece.len()).min(bytes.len());
        match prng.below(8) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << prng.below(8),
            2 if !bytes.is_empty() => bytes[at] = prng.next_u64() as u8,
            3 => drop(bytes.splice(rest, piece.iter().copied())),
            4 => drop(bytes.splice(at..at, piece.iter().copied())),
            5 => bytes.truncate(at),
            6 => {
                let other = &seeds[pick(prng, seeds.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[pick(prng, other.len()).min(other.len())..]);
            }
            _ => {
                let fill = prng.next_u64() as u8;
                bytes.extend((0..prng.below(300)).map(|_| fill));
            }
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

#[test]
fn decoders_of_foreign_bytes_survive_mutated_input_in_bounded_memory() {
    let count = setting("KATARACT_HOSTILE_DECODES", 20_000);
    let seed = setting("KATARACT_HOSTILE_SEED", 1);
    for (name, entry) in entries::ALL {
        let seeds = entries::seeds(name);
        assert!(!seeds.is_empty(), "{name} has nothing to start from");
        let mut prng = Prng::new(seed);
        // A file a time is slow.
        let count = if name.ends_with("properties") { count / 10 } else { count };
        let mut most = 0;
        for (round, well_formed) in (0..count).zip(seeds.iter().map(Some).chain(std::iter::repeat(None))) {
            let input = well_formed.cloned().unwrap_or_else(|| mutated(&seeds, &mut prng));
            let held = most_held(|| entry(&input));
            assert!(held <= HELD_MAX, "{name}, input {round} of seed {seed}: {held} bytes held for {input:?}");
            most = most.max(held);
        }
        println!("{name}: {count} inputs, at most {} KiB held", most >> 10);
    }
}
