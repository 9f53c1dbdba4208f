//! The driver for machines that forbid io_uring: epoll for sockets, two helper threads a core for files.
//!
//! Sockets are non-blocking and registered once, edge-triggered: a receive or send is tried at once, and only when the
//! kernel says EAGAIN does it wait for the next edge.

mod disk;
mod net;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::accept::AcceptPause;
use super::backend::{Backend, Events, Setup};
use super::control::{Accepted, Control};
use super::file::{FileOp, OpenFile};
use super::file_pipe::FilePipe;
use super::read_pool::ReadPool;
use super::slots::Slots;
use super::sys;
use super::worker::Workers;
use crate::base::ids::{ConnId, CoreId};
use crate::port::disk::{DiskError, DiskResult, FileId};
use crate::port::net::NetOp;
use crate::port::turn::Token;
use net::{Epoll, PosixConn};

/// Threads that write and sync. Two, so that one log does not wait for another file's sync.
const WRITE_THREADS: usize = 2;
/// Threads that read: apart, so that no write waits behind reads.
const READ_THREADS: usize = 2;
/// Connections taken from one listener in one round.
const ACCEPTS_PER_ROUND_MAX: usize = 64;
/// Keys of the epoll set that are not connections; ids of those start at 2^32.
const KEY_BELL: u64 = 0;
const KEY_LISTENER: u64 = 1;

/// One core's epoll set, connections and disk threads.
#[derive(Debug)]
pub struct Posix {
    core: CoreId,
    control: Arc<Control>,
    epoll: Epoll,
    listeners: Vec<Listener>,
    conns: Slots<PosixConn>,
    sends: usize,
    pipe: FilePipe,
    writes: Workers<disk::Job, DiskResult>,
    reads: Workers<disk::Job, DiskResult>,
}

#[derive(Debug)]
struct Listener {
    fd: OwnedFd,
    pause: AcceptPause,
    /// The last look stopped at the limit, or a pause has ended: connections may wait although no edge will tell.
    look_again: bool,
}

impl Backend for Posix {
    const LISTENERS_BLOCK: bool = false;

    fn start(setup: Setup) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(setup.control.bell(setup.core).as_raw_fd(), KEY_BELL, libc::EPOLLIN as u32)?;
        let mut listeners = Vec::new();
        for (index, fd) in setup.listeners.into_iter().enumerate() {
            epoll.add(fd.as_raw_fd(), KEY_LISTENER + index as u64, (libc::EPOLLIN | libc::EPOLLET) as u32)?;
            listeners.push(Listener { fd, pause: AcceptPause::default(), look_again: true });
        }
        let name = format!("core-{}-disk", setup.core.0);
        let pool = ReadPool::default();
        let execute = move |job| disk::execute(job, &pool);
        let writes = Workers::start(&name, WRITE_THREADS, setup.core, &setup.control, execute.clone())?;
        let reads = Workers::start(&format!("{name}-read"), READ_THREADS, setup.core, &setup.control, execute)?;
        let (core, control) = (setup.core, setup.control);
        Ok(Posix {
            core,
            control,
            epoll,
            listeners,
            conns: Slots::new(),
            sends: 0,
            pipe: FilePipe::default(),
            writes,
            reads,
        })
    }

    fn file_opened(&mut self, _id: FileId, _file: &Arc<OpenFile>) -> Result<(), DiskError> {
        Ok(())
    }

    fn file_closed(&mut self, _id: FileId) {}

    fn disk(&mut self, token: Token, _id: FileId, file: &Arc<OpenFile>, op: FileOp, _events: &mut Events) {
        let lane = match op {
            FileOp::Read { .. } => &mut self.reads,
            FileOp::Write { .. } | FileOp::Sync => &mut self.writes,
            FileOp::ZeroFill { .. } | FileOp::Reserve { .. } => &mut self.writes,
        };
        lane.submit(token, disk::Job { file: file.clone(), op });
    }

    fn net(&mut self, op: NetOp, events: &mut Events) {
        match op {
            NetOp::Recv { conn, buffer } => self.begin_recv(conn, buffer, events),
            NetOp::Send { conn, parts } => self.begin_send(conn, parts, events),
            NetOp::Close { conn } => self.close(conn, events),
        }
    }

    fn adopt(&mut self, accepted: Accepted, events: &mut Events) {
        self.adopt_conn(accepted, events);
    }

    fn wake(&mut self, core: CoreId) {
        sys::ring_bell(self.control.bell(core));
    }

    fn take_posted(&mut self, events: &mut Events) {
        events.disk.append(&mut self.writes.take_done());
        events.disk.append(&mut self.reads.take_done());
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        let timeout = self.accept_timeout(timeout);
        for (key, flags) in self.epoll.wait(timeout)? {
            match key {
                KEY_BELL => sys::silence_bell(self.control.bell(self.core)),
                key if key >> 32 == 0 => self.listeners[(key - KEY_LISTENER) as usize].look_again = true,
                conn => self.conn_ready(ConnId(conn), flags, events),
            }
        }
        for listener in &mut self.listeners {
            listener.accept(events);
        }
        Ok(())
    }

    fn disk_in_flight(&self) -> usize {
        self.writes.in_flight() + self.reads.in_flight()
    }

    fn sends_in_flight(&self) -> usize {
        self.sends
    }

    fn shut_down(&mut self) {
        self.listeners.clear();
        let mut last = Events::default();
        for conn in self.conns.ids() {
            self.close(conn, &mut last);
        }
    }
}

impl Posix {
    /// The wait, shortened when a listener wants another look before its end.
    fn accept_timeout(&self, timeout: Option<Duration>) -> Option<Duration> {
        if self.listeners.iter().any(|listener| listener.look_again && !listener.pause.rests()) {
            return Some(Duration::ZERO);
        }
        self.listeners.iter().fold(timeout, |timeout, listener| listener.pause.shorten(timeout))
    }
}

impl Listener {
    fn accept(&mut self, events: &mut Events) {
        if self.pause.ended() {
            self.look_again = true;
        }
        if !self.look_again || self.pause.rests() {
            return;
        }
        for _ in 0..ACCEPTS_PER_ROUND_MAX {
            match sys::accept(&self.fd) {
                Ok(fd) => events.accepted.push(fd),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.look_again = false;
                    return;
                }
                Err(error) => {
                    if !self.pause.retry_at_once(&error) {
                        return;
                    }
                }
            }
        }
    }
}
