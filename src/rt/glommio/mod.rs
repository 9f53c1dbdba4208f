//! The optional driver: one executor of the glommio crate a core, so that it can be measured beside our own loop under
//! the same machines and the same contract.
//!
//! The core's loop stays what it is: turns happen outside of the executor, and waiting runs it until a task has left
//! something ([`shared::Shared`]) or the time is over. What a turn asked for is kept and becomes tasks at the start of
//! the next wait; every task carries out one operation and ends. glommio's shortfalls, and what is done about each,
//! stand in `tuning/drivers.md`.
//!
//! Invariants: the executor is used by the core's thread alone and has no queue besides its first one (tasks of a
//! second one may never run again); it is dropped only when no task is left, because the kernel may hold memory of
//! theirs.

mod disk;
mod host;
mod net;
mod shared;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ::glommio::io::{BufferedFile, OpenOptions};
use ::glommio::net::TcpListener;
use ::glommio::timer::{Timer, sleep};
use ::glommio::{LocalExecutor, LocalExecutorBuilder, Placement, spawn_local};

use super::accept::AcceptPause;
use super::backend::{Backend, Events, Setup};
use super::control::{Accepted, Control, Counted};
use super::file::{FileOp, OpenFile, disk_error};
use super::read_pool::ReadPool;
use super::slots::Slots;
use super::{clock, panic_text, sys};
use crate::base::ids::{ConnId, CoreId};
use crate::base::limits::BLOCK;
use crate::port::disk::{DiskError, FileId};
use crate::port::net::{NetInput, NetOp};
use crate::port::turn::Token;
use disk::{GlommioFile, os_error};
pub use host::check_host;
use net::Conn;
use shared::{Count, Shared};

/// Memory of one executor for direct I/O, bytes; registered with its three rings where RLIMIT_MEMLOCK has room for it
/// three times.
const IO_MEMORY_BYTES: usize = 4 << 20;
/// Entries of each ring: operations that can be handed over at once.
const RING_DEPTH: usize = 512;
/// How long the end waits for tasks that are under way.
const LAST_WAIT_MS: u64 = 1000;

/// A task that the next wait begins.
type Start = Pin<Box<dyn Future<Output = ()>>>;

/// One core's executor and all that it has in its hands.
pub struct Glommio {
    core: CoreId,
    control: Arc<Control>,
    /// `None`: left behind, see [`Drop`].
    executor: Option<LocalExecutor>,
    shared: Rc<Shared>,
    starts: Vec<Start>,
    listeners: Vec<Listener>,
    conns: Slots<Entry>,
    files: HashMap<FileId, Rc<GlommioFile>>,
    read_pool: ReadPool,
    tasks: Count,
    sends: Count,
    disk_ops: Count,
}

struct Listener {
    socket: Rc<TcpListener>,
    /// The same socket: glommio does not tell the descriptor of a listener.
    fd: OwnedFd,
    pause: AcceptPause,
    armed: bool,
}

#[derive(Debug)]
struct Entry {
    conn: Rc<Conn>,
    _counted: Counted,
}

impl fmt::Debug for Glommio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glommio(core {}, {} tasks)", self.core.0, self.tasks.get())
    }
}

impl Backend for Glommio {
    // glommio makes a listener non-blocking for its first try and waits for a blocking one.
    const LISTENERS_BLOCK: bool = true;

    fn start(setup: Setup) -> io::Result<Self> {
        check_host().map_err(io::Error::other)?;
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            .make()
            .map_err(os_error)?;
        let executor = learn_device(executor, setup.core, &setup.data_root)?;
        let bell = sys::duplicate(setup.control.bell(setup.core).as_raw_fd())?;
        let mut listeners = Vec::new();
        for fd in setup.listeners {
            let second = sys::duplicate(fd.as_raw_fd())?;
            let socket = Rc::new(executor.run(async { net::listener(second) }));
            listeners.push(Listener { socket, fd, pause: AcceptPause::default(), armed: false });
        }
        let bell = executor.run(async { disk::buffered(bell) });
        let mut glommio = Glommio {
            core: setup.core,
            control: setup.control,
            executor: Some(executor),
            shared: Rc::default(),
            starts: Vec::new(),
            listeners,
            conns: Slots::new(),
            files: HashMap::new(),
            read_pool: ReadPool::default(),
            tasks: Count::default(),
            sends: Count::default(),
            disk_ops: Count::default(),
        };
        glommio.begin(hear_bell(bell, glommio.shared.clone()));
        Ok(glommio)
    }

