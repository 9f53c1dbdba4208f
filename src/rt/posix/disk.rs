//! Hot disk operations as blocking calls on a helper thread.
#![allow(unsafe_code, reason = "pread and pwritev2")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use crate::base::chunk::Chunk;
use crate::base::limits::BLOCK;
use crate::port::disk::{DiskOutput, DiskResult};
use crate::rt::file::{FileOp, OpenFile, disk_error};
use crate::rt::read_pool::ReadPool;
use crate::rt::sys;

/// Zeros written by one call, bytes.
const ZERO_BYTES: usize = 256 << 10;

/// One operation and its file.
#[derive(Debug)]
pub struct Job {
    pub file: Arc<OpenFile>,
    pub op: FileOp,
}

/// Carries one out.
pub fn execute(job: Job, pool: &ReadPool) -> DiskResult {
    let Job { file, op } = job;
    let (name, result) = match op {
        FileOp::Write { position, data, sync } => {
            ("write", write(&file.fd, position, &data, sync).map(|()| DiskOutput::Done))
        }
        FileOp::Read { position, len } => {
            let chunk = pool.take(len as usize);
            ("read", read(&file.fd, position, len as usize, chunk).map(|chunk| DiskOutput::Data(pool.share(chunk))))
        }
        FileOp::Sync => ("sync", sync(&file.fd).map(|()| DiskOutput::Done)),
        FileOp::ZeroFill { from, to } => ("zero fill", zero_fill(&file.fd, from, to).map(|()| DiskOutput::Done)),
        FileOp::Reserve { from, to } => ("reserve", reserve(&file.fd, from, to).map(|()| DiskOutput::Done)),
    };
    result.map_err(|error| disk_error(name, &file.path, &error))
}

fn sync(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: no pointers are involved.
    sys::check(unsafe { libc::fdatasync(fd.as_raw_fd()) }).map(drop)
}

fn write(fd: &OwnedFd, position: u64, data: &[u8], durable: bool) -> io::Result<()> {
    if data.is_empty() && durable {
        return sync(fd);
    }
    let flags = if durable { libc::RWF_DSYNC } else { 0 };
    let mut done = 0;
    while done < data.len() {
        let rest = &data[done..];
        let slice = libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
        // Positions are below 2^63 (OpenFile::validate).
        let offset = (position + done as u64) as libc::off_t;
        // SAFETY: one slice, which lies in `data`; the kernel only reads it.
        let result = unsafe { libc::pwritev2(fd.as_raw_fd(), &slice, 1, offset, flags) };
        match sys::check_size(result) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills the front of a chunk that has room for `len` bytes.
fn read(fd: &OwnedFd, position: u64, len: usize, mut chunk: Chunk) -> io::Result<Chunk> {
    let mut done = 0;
    while done < len {
        let offset = (position + done as u64) as libc::off_t;
        // SAFETY: the chunk has room for `len` bytes, of which `len - done` follow `done`.
        let result = unsafe { libc::pread(fd.as_raw_fd(), chunk.start_ptr().add(done).cast(), len - done, offset) };
        match sys::check_size(result) {
            Ok(0) => break,
            Ok(count) => {
                done += count;
                // A direct read ends inside a block only at the end of the file, and could not go on from there.
                if !done.is_multiple_of(BLOCK) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // SAFETY: the kernel has written the first `done` bytes.
    unsafe { chunk.assume_filled(done) };
    Ok(chunk)
}

/// A file system that cannot reserve gets zeros instead.
fn reserve(fd: &OwnedFd, from: u64, to: u64) -> io::Result<()> {
    if from == to {
        return Ok(());
    }
    match sys::reserve(fd, from, to) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => write_zeros(fd, from, to),
        reserved => reserved,
    }
}

fn zero_fill(fd: &OwnedFd, from: u64, to: u64) -> io::Result<()> {
    if from == to {
        return Ok(());
    }
    // One piece of the disk where it can be had, and ENOSPC before anything is written.
    match sys::reserve(fd, from, to) {
        Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => return Err(error),
        _ => {}
    }
    write_zeros(fd, from, to)
}

fn write_zeros(fd: &OwnedFd, from: u64, to: u64) -> io::Result<()> {
    let zeros = Chunk::zeroed(ZERO_BYTES);
    let mut at = from;
    while at < to {
        let step = (to - at).min(ZERO_BYTES as u64);
        write(fd, at, &zeros.as_slice()[..step as usize], false)?;
        at += step;
    }
    sync(fd)
}
