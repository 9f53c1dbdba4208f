//! A send in progress: which bytes of which parts, in memory or in files, the kernel has not taken yet.

use bytes::Bytes;

use super::file::OpenFile;
use super::file_pipe::FilePiece;
use crate::port::range::Part;

/// Parts of one system call (IOV_MAX of Linux, writev(2)).
const PARTS_PER_CALL_MAX: usize = 1024;
/// Bytes of one system call: while it copies, everybody else on the core waits (`tuning/budget.md` has the figures).
const BYTES_PER_CALL_MAX: usize = 256 << 10;

/// Owns the parts until the last byte is taken.
#[derive(Debug)]
pub struct Outgoing {
    parts: Vec<Part>,
    /// The first part with bytes left, and how many of its bytes are gone.
    part: usize,
    offset: usize,
    slices: Vec<libc::iovec>,
}

impl Outgoing {
    pub fn new(parts: Vec<Part>) -> Outgoing {
        let mut outgoing = Outgoing { parts, part: 0, offset: 0, slices: Vec::new() };
        outgoing.skip_empty();
        outgoing
    }

    fn skip_empty(&mut self) {
        while self.parts.get(self.part).is_some_and(|part| part.len() == self.offset) {
            // Sent parts are let go at once: their memory may be a chunk that a log wants back.
            self.parts[self.part] = Bytes::new().into();
            self.part += 1;
            self.offset = 0;
        }
    }

    pub fn is_done(&self) -> bool {
        self.part == self.parts.len()
    }

    /// The kernel took `count` bytes.
    pub fn advance(&mut self, mut count: usize) {
        while count > 0 {
            crate::invariant!(!self.is_done(), "the kernel took {count} bytes more than there were");
            let left = self.parts[self.part].len() - self.offset;
            let step = count.min(left);
            self.offset += step;
            count -= step;
            self.skip_empty();
        }
    }

    /// What is left of the part that goes next, if that is in memory.
    #[cfg(feature = "glommio")]
    pub fn next_part(&self) -> Option<&[u8]> {
        self.parts.get(self.part).and_then(Part::memory).map(|part| &part[self.offset..])
    }

    /// What is left of the part that goes next, if that lies in a file.
    pub fn file(&self) -> Option<FilePiece<'_>> {
        let Some(Part::File(range)) = self.parts.get(self.part) else { return None };
        let Some(file) = range.file::<OpenFile>() else {
            unreachable!("ranges are made by the driver that sends them")
        };
        let position = range.position() + self.offset as u64;
        let more = self.part + 1 < self.parts.len();
        Some(FilePiece { file, position, len: range.len() - self.offset, more })
    }

    /// Whether something in a file is among the next parts, so that what goes before it need not go alone.
    pub fn file_follows(&self) -> bool {
        self.parts[self.part..].iter().take(PARTS_PER_CALL_MAX + 1).any(|part| matches!(part, Part::File(_)))
    }

    /// What is left in memory up to the next file, as far as one call may carry it. The pointers are valid until the
    /// next call of a method here.
    pub fn slices(&mut self) -> &mut [libc::iovec] {
        self.slices.clear();
        let (mut offset, mut room) = (self.offset, BYTES_PER_CALL_MAX);
        let memory = self.parts[self.part..].iter().map_while(Part::memory);
        for part in memory.take(PARTS_PER_CALL_MAX) {
            let rest = &part[offset..];
            let len = rest.len().min(room);
            self.slices.push(libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: len });
            (offset, room) = (0, room - len);
            if room == 0 {
                break;
            }
        }
        &mut self.slices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_taken_in_any_steps_leave_exactly_the_rest() {
        let parts: Vec<Part> = ["", "abc", "", "de", "f", ""].map(|text| Bytes::from(text).into()).into();
        let total = 6;
        for step in 1..=total {
            let mut outgoing = Outgoing::new(parts.clone());
            let mut taken = 0;
            while !outgoing.is_done() {
                let left: usize = outgoing.slices().iter().map(|slice| slice.iov_len).sum();
                assert_eq!(left, total - taken);
                let count = step.min(left);
                outgoing.advance(count);
                taken += count;
            }
            assert_eq!(taken, total);
        }
        assert!(Outgoing::new(Vec::new()).is_done());
    }

    #[test]
    fn more_parts_than_one_call_may_carry_are_cut() {
        let mut outgoing = Outgoing::new(vec![Bytes::from_static(b"x").into(); 3000]);
        assert_eq!(outgoing.slices().len(), PARTS_PER_CALL_MAX);
        outgoing.advance(PARTS_PER_CALL_MAX);
        outgoing.advance(PARTS_PER_CALL_MAX);
        assert_eq!(outgoing.slices().len(), 3000 - 2 * PARTS_PER_CALL_MAX);
    }

    #[test]
    fn more_bytes_than_one_call_may_carry_are_cut() {
        let part = Part::from(Bytes::from(vec![0; BYTES_PER_CALL_MAX - 1]));
        let mut outgoing = Outgoing::new(vec![part.clone(), part.clone(), part]);
        let mut calls = Vec::new();
        while !outgoing.is_done() {
            let lens: Vec<usize> = outgoing.slices().iter().map(|slice| slice.iov_len).collect();
            outgoing.advance(lens.iter().sum());
            calls.push(lens);
        }
        let max = BYTES_PER_CALL_MAX;
        assert_eq!(calls, [vec![max - 1, 1], vec![max - 2, 2], vec![max - 3]]);
    }
}
