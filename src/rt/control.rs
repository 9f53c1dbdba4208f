//! What the cores of one process share, whatever machine they run: the wish to stop, the first failure, and a door per
//! core at which others ring.
//!
//! A door's protocol: whoever leaves something for a core puts it down first, then calls [`Control::post`]. The core
//! says `sleeping` before it waits and looks at `posted` once more after that, so that either the core sees the post or
//! the poster sees the sleeper (both sides sequentially consistent); a busy core costs its posters no system call.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::{RunError, sys};
use crate::base::ids::CoreId;

/// How long the other cores may take to stop in order after one of them has failed.
const FAILURE_GRACE: Duration = Duration::from_secs(2);

/// Takes a lock whose holder may have panicked: what it guards here is valid after every single statement.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that core 0 accepted, on its way to the core that will own it.
#[derive(Debug)]
pub struct Accepted {
    pub fd: OwnedFd,
    pub peer: SocketAddr,
    pub counted: Counted,
}

/// One connection in the count that `connections_max` bounds; dropping it gives the place back.
#[derive(Debug)]
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    /// Takes a place unless `max` are taken.
    pub fn take(count: &Arc<AtomicUsize>, max: usize) -> Option<Counted> {
        if count.fetch_add(1, Ordering::Relaxed) >= max {
            count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Counted(count.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where one core is found by the others.
#[derive(Debug)]
pub struct Door {
    bell: OwnedFd,
    /// A descriptor of the core's ring, for cores that wake by MSG_RING; kept open until every core has ended, so that
    /// the number cannot come to mean another file.
    ring: OnceLock<OwnedFd>,
    posted: AtomicBool,
    sleeping: AtomicBool,
    handed: Mutex<Handed>,
}

#[derive(Debug, Default)]
struct Handed {
    connections: Vec<Accepted>,
    /// The core has ended: what is handed to it now is closed.
    closed: bool,
}

/// Shared by the cores, their helpers and every [`StopHandle`].
#[derive(Debug)]
pub struct Control {
    doors: Vec<Door>,
    stop: AtomicBool,
    failed: AtomicBool,
    failure: Mutex<Option<(RunError, Instant)>>,
}

impl Control {
    pub fn new(cores: usize) -> io::Result<Control> {
        let door = || {
            Ok(Door {
                bell: sys::event_counter()?,
                ring: OnceLock::new(),
                posted: AtomicBool::new(false),
                sleeping: AtomicBool::new(false),
                handed: Mutex::default(),
            })
        };
        Ok(Control {
            doors: (0..cores).map(|_| door()).collect::<io::Result<_>>()?,
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
        })
    }

    fn door(&self, core: CoreId) -> &Door {
        &self.doors[usize::from(core.0)]
    }

    pub fn bell(&self, core: CoreId) -> &OwnedFd {
        &self.door(core).bell
    }

    /// The ring of a core, if it runs on one.
    pub fn ring(&self, core: CoreId) -> Option<&OwnedFd> {
        self.door(core).ring.get()
    }

    /// Called once by the core itself, before any core runs its machine.
    pub fn set_ring(&self, core: CoreId, ring: OwnedFd) {
        let first = self.door(core).ring.set(ring).is_ok();
        crate::invariant!(first, "core {} announced two rings", core.0);
    }

    /// Notes that something lies there for `core`; true when it sleeps and the caller must wake it.
    pub fn post(&self, core: CoreId) -> bool {
        let door = self.door(core);
        door.posted.store(true, Ordering::SeqCst);
        door.sleeping.swap(false, Ordering::SeqCst)
    }

    /// [`Control::post`], and the bell if that is needed.
    pub fn post_and_ring(&self, core: CoreId) {
        if self.post(core) {
            sys::ring_bell(self.bell(core));
        }
    }

    /// Whether anything was posted since the last call; the core then looks everywhere.
    pub fn take_posted(&self, core: CoreId) -> bool {
        let posted = &self.door(core).posted;
        // The plain load keeps a busy core from writing to a line that nobody else has touched.
        posted.load(Ordering::Relaxed) && posted.swap(false, Ordering::SeqCst)
    }

    /// Before waiting: true when the core may sleep, false when something was posted meanwhile.
    pub fn fall_asleep(&self, core: CoreId) -> bool {
        let door = self.door(core);
        door.sleeping.store(true, Ordering::SeqCst);
        if door.posted.load(Ordering::SeqCst) {
            door.sleeping.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    pub fn wake_up(&self, core: CoreId) {
        self.door(core).sleeping.store(false, Ordering::SeqCst);
    }

    /// Gives a connection to a core; it is closed when that core has ended. True when the core must be woken.
    pub fn hand(&self, core: CoreId, accepted: Accepted) -> bool {
        let mut handed = lock(&self.door(core).handed);
        if handed.closed {
            return false;
        }
        handed.connections.push(accepted);
        drop(handed);
        self.post(core)
    }

    pub fn take_handed(&self, core: CoreId) -> Vec<Accepted> {
        std::mem::take(&mut lock(&self.door(core).handed).connections)
    }

    /// The core has ended.
    pub fn close_door(&self, core: CoreId) {
        let mut handed = lock(&self.door(core).handed);
        handed.closed = true;
        handed.connections.clear();
    }

    fn ring_all(&self) {
        for core in 0..self.doors.len() {
            // At most CORES_MAX cores.
            let core = CoreId(core as u16);
            self.door(core).posted.store(true, Ordering::SeqCst);
            sys::ring_bell(self.bell(core));
        }
    }

    pub fn request_stop(&self) {
        if !self.stop.swap(true, Ordering::SeqCst) {
            self.ring_all();
        }
    }

    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Records a failure (the first one counts) and tells every core to stop.
    pub fn fail(&self, error: RunError) {
        tracing::error!(%error, "a core failed; the process stops");
        let mut failure = lock(&self.failure);
        if failure.is_none() {
            *failure = Some((error, Instant::now()));
        }
        drop(failure);
        self.failed.store(true, Ordering::SeqCst);
        self.stop.store(true, Ordering::SeqCst);
        self.ring_all();
    }

    /// After a failure: how long this core still has to stop in order.
    pub fn grace_left(&self) -> Option<Duration> {
        if !self.failed.load(Ordering::Relaxed) {
            return None;
        }
        let failure = lock(&self.failure);
        failure.as_ref().map(|(_, since)| FAILURE_GRACE.saturating_sub(since.elapsed()))
    }

    pub fn take_failure(&self) -> Option<RunError> {
        lock(&self.failure).take().map(|(error, _)| error)
    }
}

/// Asks a running process to stop; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct StopHandle(pub(super) Arc<Control>);

impl StopHandle {
    /// Every machine sees `stop` in its next turn, which comes at once.
    pub fn request_stop(&self) {
        self.0.request_stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_falls_asleep_only_when_nothing_was_posted_since_it_looked() {
        let control = Control::new(1).expect("eventfd");
        let core = CoreId(0);
        assert!(!control.post(core), "an awake core needs no bell");
        assert!(!control.fall_asleep(core), "posted but not yet seen");
        assert!(control.take_posted(core));
        assert!(!control.take_posted(core));
        assert!(control.fall_asleep(core));
        assert!(control.post(core), "the first poster wakes");
        assert!(!control.post(core), "the second one need not");
    }

    #[test]
    fn a_connection_place_comes_back_when_its_connection_goes() {
        let count = Arc::new(AtomicUsize::new(0));
        let first = Counted::take(&count, 1).expect("room");
        assert!(Counted::take(&count, 1).is_none());
        drop(first);
        assert!(Counted::take(&count, 1).is_some());
    }
}
