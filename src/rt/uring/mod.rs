//! The default driver: one io_uring ring a core, used by that core's thread alone.
//!
//! Set-up: SINGLE_ISSUER and DEFER_TASKRUN, so that completions arrive when the core asks and never interrupt it;
//! sockets and files in the ring's table of registered files as far as it reaches; zeros in a registered buffer. Other
//! buffers are not registered: they belong to machines, come and go, and would each count as locked memory.
#![allow(unsafe_code, reason = "entries for the ring name memory of operations")]

mod disk;
mod flight;
mod ring;
mod socket;

use std::collections::HashSet;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use io_uring::squeue::Flags;
use io_uring::types::CancelBuilder;
use io_uring::{opcode, types};

use super::accept::AcceptPause;
use super::backend::{Backend, Events, Setup};
use super::control::{Accepted, Control};
use super::file::{FileOp, OpenFile};
use super::file_pipe::FilePipe;
use super::read_pool::ReadPool;
use super::slots::Slots;
use super::{clock, sys};
use crate::base::chunk::Chunk;
use crate::base::ids::CoreId;
use crate::port::disk::{DiskError, FileId};
use crate::port::net::NetOp;
use crate::port::turn::Token;
use flight::{Flight, Flights, KEY_SPECIAL};
use ring::{Completion, Ring};
pub use ring::{build as build_ring, push_nop};
use socket::{Listener, UringConn};

/// Slots of the registered-file table for files: numbers below this are registered, others used as they are.
const FIXED_FILES_MAX: u32 = 4096;
/// Slots for connections, behind those of the files.
const FIXED_CONNS_MAX: usize = 16_384;
/// Completions that need no answer.
const KEY_IGNORE: u64 = KEY_SPECIAL;
/// Another core has left something here.
const KEY_WOKEN: u64 = KEY_SPECIAL | 1;
/// A message to another core's ring failed; the core is in the lower bits.
const KEY_WAKE: u64 = KEY_SPECIAL | 1 << 32;
/// How long the end waits for the kernel to give everything back.
const LAST_WAIT_MS: u64 = 1000;

/// One core's ring and all that is in flight on it.
#[derive(Debug)]
pub struct Uring {
    core: CoreId,
    control: Arc<Control>,
    ring: Ring,
    flights: Flights,
    completions: Vec<Completion>,
    listeners: Vec<Listener>,
    conns: Slots<UringConn>,
    /// Slots of the registered-file table in all.
    fixed_slots: u32,
    fixed_files: HashSet<FileId>,
    zeros: Arc<Chunk>,
    zeros_registered: bool,
    read_pool: ReadPool,
    sends: usize,
    /// For what is sent out of files.
    pipe: FilePipe,
    disk_ops: usize,
}

impl Backend for Uring {
    const LISTENERS_BLOCK: bool = true;

    fn start(setup: Setup) -> io::Result<Self> {
        let ring = Ring::new()?;
        setup.control.set_ring(setup.core, ring.duplicate()?);
        let conns_max = setup.connections_max.min(FIXED_CONNS_MAX) as u32;
        let fixed_slots = ring.register_table(FIXED_FILES_MAX + conns_max);
        let mut zeros = Chunk::zeroed(disk::ZERO_BYTES);
        let slice = libc::iovec { iov_base: zeros.start_ptr().cast(), iov_len: zeros.len() };
        // SAFETY: the zeros live as long as the ring is used; the kernel only reads them, through pages it has pinned.
        let zeros_registered = unsafe { ring.register_buffer(slice) };
        let listener = |fd| Listener { fd, pause: AcceptPause::default(), armed: false };
        let mut uring = Uring {
            core: setup.core,
            control: setup.control,
            ring,
            flights: Flights::default(),
            completions: Vec::new(),
            listeners: setup.listeners.into_iter().map(listener).collect(),
            conns: Slots::new(),
            fixed_slots,
            fixed_files: HashSet::new(),
            zeros: Arc::new(zeros),
            zeros_registered,
            read_pool: ReadPool::default(),
            sends: 0,
            pipe: FilePipe::default(),
            disk_ops: 0,
        };
        uring.listen_for_bell();
        Ok(uring)
    }

    fn file_opened(&mut self, id: FileId, file: &Arc<OpenFile>) -> Result<(), DiskError> {
        let room = id.0 < FIXED_FILES_MAX.min(self.fixed_slots);
        if room && self.ring.register_file(id.0, file.fd.as_raw_fd()) {
            self.fixed_files.insert(id);
        }
        Ok(())
    }

    fn file_closed(&mut self, id: FileId) {
        if self.fixed_files.remove(&id) {
            self.ring.unregister_file(id.0);
        }
    }

    fn disk(&mut self, token: Token, id: FileId, file: &Arc<OpenFile>, op: FileOp, events: &mut Events) {
        self.begin_disk(token, id, file, op, events);
    }

