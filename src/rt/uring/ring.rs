//! The ring of one core: set-up, submission with overflow, waiting, and the table of registered files.
#![allow(unsafe_code, reason = "the ring")]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, opcode, squeue};

use crate::rt::sys;

/// Submission entries; what does not fit waits in a list of ours.
const ENTRIES: u32 = 1024;
/// Completion entries; more than this at once go through the kernel's overflow list.
const COMPLETIONS: u32 = 8192;
/// Completions taken in one round.
pub const COMPLETIONS_PER_ROUND_MAX: usize = 1024;

/// One completion.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    pub key: u64,
    pub result: i32,
    pub flags: u32,
}

/// A ring and what is on its way into it.
pub struct Ring {
    ring: IoUring,
    /// Prepared entries that found the submission queue full.
    backlog: VecDeque<squeue::Entry>,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({}, backlog {})", self.ring.as_raw_fd(), self.backlog.len())
    }
}

/// A ring as the driver wants it, and whether it defers completions; `EINVAL` from a kernel older than 6.1 falls back
/// to what 6.0 knows.
pub fn build() -> io::Result<(IoUring, bool)> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(COMPLETIONS).setup_submit_all().setup_single_issuer().setup_taskrun_flag();
    let mut cooperative = builder.clone();
    match builder.setup_defer_taskrun().build(ENTRIES) {
        Ok(ring) => Ok((ring, true)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Ok((cooperative.setup_coop_taskrun().build(ENTRIES)?, false))
        }
        Err(error) => Err(error),
    }
}

/// Queues an operation that does nothing, for the probe.
pub fn push_nop(ring: &mut IoUring) -> io::Result<()> {
    // SAFETY: the entry points to no memory.
    unsafe { ring.submission().push(&opcode::Nop::new().build()) }.map_err(io::Error::other)
}

impl Ring {
    /// On the thread that will use it, and no other (SINGLE_ISSUER).
    pub fn new() -> io::Result<Ring> {
        Ok(Ring { ring: build()?.0, backlog: VecDeque::new() })
    }

    /// Another descriptor of this ring, for the cores that wake this one.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        sys::duplicate(self.ring.as_raw_fd())
    }

    /// Makes room for `slots` registered files; fewer or none when the system says no.
    pub fn register_table(&self, slots: u32) -> u32 {
        let allowed = sys::soft_limit(libc::RLIMIT_NOFILE).unwrap_or(0);
        let slots = u64::from(slots).min(allowed) as u32;
        match self.ring.submitter().register_files_sparse(slots) {
            Ok(()) => slots,
            Err(error) => {
                tracing::warn!(%error, "no registered files: plain descriptors are used");
                0
            }
        }
    }

    /// Puts a descriptor into a slot of the table; false when it must be used unregistered.
    pub fn register_file(&self, slot: u32, fd: RawFd) -> bool {
        match self.ring.submitter().register_files_update(slot, &[fd]) {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(%error, slot, "file not registered");
                false
            }
        }
    }

    /// Empties a slot; what is in flight on it keeps the file open.
    pub fn unregister_file(&self, slot: u32) {
        if let Err(error) = self.ring.submitter().register_files_update(slot, &[-1]) {
            // The slot would keep the file open for ever: a leak, not a fault.
            tracing::warn!(%error, slot, "file not unregistered");
        }
    }

    /// Empties the table, so that a ring that others still hold a descriptor of keeps no file open.
    pub fn unregister_table(&self) {
        if let Err(error) = self.ring.submitter().unregister_files() {
            tracing::debug!(%error, "no table to unregister");
        }
    }

    /// Registers memory that operations will read from; false when the locked-memory limit says no.
    ///
    /// # Safety
    /// The memory must stay as it is while the ring lives, or be pages that nobody else is given (the kernel pins
    /// them).
    pub unsafe fn register_buffer(&self, slice: libc::iovec) -> bool {
        // SAFETY: promised by the caller.
        match unsafe { self.ring.submitter().register_buffers(&[slice]) } {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "no registered buffer: plain writes are used");
                false
            }
        }
    }

    /// Queues an entry; the next [`Ring::enter`] submits it.
    ///
    /// # Safety
    /// Everything the entry points to must stay valid and in place until its (last) completion has been taken.
    pub unsafe fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() {
            // SAFETY: promised by the caller.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
        }
        self.backlog.push_back(entry);
    }

    /// Moves the backlog into the submission queue as far as it fits.
    fn refill(&mut self) {
        let mut queue = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: promised by the caller of `push`.
            if unsafe { queue.push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    /// Submits what is queued and waits for a completion, at most `timeout`.
    pub fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        // Whatever does not fit at once goes ahead without waiting.
        while !self.backlog.is_empty() {
            let before = self.backlog.len();
            self.refill();
            if !self.backlog.is_empty() {
                self.enter_once(Some(Duration::ZERO))?;
            }
            if self.backlog.len() == before {
                // The kernel wants completions taken first.
                return Ok(());
            }
        }
        let here_already = !self.ring.completion().is_empty();
        self.enter_once(if here_already { Some(Duration::ZERO) } else { timeout })
    }

    fn enter_once(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let queue = self.ring.submission();
        let (queued, pending) = (queue.len(), queue.taskrun() || queue.cq_overflow());
        drop(queue);
        let at_once = timeout == Some(Duration::ZERO);
        if at_once && queued == 0 && !pending {
            return Ok(());
        }
        let spec = timeout.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if let Some(spec) = &spec {
            arguments = arguments.timespec(spec);
        }
        // GETEVENTS even without waiting: deferred completions are delivered under it only.
        let flags = EnterFlags::EXT_ARG | EnterFlags::GETEVENTS;
        let want = u32::from(!at_once);
        // SAFETY: `arguments` and the timespec it names outlive the call; queued entries are valid by `push`.
        let entered = unsafe { self.ring.submitter().enter(queued as u32, want, flags.bits(), Some(&arguments)) };
        match entered {
            Ok(_) => Ok(()),
            // Timed out; interrupted; completions must be taken, or memory is short for a moment.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes completions, a bounded number.
    pub fn take(&mut self, completions: &mut Vec<Completion>) {
        for entry in self.ring.completion().take(COMPLETIONS_PER_ROUND_MAX) {
            completions.push(Completion { key: entry.user_data(), result: entry.result(), flags: entry.flags() });
        }
    }
}
