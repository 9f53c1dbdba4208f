//! Deciding what of a segment file survives: batch after batch, each with its CRC, until the first that is not good.
//!
//! A pure walk over pieces of the file. What the CRC does not cover is judged by its neighbours: offsets and epochs
//! must not go back; an offset gap, or an epoch that `leader-epoch-checkpoint` does not know at that offset, is a
//! *suspicion* that the next good batch has to clear (a flipped high bit makes the next one go back). A suspect that
//! nothing follows is cut. Behind the last batch of a rolled segment, the base of the next one stands for that batch.
//! Logs whose gaps are normal (compaction) are not suspected for them.
//!
//! Behind the end, zeros are padding or space filled ahead; anything else is a torn write or damage. Both are measured.

use std::collections::VecDeque;
use std::ops::Range;

use super::epochs::EpochCache;
use super::head::{Found, HEAD_LEN, Head};
use super::segment::{block_ceil, block_floor};

/// Offset, size, CRC and magic: how a record of message format 0 or 1 begins.
const OLD_HEAD_LEN: usize = 17;
/// A suspicion that the base of the next segment may clear.
const AFTER_GAP: &str = "the last batch comes after a gap";
/// Bytes read at a time.
const PIECE: u64 = 1 << 20;

/// What a scan found next.
#[derive(Debug)]
pub(super) enum Step {
    /// A good batch; its bytes are [`Scan::bytes`] of the range.
    Batch {
        head: Head,
        position: u64,
        range: Range<usize>,
    },
    /// More of the file is needed: read this and [`Scan::feed`] it.
    Read {
        position: u64,
        len: u32,
    },
    End(ScanEnd),
}

/// How a segment ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ScanEnd {
    /// Where the last good batch ends.
    pub position: u64,
    /// The offset behind it.
    pub next_offset: i64,
    /// Zeros from there to the end of the file, or behind what is torn.
    pub padding: u64,
    /// Bytes up to the last one that is not zero.
    pub torn: u64,
    /// Why the scan ended before the end of the data, if it did.
    pub reason: Option<String>,
    /// The next segment goes on where this one ends.
    pub meets_next: bool,
    /// It was told to stop here.
    pub at_limit: bool,
    /// What lies there is a good batch of a format before v2: not to be cut.
    pub old_format: bool,
}

/// What a scan takes for granted.
#[derive(Clone, Debug, Default)]
pub(super) struct ScanRules {
    /// Offset gaps are normal.
    pub gaps_allowed: bool,
    /// The content of `leader-epoch-checkpoint`, when it could be read.
    pub known_epochs: Option<EpochCache>,
    /// Stop before the first batch that reaches this offset.
    pub limit: Option<i64>,
    /// The base of the next segment, for a rolled one.
    pub next_base: Option<i64>,
    /// This segment was whole when the next one was begun: what lies between its last batch and `next_base` is a gap
    /// that compaction has made.
    pub whole: bool,
}

impl ScanRules {
    /// Whether a segment whose batches end at `end` meets the next one.
    pub fn meets_next(&self, end: i64) -> bool {
        let gaps = self.gaps_allowed || self.whole;
        self.next_base.is_some_and(|next| next == end || gaps && next > end)
    }
}

/// A good batch and where it lies.
#[derive(Clone, Copy, Debug)]
struct Placed {
    head: Head,
    position: u64,
}

/// A good batch that the next one has to confirm.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    batch: Placed,
    reason: &'static str,
    /// Where the log ends without it.
    end_offset: i64,
}

/// The rest of the file is being measured.
#[derive(Debug)]
struct Measure {
    end: ScanEnd,
    /// Bytes before this are looked at.
    at: u64,
}

/// A walk over one segment file.
#[derive(Debug)]
pub(super) struct Scan {
    rules: ScanRules,
    /// Bytes of the file from `start` (a block boundary) on.
    buffer: Vec<u8>,
    start: u64,
    file_len: u64,
    /// Position of the next batch to judge.
    at: u64,
    /// No batch may begin below; a later beginning is a gap.
    next_offset: i64,
    /// The first batch must end at this offset, because an index entry says so; nothing is known of its beginning.
    first_last: Option<i64>,
    epoch: i32,
    suspect: Option<Suspect>,
    /// Judged good, not given out yet.
    good: VecDeque<Placed>,
    measure: Option<Measure>,
}