    fn net(&mut self, op: NetOp, events: &mut Events) {
        match op {
            NetOp::Recv { conn, buffer } => self.begin_recv(conn, buffer),
            NetOp::Send { conn, parts } => self.begin_send(conn, parts, events),
            NetOp::Close { conn } => self.close(conn, events),
        }
    }

    fn adopt(&mut self, accepted: Accepted, events: &mut Events) {
        self.adopt_conn(accepted, events);
    }

    fn wake(&mut self, core: CoreId) {
        let Some(ring) = self.control.ring(core) else {
            return sys::ring_bell(self.control.bell(core));
        };
        let message = opcode::MsgRingData::new(types::Fd(ring.as_raw_fd()), 0, KEY_WOKEN, None).build();
        let message = message.flags(Flags::SKIP_SUCCESS).user_data(KEY_WAKE | u64::from(core.0));
        // SAFETY: the entry points to no memory; the control block keeps the descriptor open.
        unsafe { self.ring.push(message) };
    }

    fn take_posted(&mut self, _events: &mut Events) {}

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        self.arm_listeners();
        let timeout = self.listeners.iter().fold(timeout, |timeout, listener| listener.pause.shorten(timeout));
        self.ring.enter(timeout)?;
        self.collect(events);
        Ok(())
    }

    fn disk_in_flight(&self) -> usize {
        self.disk_ops
    }

    fn sends_in_flight(&self) -> usize {
        self.sends
    }

    fn shut_down(&mut self) {
        let mut last = Events::default();
        for conn in self.conns.ids() {
            self.close(conn, &mut last);
        }
        let cancel_all = opcode::AsyncCancel2::new(CancelBuilder::any().all()).build().user_data(KEY_IGNORE);
        // SAFETY: the entry points to no memory.
        unsafe { self.ring.push(cancel_all) };
        self.drain(clock::mono().plus_ms(LAST_WAIT_MS));
        self.listeners.clear();
        self.ring.unregister_table();
    }
}

impl Uring {
    /// Keeps a read of the core's event counter in flight: threads without a ring wake the core through it.
    fn listen_for_bell(&mut self) {
        let mut count = Box::new(0u64);
        let start = (&raw mut *count).cast();
        let key = self.flights.insert(Flight::Bell { _count: count });
        let bell = types::Fd(self.control.bell(self.core).as_raw_fd());
        let entry = opcode::Read::new(bell, start, 8).build().user_data(key);
        // SAFETY: the eight bytes are on the heap, owned by the flight until its completion.
        unsafe { self.ring.push(entry) };
    }

    fn collect(&mut self, events: &mut Events) {
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.take(&mut completions);
        for completion in completions.drain(..) {
            self.complete(completion, events);
        }
        self.completions = completions;
    }

    fn complete(&mut self, completion: Completion, events: &mut Events) {
        let key = completion.key;
        if key & KEY_SPECIAL != 0 {
            // Only failed wake-ups are reported under this key, and the bell always works.
            if key & KEY_WAKE == KEY_WAKE {
                sys::ring_bell(self.control.bell(CoreId(key as u16)));
            }
            return;
        }
        match self.flights.get_mut(key) {
            Flight::Recv { conn, .. } => {
                let conn = *conn;
                self.recv_completed(conn, completion, events);
            }
            Flight::Send { conn, .. } => {
                let conn = *conn;
                self.send_completed(conn, completion, events);
            }
            Flight::Disk(_) => self.disk_completed(completion, events),
            Flight::Accept { listener } => {
                let listener = *listener;
                self.accept_completed(listener, completion, events);
            }
            Flight::Bell { .. } => {
                self.flights.release(key);
                self.listen_for_bell();
            }
        }
    }

    /// Takes back whatever the kernel still holds, as long as it takes or until `until`.
    fn drain(&mut self, until: crate::base::time::Mono) {
        while self.flights.len() > 0 && clock::mono() < until {
            if let Err(error) = self.ring.enter(Some(Duration::from_millis(10))) {
                tracing::warn!(%error, "the ring failed at its end");
                return;
            }
            let mut completions = std::mem::take(&mut self.completions);
            self.ring.take(&mut completions);
            for completion in completions.drain(..) {
                self.complete_last(completion);
            }
        }
    }

    /// As `complete`, but nothing is begun again.
    fn complete_last(&mut self, completion: Completion) {
        if completion.key & KEY_SPECIAL != 0 {
            return self.complete(completion, &mut Events::default());
        }
        match self.flights.get_mut(completion.key) {
            Flight::Accept { .. } if io_uring::cqueue::more(completion.flags) => {
                if completion.result >= 0 {
                    drop(sys::own(completion.result));
                }
            }
            Flight::Accept { .. } => {
                if completion.result >= 0 {
                    drop(sys::own(completion.result));
                }
                self.flights.release(completion.key);
            }
            // Closing connections end in order; the others are not needed any more.
            Flight::Recv { .. } | Flight::Send { .. } => self.complete(completion, &mut Events::default()),
            Flight::Disk(_) | Flight::Bell { .. } => {
                self.flights.release(completion.key);
            }
        }
    }
}
