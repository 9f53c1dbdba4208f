//! From a file to a socket without a copy: pages go from the page cache into a pipe, and from the pipe to the socket.
//!
//! sendfile(2) does the same with a pipe of the kernel's own, but waits where the socket is a blocking one, as those of
//! a ring are. The pipe is empty between two calls.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::file::OpenFile;
use super::sys;

/// The most that goes through in one step, bytes: what the socket does not take of it was for nothing.
const PIPE_BYTES: usize = 256 << 10;

/// A part of a file that is sent next.
#[derive(Clone, Copy, Debug)]
pub struct FilePiece<'a> {
    pub file: &'a OpenFile,
    pub position: u64,
    pub len: usize,
    /// Something else is sent behind it.
    pub more: bool,
}

#[cfg(feature = "glommio")]
impl FilePiece<'_> {
    /// The first bytes of it, copied.
    pub fn peek(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len.min(4096)];
        sys::read_exact_at(&self.file.through_cache()?, &mut bytes, self.position)?;
        Ok(bytes)
    }
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
    bytes: usize,
}

/// One core's pipe; made when it is needed first.
#[derive(Debug, Default)]
pub struct FilePipe(Option<Ends>);

impl FilePipe {
    /// Sends some of a piece, at least one byte; `None`: the socket takes nothing now.
    pub fn send(&mut self, piece: &FilePiece<'_>, socket: &impl AsRawFd) -> Option<io::Result<usize>> {
        let ends = match self.ends() {
            Ok(ends) => ends,
            Err(error) => return Some(Err(error)),
        };
        let wanted = piece.len.min(ends.bytes);
        let file = match piece.file.through_cache() {
            Ok(file) => file,
            Err(error) => return Some(Err(error)),
        };
        let filled = match sys::splice(&file, Some(piece.position), &ends.write, wanted, false) {
            // The file ends before the piece does.
            Ok(0) => return Some(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(filled) => filled,
            Err(error) => return Some(Err(error)),
        };
        let result = sys::splice(&ends.read, None, socket, filled, piece.more || filled < piece.len);
        if !matches!(result, Ok(sent) if sent == filled) {
            // The rest comes from the page cache again; a new pipe is an empty one.
            self.0 = None;
        }
        match result {
            Ok(0) => Some(Err(io::ErrorKind::WriteZero.into())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            result => Some(result),
        }
    }

    fn ends(&mut self) -> io::Result<&Ends> {
        match &mut self.0 {
            Some(ends) => Ok(ends),
            empty => {
                let (read, write, bytes) = sys::pipe(PIPE_BYTES)?;
                Ok(empty.insert(Ends { read, write, bytes }))
            }
        }
    }
}