    fn file_opened(&mut self, id: FileId, file: &Arc<OpenFile>) -> Result<(), DiskError> {
        let opened = self.executor().run(GlommioFile::open(file));
        let opened = opened.map_err(|error| disk_error("open", &file.path, &error))?;
        self.files.insert(id, Rc::new(opened));
        Ok(())
    }

    fn file_closed(&mut self, id: FileId) {
        self.files.remove(&id);
    }

    fn disk(&mut self, token: Token, id: FileId, file: &Arc<OpenFile>, op: FileOp, _events: &mut Events) {
        let Some(opened) = self.files.get(&id).cloned() else { unreachable!("operation on a file that is not open") };
        let (file, pool, shared) = (file.clone(), self.read_pool.clone(), self.shared.clone());
        let under_way = self.disk_ops.one();
        self.begin(async move {
            let result = opened.execute(&file, op, &pool).await;
            drop(under_way);
            shared.disk(token, result);
        });
    }

    fn net(&mut self, op: NetOp, events: &mut Events) {
        match op {
            NetOp::Recv { conn: id, buffer } => {
                crate::invariant!(buffer.capacity() > buffer.len(), "receive into a full buffer");
                let Some(conn) = self.conns.get_mut(id).map(|entry| entry.conn.clone()) else { return };
                if conn.may_receive() {
                    let shared = self.shared.clone();
                    self.begin(async move { conn.receive(id, buffer, &shared).await });
                }
            }
            NetOp::Send { conn: id, parts } => {
                let Some(conn) = self.conns.get_mut(id).map(|entry| entry.conn.clone()) else { return };
                if conn.may_send() {
                    let (shared, under_way) = (self.shared.clone(), self.sends.one());
                    self.begin(async move {
                        conn.send(id, parts, &shared).await;
                        drop(under_way);
                    });
                }
            }
            NetOp::Close { conn } => self.close(conn, events),
        }
    }

    fn adopt(&mut self, accepted: Accepted, events: &mut Events) {
        let Accepted { fd, peer, counted } = accepted;
        let conn = Rc::new(self.executor().run(async { Conn::new(fd) }));
        let conn = self.conns.insert(Entry { conn, _counted: counted });
        events.net.push(NetInput::Accepted { conn, peer });
    }

    fn wake(&mut self, core: CoreId) {
        sys::ring_bell(self.control.bell(core));
    }

    fn take_posted(&mut self, _events: &mut Events) {}

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        self.arm_listeners();
        let timeout = self.listeners.iter().fold(timeout, |timeout, listener| listener.pause.shorten(timeout));
        let starts = std::mem::take(&mut self.starts);
        self.executor().run(round(&self.shared, starts, timeout));
        self.shared.collect(events);
        for (listener, result) in self.shared.take_accepts() {
            let listener = &mut self.listeners[listener];
            listener.armed = false;
            match result {
                Ok(fd) => events.accepted.push(fd),
                // Either way it is armed again by `arm_listeners`, after the pause if there is one.
                Err(error) => {
                    listener.pause.retry_at_once(&error);
                }
            }
        }
        Ok(())
    }

    fn disk_in_flight(&self) -> usize {
        self.disk_ops.get()
    }

    fn sends_in_flight(&self) -> usize {
        self.sends.get()
    }

    fn shut_down(&mut self) {
        self.shared.ending.set(true);
        sys::ring_bell(self.control.bell(self.core));
        for listener in self.listeners.drain(..) {
            sys::shut_down(&listener.fd);
        }
        let mut last = Events::default();
        for conn in self.conns.ids() {
            self.close(conn, &mut last);
        }
        self.starts.clear();
        self.files.clear();
        let until = clock::mono().plus_ms(LAST_WAIT_MS);
        while self.tasks.get() > 0 && clock::mono() < until {
            self.executor().run(sleep(Duration::from_millis(1)));
        }
        // Once more: what was dropped last is closed by the executor's next round.
        self.executor().run(async {});
    }
}

