//! What core 0 does with a fresh connection, and when it stops accepting for a while.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::control::{Accepted, Counted};
use super::{clock, sys};
use crate::base::ids::CoreId;
use crate::base::time::Mono;

/// How long accepting rests after an error that would only repeat (no descriptors, no memory).
const PAUSE_MS: u64 = 100;

/// Connections open and refused, for whoever prints numbers, and how many may be open.
#[derive(Clone, Debug, Default)]
pub struct ConnectionCount {
    pub open: Arc<AtomicUsize>,
    pub refused: Arc<AtomicU64>,
    pub max: Arc<AtomicUsize>,
}

/// Deals connections round-robin to the cores, within the process's `ConnectionCount::max`.
#[derive(Debug)]
pub struct Dealer {
    count: ConnectionCount,
    cores: u16,
    next: u16,
}

impl Dealer {
    pub fn new(count: ConnectionCount, cores: u16) -> Dealer {
        Dealer { count, cores, next: 0 }
    }

    /// The core that gets this connection; `None` when it was closed instead: too many, or gone again already.
    pub fn deal(&mut self, fd: OwnedFd) -> Option<(CoreId, Accepted)> {
        let max = self.count.max.load(Ordering::Relaxed);
        let Some(counted) = Counted::take(&self.count.open, max) else {
            if self.count.refused.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(connections_max = max, "too many connections: new ones are closed at once");
            }
            return None;
        };
        let prepared = sys::peer_address(&fd).and_then(|peer| sys::set_no_delay(&fd).map(|()| peer));
        let peer = match prepared {
            Ok(peer) => peer,
            Err(error) => {
                tracing::debug!(%error, "a connection was gone before it was set up");
                return None;
            }
        };
        let core = CoreId(self.next);
        self.next = (self.next + 1) % self.cores;
        Some((core, Accepted { fd, peer, counted }))
    }
}

/// Whether accepting rests.
#[derive(Debug, Default)]
pub struct AcceptPause {
    until: Option<Mono>,
    warned: bool,
}

impl AcceptPause {
    /// The time that may be waited when `timeout` is what the others allow: not beyond the end of the rest.
    pub fn shorten(&self, timeout: Option<Duration>) -> Option<Duration> {
        let left = self.until.map(|until| Duration::from_nanos(until - clock::mono()));
        [timeout, left].into_iter().flatten().min()
    }

    /// An accept failed. True: try again at once, the error concerned one connection only. False: rest until
    /// [`AcceptPause::ended`].
    pub fn retry_at_once(&mut self, error: &io::Error) -> bool {
        if matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO)) {
            return true;
        }
        if !self.warned {
            self.warned = true;
            tracing::warn!(%error, "accepting connections rests for {PAUSE_MS} ms each time this happens");
        }
        self.until = Some(clock::mono().plus_ms(PAUSE_MS));
        false
    }

    /// Accepting rests: nothing is tried before [`AcceptPause::ended`].
    pub fn rests(&self) -> bool {
        self.until.is_some()
    }

    /// True once when the rest is over.
    pub fn ended(&mut self) -> bool {
        match self.until {
            Some(until) if clock::mono() >= until => {
                self.until = None;
                true
            }
            _ => false,
        }
    }
}
