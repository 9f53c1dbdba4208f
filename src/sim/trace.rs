//! What happened in a run: always as a hash, on request also as lines to read.
//!
//! The hash covers every turn, every operation with its bytes, every answer: two runs of one seed that differ anywhere
//! have different hashes. Text is only made when someone reads it.

use std::fmt;

use crate::base::time::Mono;

/// The record of one run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// `keep`: keep the lines, not just their hash.
    pub fn new(keep: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, lines: keep.then(Vec::new) }
    }

    /// Adds an event: `name` and `numbers` go into the hash, `text` is what a person reads.
    pub fn event(&mut self, at: Mono, name: &'static str, numbers: &[u64], text: impl FnOnce() -> String) {
        self.events += 1;
        self.mix(at.0);
        self.bytes(name.as_bytes());
        for number in numbers {
            self.mix(*number);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{} {name} {}", Millis(at), text()));
        }
    }

    /// Adds bytes to the hash.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.mix(u64::from(crc32c::crc32c(bytes)) << 32 | bytes.len() as u64);
    }

    fn mix(&mut self, number: u64) {
        // One round of SplitMix64 on the running value: order matters, and every bit reaches every other.
        let mut z = (self.hash ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.hash = z ^ (z >> 31);
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether lines are kept.
    pub fn keeps_lines(&self) -> bool {
        self.lines.is_some()
    }

    /// The lines kept so far, taken out.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// Virtual time in milliseconds with its fraction.
struct Millis(Mono);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0.0 / 1_000_000, self.0.0 % 1_000_000)
    }
}