impl Glommio {
    fn executor(&self) -> &LocalExecutor {
        match &self.executor {
            Some(executor) => executor,
            None => unreachable!("only the end takes the executor"),
        }
    }

    /// Keeps a task for the next wait: tasks can be made within the executor only.
    fn begin(&mut self, task: impl Future<Output = ()> + 'static) {
        let under_way = self.tasks.one();
        self.starts.push(Box::pin(async move {
            task.await;
            drop(under_way);
        }));
    }

    /// Starts accepting where it rests and may go on.
    fn arm_listeners(&mut self) {
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            if listener.armed || (listener.pause.rests() && !listener.pause.ended()) {
                continue;
            }
            listener.armed = true;
            let (socket, shared) = (listener.socket.clone(), self.shared.clone());
            self.begin(async move { shared.accepted(index, net::accept(&socket).await) });
        }
    }

    fn close(&mut self, id: ConnId, events: &mut Events) {
        let Some(entry) = self.conns.remove(id) else { return };
        entry.conn.close();
        self.shared.forget(id);
        events.net.push(NetInput::Closed { conn: id });
    }
}

impl Drop for Glommio {
    /// After an orderly end nothing is left to do. Otherwise tasks may be under way whose memory is in the kernel's
    /// hands, and after a panic within it the executor cannot be run any more. It is left behind then: the process is
    /// about to end.
    fn drop(&mut self) {
        if !self.shared.ending.get() && !std::thread::panicking() {
            self.shut_down();
        }
        if self.tasks.get() > 0 {
            std::mem::forget(self.executor.take());
        }
    }
}

/// One wait: begins what is prepared and ends when a task has left something, at the latest after `timeout`.
async fn round(shared: &Shared, starts: Vec<Start>, timeout: Option<Duration>) {
    for start in starts {
        drop(spawn_local(start).detach());
    }
    if timeout != Some(Duration::ZERO) {
        let mut timer = pin!(timeout.map(Timer::new));
        poll_fn(|cx| {
            let timer = timer.as_mut().as_pin_mut();
            if shared.has_news() || timer.is_some_and(|timer| timer.poll(cx).is_ready()) {
                return Poll::Ready(());
            }
            shared.wait_with(cx.waker());
            Poll::Pending
        })
        .await;
    }
    shared.waited();
}

/// Listens for other threads as long as the core runs.
async fn hear_bell(bell: BufferedFile, shared: Rc<Shared>) {
    while !shared.ending.get() {
        match bell.read_at(0, size_of::<u64>()).await {
            Ok(_) => shared.ring(),
            Err(error) => {
                let once_more = matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN));
                crate::invariant!(once_more, "the bell cannot be heard: {error}");
            }
        }
    }
}

/// Has glommio look at the disk of the data folder through a file of our own that is not empty. It finds out by one
/// read of the first direct file whether the disk can be polled for completions, takes "nothing there" for a yes, and
/// from then on every read fails.
fn learn_device(executor: LocalExecutor, core: CoreId, data_root: &Path) -> io::Result<LocalExecutor> {
    let path = data_root.join(format!(".kataract-glommio-{}-{}.tmp", std::process::id(), core.0));
    fs::write(&path, [0; BLOCK])?;
    let open = async {
        match OpenOptions::new().read(true).dma_open(&path).await {
            Ok(file) => file.close().await.map_err(os_error),
            // No direct I/O there, so nothing to learn either.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            Err(error) => Err(os_error(error)),
        }
    };
    // It panics where the system describes a disk in another way than it knows.
    let learned = catch_unwind(AssertUnwindSafe(|| executor.run(open)));
    fs::remove_file(&path)?;
    match learned {
        Ok(result) => result.map(|()| executor),
        Err(panic) => {
            std::mem::forget(executor);
            Err(io::Error::other(format!("glommio cannot use this disk: {}", panic_text(panic.as_ref()))))
        }
    }
}