/// Why judging a batch came to nothing.
enum Halt {
    Need(u64),
    End(Option<&'static str>),
    OldFormat,
    Limit,
}

impl Scan {
    /// Begins at the start of a segment.
    pub fn new(base: i64, file_len: u64, rules: ScanRules) -> Scan {
        Scan {
            rules,
            buffer: Vec::new(),
            start: 0,
            file_len,
            at: 0,
            next_offset: base,
            first_last: None,
            epoch: -1,
            suspect: None,
            good: VecDeque::new(),
            measure: None,
        }
    }

    /// Begins at a batch that an index entry names: at `position`, ending with offset `last_offset`.
    pub fn from_entry(position: u64, last_offset: i64, file_len: u64, rules: ScanRules) -> Scan {
        let first_last = Some(last_offset);
        Scan { start: block_floor(position), at: position, first_last, ..Scan::new(0, file_len, rules) }
    }

    /// The bytes of the batch given out last.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Takes the piece asked for. Fewer bytes than asked for: the file ends here.
    pub fn feed(&mut self, data: &[u8], asked: u32) {
        self.buffer.extend_from_slice(data);
        if data.len() < asked as usize {
            self.file_len = self.file_len.min(self.have());
        }
    }

    /// It began where an index entry said, and what it found there was not what the entry promised.
    pub fn start_is_doubtful(&self) -> bool {
        self.first_last.is_some()
    }

    /// One behind the last byte at hand.
    fn have(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    /// The next good batch, or what is in the way.
    pub fn next(&mut self) -> Step {
        loop {
            if let Some(Placed { head, position }) = self.good.pop_front() {
                let from = (position - self.start) as usize;
                return Step::Batch { head, position, range: from..from + head.size };
            }
            if self.measure.is_some() {
                return self.go_on_measuring();
            }
            match self.judge() {
                Ok((head, suspicion)) => self.accept(head, suspicion),
                Err(Halt::Need(bytes)) => {
                    let keep = self.suspect.map_or(self.at, |suspect| suspect.batch.position);
                    return self.read(keep, self.at + bytes);
                }
                Err(Halt::End(reason)) => self.stop(reason),
                Err(Halt::OldFormat) => {
                    self.stop(Some("a record of the format before v2"));
                    return self.finish(|end| end.old_format = true);
                }
                Err(Halt::Limit) => {
                    self.stop(None);
                    return self.finish(|end| end.at_limit = true);
                }
            }
        }
    }

    /// Drops the blocks before `keep` and asks for the file up to `to` at least.
    fn read(&mut self, keep: u64, to: u64) -> Step {
        let drop = (block_floor(keep) - self.start) as usize;
        self.buffer.drain(..drop.min(self.buffer.len()));
        self.start += drop as u64;
        let position = self.have();
        let end = block_ceil(to.max(position + PIECE).min(self.file_len));
        Step::Read { position, len: (end - position) as u32 }
    }

    /// Judges the batch at the present position; the text is why it needs confirmation.
    fn judge(&self) -> Result<(Head, Option<&'static str>), Halt> {
        let left = self.file_len.saturating_sub(self.at);
        if left == 0 {
            return Err(Halt::End(None));
        }
        let bytes = self.buffer.get((self.at - self.start) as usize..).unwrap_or_default();
        let prefix = left.min(HEAD_LEN as u64);
        if (bytes.len() as u64) < prefix {
            return Err(Halt::Need(prefix));
        }
        if bytes[..prefix as usize].iter().all(|&byte| byte == 0) {
            return Err(Halt::End(None));
        }
        let head = match Head::find(bytes, left) {
            Found::Batch(head) => head,
            Found::Short => return Err(Halt::Need(prefix)),
            Found::Implausible(reason) => return Err(self.judge_old(bytes, left, reason)),
        };
        if let Some(reason) = self.contradiction(&head) {
            return Err(Halt::End(Some(reason)));
        }
        if bytes.len() < head.size {
            return Err(Halt::Need(head.size as u64));
        }
        if !Head::check_crc(&bytes[..head.size]) {
            return Err(Halt::End(Some("the checksum of the batch is wrong")));
        }
        if self.rules.limit.is_some_and(|limit| head.last_offset >= limit) {
            return Err(Halt::Limit);
        }
        Ok((head, self.suspicion(&head)))
    }

    /// A record of message format 0 or 1 is no damage, although this log cannot take it over.
    fn judge_old(&self, bytes: &[u8], left: u64, reason: &'static str) -> Halt {
        if bytes.len() < OLD_HEAD_LEN {
            return Halt::End(Some(reason));
        }
        let size = i32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let whole = u64::from(size.max(0) as u32) + 12;
        if bytes[16] > 1 || size < 14 || whole > left {
            return Halt::End(Some(reason));
        }
        let Some(body) = bytes.get(16..whole as usize) else { return Halt::Need(whole) };
        let mut crc = flate2::Crc::new();
        crc.update(body);
        let stored = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        if crc.sum() == stored { Halt::OldFormat } else { Halt::End(Some(reason)) }
    }

    /// Why a header with a good shape cannot follow what came before.
    fn contradiction(&self, head: &Head) -> Option<&'static str> {
        if let Some(last) = self.first_last {
            return (head.last_offset != last).then_some("the batch is not the one its index entry names");
        }
        if head.base_offset < self.next_offset {
            return Some("the offsets go back");
        }
        if head.leader_epoch < self.epoch {
            return Some("the leader epochs go back");
        }
        let known = self.known_epoch(head.base_offset);
        (head.leader_epoch < known).then_some("the leader epoch is older than its offset's")
    }

