//! Operations in the kernel's hands. Each owns what the kernel reads from or writes to until its last completion.
//!
//! Invariant: memory of an operation in flight is never freed or moved. If the table is dropped while something is in
//! flight (after a panic), it is leaked: the process is on its way out and the kernel may still be writing.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::base::chunk::Chunk;
use crate::base::ids::ConnId;
use crate::port::disk::FileId;
use crate::port::turn::Token;
use crate::rt::file::OpenFile;
use crate::rt::send::Outgoing;

/// Keys with this bit are not in the table.
pub const KEY_SPECIAL: u64 = 1 << 63;

/// One operation.
#[derive(Debug)]
pub enum Flight {
    Recv {
        conn: ConnId,
        buffer: BytesMut,
    },
    Send {
        conn: ConnId,
        send: Box<SendFlight>,
    },
    Disk(DiskFlight),
    /// A multishot accept on the listener of this number.
    Accept {
        listener: usize,
    },
    /// A read of the core's event counter.
    Bell {
        _count: Box<u64>,
    },
}

/// A send and the message header that names its slices.
#[derive(Debug)]
pub struct SendFlight {
    pub rest: Outgoing,
    pub message: libc::msghdr,
    /// What is in flight waits for room in the socket, and sends nothing.
    pub waits: bool,
}

/// A hot disk operation and where it stands.
#[derive(Debug)]
pub struct DiskFlight {
    pub token: Token,
    pub id: FileId,
    pub file: Arc<OpenFile>,
    pub step: Step,
}

/// The system call that is in flight for it.
#[derive(Debug)]
pub enum Step {
    Write {
        position: u64,
        data: Bytes,
        done: usize,
        sync: bool,
    },
    Read {
        position: u64,
        chunk: Chunk,
        done: usize,
        len: usize,
    },
    Sync,
    /// Reserving the space.
    Reserve {
        from: u64,
        to: u64,
        /// Zeros follow: it was asked for them, or the file system cannot reserve.
        zeros: bool,
    },
    /// Zero fill: writing zeros from `at` on.
    Zero {
        at: u64,
        to: u64,
        zeros: Arc<Chunk>,
    },
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    flight: Option<Flight>,
}

/// The table.
#[derive(Debug, Default)]
pub struct Flights {
    slots: Vec<Slot>,
    free: Vec<u32>,
    taken: usize,
}

impl Flights {
    /// The key stays the operation's until [`Flights::release`].
    pub fn insert(&mut self, flight: Flight) -> u64 {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                // As many as operations in flight, far below 2^32.
                self.slots.push(Slot { generation: 0, flight: None });
                (self.slots.len() - 1) as u32
            }
        };
        self.taken += 1;
        let entry = &mut self.slots[slot as usize];
        entry.flight = Some(flight);
        u64::from(entry.generation) << 32 | u64::from(slot)
    }

    fn entry(&mut self, key: u64) -> &mut Slot {
        let entry = &mut self.slots[(key as u32) as usize];
        crate::invariant!(u64::from(entry.generation) == key >> 32, "completion of an operation that has ended");
        entry
    }

    pub fn get_mut(&mut self, key: u64) -> &mut Flight {
        match &mut self.entry(key).flight {
            Some(flight) => flight,
            None => unreachable!("an operation was completed twice"),
        }
    }

    /// The operation has ended for good; its key may name another one later.
    pub fn release(&mut self, key: u64) -> Flight {
        let entry = self.entry(key);
        let Some(flight) = entry.flight.take() else { unreachable!("an operation ended twice") };
        // 31 bits, so that no key gets the special bit. A cancel that meets the same generation again is not possible:
        // it is submitted in order, long before 2^31 later operations.
        entry.generation = (entry.generation + 1) & 0x7fff_ffff;
        self.free.push(key as u32);
        self.taken -= 1;
        flight
    }

    pub fn len(&self) -> usize {
        self.taken
    }
}

impl Drop for Flights {
    fn drop(&mut self) {
        if self.taken > 0 {
            tracing::debug!(operations = self.taken, "left in the kernel's hands");
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}
