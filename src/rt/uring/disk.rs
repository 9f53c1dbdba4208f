//! Hot disk operations on the ring. A durable write is one operation (RWF_DSYNC): where the device can, the kernel then
//! writes through instead of flushing the device's whole cache.
#![allow(unsafe_code, reason = "entries for the ring name memory of operations")]

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use io_uring::types::FsyncFlags;
use io_uring::{opcode, squeue, types};

use super::Uring;
use super::flight::{DiskFlight, Flight, Step};
use super::ring::Completion;
use super::socket::{Target, entry_for};
use crate::base::chunk::Chunk;
use crate::base::limits::BLOCK;
use crate::port::disk::{DiskOutput, FileId};
use crate::port::turn::Token;
use crate::rt::backend::Events;
use crate::rt::file::{FileOp, OpenFile, disk_error};
use crate::rt::read_pool::ReadPool;

/// One system call moves at most this much (a multiple of the block, below the kernel's limit of 2 GiB - 4 KiB).
const CALL_BYTES_MAX: usize = 1 << 30;
/// Memory of zeros that zero fills write from, bytes; small, because it counts as locked memory where it is registered.
pub const ZERO_BYTES: usize = 256 << 10;

/// A read moves at most so much at a time, bytes (a multiple of the block): what a sync has to wait for in the disk's
/// queue behind a reader of cold data.
const READ_BYTES_MAX: usize = 256 << 10;

/// What a completion means for its operation.
enum Next {
    Again,
    Done(io::Result<DiskOutput>),
}

fn call_len(len: usize) -> u32 {
    // At most 2^30.
    len.min(CALL_BYTES_MAX) as u32
}

/// Whether a write may have to wait for a commit of the file system before it is with the disk, and so goes to a worker
/// of the kernel.
fn may_block(flight: &DiskFlight) -> bool {
    let file = &flight.file;
    matches!(flight.step, Step::Write { .. }) && file.direct && file.reserved.load(Ordering::Relaxed)
}

/// The next system call of an operation.
fn step_entry(target: Target, step: &mut Step, zeros_registered: bool) -> squeue::Entry {
    match step {
        Step::Write { position, data, done, sync } => {
            let rest = &data[*done..];
            let (start, len, offset) = (rest.as_ptr(), call_len(rest.len()), *position + *done as u64);
            let flags = if *sync { libc::RWF_DSYNC } else { 0 };
            entry_for!(target, |fd| opcode::Write::new(fd, start, len).offset(offset).rw_flags(flags).build())
        }
        Step::Read { position, chunk, done, len } => {
            // Within the chunk: it has room for `len` bytes, and `done` is less.
            let start = chunk.start_ptr().wrapping_add(*done);
            let (len, offset) = (call_len((*len - *done).min(READ_BYTES_MAX)), *position + *done as u64);
            entry_for!(target, |fd| opcode::Read::new(fd, start, len).offset(offset).build())
        }
        Step::Sync => entry_for!(target, |fd| opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build()),
        Step::Reserve { from, to, .. } => {
            let (offset, len) = (*from, *to - *from);
            entry_for!(target, |fd| opcode::Fallocate::new(fd, len).offset(offset).build())
        }
        Step::Zero { at, to, zeros } => {
            let (start, offset) = (zeros.as_slice().as_ptr(), *at);
            let len = (*to - *at).min(ZERO_BYTES as u64) as u32;
            if zeros_registered {
                entry_for!(target, |fd| opcode::WriteFixed::new(fd, start, len, 0).offset(offset).build())
            } else {
                entry_for!(target, |fd| opcode::Write::new(fd, start, len).offset(offset).build())
            }
        }
    }
}