    /// Why a good batch is not believed before the next one confirms it.
    fn suspicion(&self, head: &Head) -> Option<&'static str> {
        // Below its first entry the record says nothing: it was cut to a log start that the host did not keep yet,
        // perhaps the log end, and then nothing of it is left.
        let silent = self
            .rules
            .known_epochs
            .as_ref()
            .is_none_or(|epochs| epochs.earliest().is_none_or(|first| head.base_offset < first.start_offset));
        let news = !silent && head.leader_epoch > self.known_epoch(head.base_offset);
        if news {
            return Some("the last batch has a leader epoch that is not on record");
        }
        let gap = self.first_last.is_none() && head.base_offset > self.next_offset && !self.rules.gaps_allowed;
        gap.then_some(AFTER_GAP)
    }

    fn known_epoch(&self, offset: i64) -> i32 {
        let known = self.rules.known_epochs.as_ref();
        known.and_then(|epochs| epochs.epoch_for_offset(offset)).unwrap_or(-1)
    }

    fn accept(&mut self, head: Head, suspicion: Option<&'static str>) {
        if let Some(suspect) = self.suspect.take() {
            self.good.push_back(suspect.batch);
        }
        let batch = Placed { head, position: self.at };
        match suspicion {
            Some(reason) => self.suspect = Some(Suspect { batch, reason, end_offset: self.next_offset }),
            None => self.good.push_back(batch),
        }
        self.at += head.size as u64;
        self.next_offset = head.last_offset + 1;
        self.epoch = self.epoch.max(head.leader_epoch);
        self.first_last = None;
    }

    /// The data ends here, or before the suspect that nothing has confirmed.
    fn stop(&mut self, reason: Option<&'static str>) {
        let (mut position, mut next_offset, mut reason) = (self.at, self.next_offset, reason);
        if let Some(suspect) = self.suspect.take() {
            if reason.is_none() && suspect.reason == AFTER_GAP && self.rules.meets_next(next_offset) {
                self.good.push_back(suspect.batch);
            } else {
                (position, next_offset, reason) = (suspect.batch.position, suspect.end_offset, Some(suspect.reason));
            }
        }
        let reason = reason.map(|reason| format!("at position {position}: {reason}"));
        let meets_next = self.rules.meets_next(next_offset);
        let end = ScanEnd { position, next_offset, reason, meets_next, ..ScanEnd::default() };
        self.measure = Some(Measure { end, at: position });
    }

    fn finish(&mut self, mark: impl FnOnce(&mut ScanEnd)) -> Step {
        let mut end = self.measure.take().map(|measure| measure.end).unwrap_or_default();
        mark(&mut end);
        Step::End(end)
    }

    /// Tells zeros from other bytes between the end of the data and the end of the file.
    fn go_on_measuring(&mut self) -> Step {
        let (start, have) = (self.start, self.have());
        let Some(measure) = &mut self.measure else { return Step::End(ScanEnd::default()) };
        let upto = have.min(self.file_len);
        if measure.at < upto {
            let rest = &self.buffer[(measure.at - start) as usize..(upto - start) as usize];
            if let Some(last) = rest.iter().rposition(|&byte| byte != 0) {
                measure.end.torn = measure.at + last as u64 + 1 - measure.end.position;
            }
            measure.at = upto;
        }
        if upto < self.file_len {
            return self.read(upto, upto);
        }
        let file_len = self.file_len;
        self.finish(|end| {
            end.padding = file_len.saturating_sub(end.position + end.torn);
            if end.torn > 0 && end.reason.is_none() {
                end.reason = Some(format!("at position {}: zeros, and other bytes behind them", end.position));
            }
        })
    }
}
