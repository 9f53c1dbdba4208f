//! Hot disk operations as tasks on glommio's files.
//!
//! glommio writes from and reads into memory of its own only, which stays on its thread: every byte is copied once more
//! than in the other drivers. It has no write that syncs, so a durable write is two operations one after the other.
#![allow(unsafe_code, reason = "glommio takes a descriptor over as a raw number only")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;

use ::glommio::io::{BufferedFile, DmaFile, OpenOptions};
use ::glommio::{GlommioError, allocate_dma_buffer};

use crate::base::limits::BLOCK;
use crate::port::disk::{DiskOutput, DiskResult};
use crate::rt::file::{FileOp, OpenFile, disk_error};
use crate::rt::read_pool::ReadPool;
use crate::rt::sys;

/// Read by one operation, bytes: bounds glommio's buffer, which lives beside ours until it is copied.
const READ_BYTES_MAX: usize = 1 << 20;
/// Zeros written by one operation, bytes.
const ZERO_BYTES: usize = 256 << 10;

/// An open file in glommio's hands. Closed by its executor some time after it is dropped.
#[derive(Debug)]
pub enum GlommioFile {
    Direct(DmaFile),
    Buffered(BufferedFile),
}

/// The error of the system inside one of glommio's.
pub fn os_error(error: GlommioError<()>) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

/// A file of glommio's on this descriptor. Must be called within an executor.
pub fn buffered(fd: OwnedFd) -> BufferedFile {
    // SAFETY: the descriptor is open and, given up by its owner here, nobody else's.
    unsafe { BufferedFile::from_raw_fd(fd.into_raw_fd()) }
}

impl GlommioFile {
    /// Opens once more what is open already. A direct file comes from glommio's own open only; the name of the
    /// descriptor leads to the file also when the file's own name has changed meanwhile.
    pub async fn open(file: &OpenFile) -> io::Result<GlommioFile> {
        if file.direct {
            let path = format!("/proc/self/fd/{}", file.fd.as_raw_fd());
            match OpenOptions::new().read(true).write(true).dma_open(path).await {
                Ok(direct) => return Ok(GlommioFile::Direct(direct)),
                // The file system refuses O_DIRECT; `cold.rs` has said so.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                Err(error) => return Err(os_error(error)),
            }
        }
        Ok(GlommioFile::Buffered(buffered(sys::duplicate(file.fd.as_raw_fd())?)))
    }

    /// Carries one operation out.
    pub async fn execute(&self, file: &OpenFile, op: FileOp, pool: &ReadPool) -> DiskResult {
        let (name, result) = match op {
            FileOp::Write { position, data, sync } => {
                ("write", self.write(position, &data, sync).await.map(|()| DiskOutput::Done))
            }
            FileOp::Read { position, len } => ("read", self.read(position, len as usize, pool).await),
            FileOp::Sync => ("sync", self.sync().await.map(|()| DiskOutput::Done)),
            FileOp::ZeroFill { from, to } => ("zero fill", self.zero_fill(from, to).await.map(|()| DiskOutput::Done)),
            FileOp::Reserve { from, to } => ("reserve", self.make_room(from, to).await.map(|()| DiskOutput::Done)),
        };
        result.map_err(|error| disk_error(name, &file.path, &error))
    }

    async fn sync(&self) -> io::Result<()> {
        match self {
            GlommioFile::Direct(file) => file.fdatasync().await,
            GlommioFile::Buffered(file) => file.fdatasync().await,
        }
        .map_err(os_error)
    }

    async fn write(&self, position: u64, data: &[u8], durable: bool) -> io::Result<()> {
        let mut done = 0;
        while done < data.len() {
            let (rest, at) = (&data[done..], position + done as u64);
            let written = match self {
                GlommioFile::Direct(file) => {
                    let mut buffer = allocate_dma_buffer(rest.len());
                    buffer.as_bytes_mut().copy_from_slice(rest);
                    file.write_at(buffer, at).await
                }
                GlommioFile::Buffered(file) => file.write_at(rest.to_vec(), at).await,
            };
            done += taken(written)?;
        }
        if durable { self.sync().await } else { Ok(()) }
    }

    async fn read(&self, position: u64, len: usize, pool: &ReadPool) -> io::Result<DiskOutput> {
        let mut chunk = pool.take(len);
        while chunk.len() < len {
            let (at, step) = (position + chunk.len() as u64, (len - chunk.len()).min(READ_BYTES_MAX));
            let read = match self {
                GlommioFile::Direct(file) => file.read_at_aligned(at, step).await,
                GlommioFile::Buffered(file) => file.read_at(at, step).await,
            };
            match read {
                Ok(bytes) => {
                    chunk.fill(&bytes);
                    // A direct read ends inside a block only at the end of the file, and could not go on from there.
                    if bytes.is_empty() || !chunk.len().is_multiple_of(BLOCK) {
                        break;
                    }
                }
                Err(error) if again(&error) => {}
                Err(error) => return Err(os_error(error)),
            }
        }
        Ok(DiskOutput::Data(pool.share(chunk)))
    }

    /// Whether the file system could. glommio reserves from the start of the file only; what is written there already
    /// stays as it is.
    async fn reserve(&self, to: u64) -> io::Result<bool> {
        let reserved = match self {
            GlommioFile::Direct(file) => file.pre_allocate(to, false).await,
            GlommioFile::Buffered(file) => file.pre_allocate(to, false).await,
        };
        match reserved {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
            Err(error) => Err(os_error(error)),
        }
    }

    /// A file system that cannot reserve gets zeros instead.
    async fn make_room(&self, from: u64, to: u64) -> io::Result<()> {
        if from == to || self.reserve(to).await? {
            return Ok(());
        }
        self.zero_fill(from, to).await
    }

    async fn zero_fill(&self, from: u64, to: u64) -> io::Result<()> {
        if from == to {
            return Ok(());
        }
        // One piece of the disk where it can be had, and ENOSPC before anything is written.
        self.reserve(to).await?;
        let mut zeros = allocate_dma_buffer(ZERO_BYTES);
        zeros.as_bytes_mut().fill(0);
        let zeros = Rc::new(zeros);
        let mut at = from;
        while at < to {
            // What is left at the end is at most this much.
            let step = (to - at).min(ZERO_BYTES as u64) as usize;
            let written = match self {
                GlommioFile::Direct(file) if step == ZERO_BYTES => file.write_rc_at(zeros.clone(), at).await,
                GlommioFile::Direct(file) => {
                    let mut rest = allocate_dma_buffer(step);
                    rest.as_bytes_mut().fill(0);
                    file.write_at(rest, at).await
                }
                GlommioFile::Buffered(file) => file.write_at(vec![0; step], at).await,
            };
            at += taken(written)? as u64;
        }
        self.sync().await
    }
}

/// Whether an operation is simply to be tried once more.
fn again(error: &GlommioError<()>) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN))
}

/// Bytes that a write of some has written.
fn taken(written: Result<usize, GlommioError<()>>) -> io::Result<usize> {
    match written {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Ok(count) => Ok(count),
        Err(error) if again(&error) => Ok(0),
        Err(error) => Err(os_error(error)),
    }
}