/// Takes the result of a system call in.
fn advance(step: &mut Step, result: i32, zero_bytes: &Arc<Chunk>, pool: &ReadPool) -> Next {
    let count = match usize::try_from(result) {
        Ok(count) => count,
        Err(_) => match (-result, &mut *step) {
            (libc::EINTR | libc::EAGAIN, _) => return Next::Again,
            // A file system that cannot reserve writes all the same.
            (libc::EOPNOTSUPP, Step::Reserve { zeros, .. }) => {
                *zeros = true;
                0
            }
            (errno, _) => return Next::Done(Err(io::Error::from_raw_os_error(errno))),
        },
    };
    let wrote_nothing = || Next::Done(Err(io::ErrorKind::WriteZero.into()));
    match step {
        Step::Write { data, done, .. } => {
            *done += count;
            match *done == data.len() {
                true => Next::Done(Ok(DiskOutput::Done)),
                false if count == 0 => wrote_nothing(),
                false => Next::Again,
            }
        }
        Step::Read { done, len, chunk, .. } => {
            *done += count;
            // A direct read ends inside a block only at the end of the file, and could not go on from there.
            if count > 0 && *done < *len && done.is_multiple_of(BLOCK) {
                return Next::Again;
            }
            let mut filled = std::mem::replace(chunk, Chunk::with_capacity(0));
            // SAFETY: the kernel has written the first `done` bytes.
            unsafe { filled.assume_filled(*done) };
            Next::Done(Ok(DiskOutput::Data(pool.share(filled))))
        }
        Step::Sync => Next::Done(Ok(DiskOutput::Done)),
        Step::Reserve { zeros: false, .. } => Next::Done(Ok(DiskOutput::Done)),
        Step::Reserve { from, to, .. } => {
            *step = Step::Zero { at: *from, to: *to, zeros: zero_bytes.clone() };
            Next::Again
        }
        Step::Zero { at, to, .. } => {
            *at += count as u64;
            match *at == *to {
                true => *step = Step::Sync,
                false if count == 0 => return wrote_nothing(),
                false => {}
            }
            Next::Again
        }
    }
}

/// For error texts.
fn name(step: &Step) -> &'static str {
    match step {
        Step::Write { .. } => "write",
        Step::Read { .. } => "read",
        Step::Sync => "sync",
        Step::Reserve { zeros: false, .. } => "reserve",
        Step::Reserve { .. } | Step::Zero { .. } => "zero fill",
    }
}

impl Uring {
    pub fn begin_disk(&mut self, token: Token, id: FileId, file: &Arc<OpenFile>, op: FileOp, events: &mut Events) {
        let step = match op {
            FileOp::Write { data, sync: false, .. } if data.is_empty() => {
                return events.disk.push((token, Ok(DiskOutput::Done)));
            }
            FileOp::Write { data, .. } if data.is_empty() => Step::Sync,
            FileOp::Write { position, data, sync } => Step::Write { position, data, done: 0, sync },
            FileOp::Read { len: 0, .. } => {
                return events.disk.push((token, Ok(DiskOutput::Data(bytes::Bytes::new()))));
            }
            FileOp::Read { position, len } => {
                let chunk = self.read_pool.take(len as usize);
                Step::Read { position, chunk, done: 0, len: len as usize }
            }
            FileOp::Sync => Step::Sync,
            FileOp::ZeroFill { from, to } | FileOp::Reserve { from, to } if from == to => {
                return events.disk.push((token, Ok(DiskOutput::Done)));
            }
            FileOp::ZeroFill { from, to } => Step::Reserve { from, to, zeros: true },
            FileOp::Reserve { from, to } => {
                file.reserved.store(true, Ordering::Relaxed);
                Step::Reserve { from, to, zeros: false }
            }
        };
        let key = self.flights.insert(Flight::Disk(DiskFlight { token, id, file: file.clone(), step }));
        self.disk_ops += 1;
        self.push_disk(key);
    }

    fn push_disk(&mut self, key: u64) {
        let Flight::Disk(flight) = self.flights.get_mut(key) else { unreachable!("key of a disk operation") };
        let target = match self.fixed_files.contains(&flight.id) {
            true => Target::Fixed(flight.id.0),
            false => Target::Plain(flight.file.fd.as_raw_fd()),
        };
        let prepared = step_entry(target, &mut flight.step, self.zeros_registered).user_data(key);
        let prepared = if may_block(flight) { prepared.flags(squeue::Flags::ASYNC) } else { prepared };
        // SAFETY: the memory belongs to the step (data, chunk, zeros), which stays in the flight table until the
        // completion, and so does the file.
        unsafe { self.ring.push(prepared) };
    }

    pub fn disk_completed(&mut self, completion: Completion, events: &mut Events) {
        let Flight::Disk(flight) = self.flights.get_mut(completion.key) else {
            unreachable!("key of a disk operation")
        };
        let failed_in = name(&flight.step);
        match advance(&mut flight.step, completion.result, &self.zeros, &self.read_pool) {
            Next::Again => self.push_disk(completion.key),
            Next::Done(result) => {
                let token = flight.token;
                let result = result.map_err(|error| disk_error(failed_in, &flight.file.path, &error));
                self.flights.release(completion.key);
                self.disk_ops -= 1;
                events.disk.push((token, result));
            }
        }
    }
}
