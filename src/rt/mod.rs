//! Floor 8: the real drivers. They run one [`Machine`] a core, carry its effects out and bring back what came of them;
//! what the effects are for, they do not know. Three kinds that answer to the same contract (`contract/`): io_uring,
//! epoll with helper threads for machines that forbid io_uring, and, when built with the feature `glommio`, the glommio
//! crate.
//!
//! Duties of a driver: pin a thread a core; accept on core 0 and deal connections round-robin; read the clocks once a
//! turn; keep mail in order; own every buffer the kernel may touch until the kernel is done; turn errno into kinds;
//! stop when every machine has stopped, or soon after one of them has failed.
#![allow(clippy::disallowed_methods, reason = "drivers carry out what machines may only ask for")]

mod accept;
pub mod allocator;
mod backend;
pub mod clock;
mod cold;
#[cfg(any(test, feature = "sim"))]
pub mod contract;
mod control;
mod core_loop;
mod file;
mod file_pipe;
#[cfg(feature = "glommio")]
mod glommio;
mod mailbox;
mod posix;
pub mod probe;
mod probe_disk;
mod read_pool;
mod send;
mod slots;
mod sys;
mod uring;
mod worker;

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use accept::{ConnectionCount, Dealer};
use backend::{Backend, Setup};
use control::Control;
pub use control::StopHandle;
use core_loop::Core;
use mailbox::Mesh;
pub use sys::random_seed;

use crate::base::ids::CoreId;
use crate::base::limits::CORES_MAX;
use crate::port::turn::Machine;

/// Which driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// One io_uring ring a core.
    Uring,
    /// epoll and helper threads.
    Posix,
    /// The executor of the glommio crate; in builds with the feature `glommio` only.
    Glommio,
}

impl DriverKind {
    /// An error that says how to build it when this build has no such driver.
    pub fn check_built(self) -> Result<(), StartError> {
        match self {
            DriverKind::Glommio if !cfg!(feature = "glommio") => Err(StartError::NotBuilt { kind: self }),
            _ => Ok(()),
        }
    }

    /// Descriptors that one open file of a machine takes.
    pub fn descriptors_per_file(self) -> u32 {
        match self {
            // One past the page cache and one through it.
            DriverKind::Uring | DriverKind::Posix => 2,
            // Its direct files can be had from its own open only.
            DriverKind::Glommio => 3,
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DriverKind::Uring => "io_uring",
            DriverKind::Posix => "posix",
            DriverKind::Glommio => "glommio",
        })
    }
}

/// What a driver needs to know.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// One engine each: the number of the CPU to pin its thread to, or `None` to let it wander.
    pub cores: Vec<Option<usize>>,
    /// The data folder; must exist. Paths of the machines are relative to it.
    pub data_root: PathBuf,
    /// Addresses to listen on; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// How long to wait for an address that is in use: somebody who was killed may hold it a little longer.
    pub listen_patience: Duration,
    /// Connections the system may hold that are not accepted yet (listen(2)).
    pub backlog: i32,
    /// Connections open at once in the process; further ones are accepted, counted and closed.
    pub connections_max: usize,
}

impl DriverOptions {
    /// One unpinned core that listens nowhere.
    pub fn new(data_root: PathBuf) -> DriverOptions {
        DriverOptions {
            cores: vec![None],
            data_root,
            listen: Vec::new(),
            listen_patience: Duration::from_secs(3),
            backlog: 1024,
            connections_max: 10_000,
        }
    }
}

/// How often to look whether an address is free, and how long to say nothing about it.
const LISTEN_PAUSE: Duration = Duration::from_millis(2);
const LISTEN_QUIET: Duration = Duration::from_millis(100);

/// Why a driver did not start. Nothing runs and nothing listens then.
#[derive(Debug)]
pub enum StartError {
    /// The driver is left out of this build.
    NotBuilt {
        kind: DriverKind,
    },
    /// None, or more than [`CORES_MAX`].
    Cores {
        count: usize,
    },
    DataRoot {
        path: PathBuf,
        source: io::Error,
    },
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    /// A core's thread, helpers, ring or epoll could not be set up.
    Core {
        core: CoreId,
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NotBuilt { kind } => {
                write!(f, "this build has no {kind} driver; one with it: cargo build --release --features {kind}")
            }
            StartError::Cores { count } => write!(f, "{count} cores: must be 1 to {CORES_MAX}"),
            StartError::DataRoot { path, source } => write!(f, "data folder {}: {source}", path.display()),
            StartError::Listen { address, source } => write!(f, "listen on {address}: {source}"),
            StartError::Core { core, source } => write!(f, "start of core {}: {source}", core.0),
        }
    }
}

impl std::error::Error for StartError {}

/// Why a running driver ended before its machines wanted to.
#[derive(Debug)]
pub enum RunError {
    /// A machine (or the driver under it) broke an invariant.
    Panicked { core: CoreId, message: String },
    /// The ring or epoll itself failed.
    Driver { core: CoreId, source: io::Error },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Panicked { core, message } => write!(f, "core {} panicked: {message}", core.0),
            RunError::Driver { core, source } => write!(f, "driver of core {}: {source}", core.0),
        }
    }
}

impl std::error::Error for RunError {}

/// A driver at work. Dropping it does not stop it: ask, then [`Running::join`].
#[derive(Debug)]
pub struct Running {
    control: Arc<Control>,
    local_addrs: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
    connections: ConnectionCount,
}

impl Running {
    /// Where it listens, in the order of the options, with the ports the system chose.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Every machine sees `stop` in its next turn, which comes at once.
    pub fn request_stop(&self) {
        self.control.request_stop();
    }

    /// For another thread to stop it with.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.control.clone())
    }

    /// Connections open now, on all cores.
    pub fn connections_open(&self) -> usize {
        self.connections.open.load(Ordering::Relaxed)
    }

    /// So many connections may be open from now on; those that are stay.
    pub fn set_connections_max(&self, max: usize) {
        self.connections.max.store(max, Ordering::Relaxed);
    }

    /// Connections closed at once because there were too many.
    pub fn connections_refused(&self) -> u64 {
        self.connections.refused.load(Ordering::Relaxed)
    }

    /// Waits until every machine has stopped, or until one has failed and the others have ended too.
    pub fn join(self) -> Result<(), RunError> {
        for thread in self.threads {
            // The thread's body catches panics and reports them itself.
            if thread.join().is_err() {
                tracing::error!("a core's thread ended by a panic outside its machine");
            }
        }
        self.control.take_failure().map_or(Ok(()), Err)
    }
}

/// What one core's thread is born with.
struct Seat<T> {
    setup: Setup,
    cores: usize,
    pin: Option<usize>,
    dealer: Option<Dealer>,
    mesh: Arc<Mesh<T>>,
    ready: mpsc::Sender<Result<(), StartError>>,
    go: mpsc::Receiver<()>,
}

/// Binds, starts one thread a core, builds each machine ON its thread with `build(core)`, and runs until every machine
/// has said `stopped`. No machine is built before every core's driver is set up; an error leaves nothing behind.
pub fn run<M: Machine>(
    kind: DriverKind,
    options: DriverOptions,
    build: impl Fn(CoreId) -> M + Send + Sync + Clone + 'static,
) -> Result<Running, StartError> {
    match kind {
        DriverKind::Uring => run_on::<M, uring::Uring>(options, build),
        DriverKind::Posix => run_on::<M, posix::Posix>(options, build),
        #[cfg(feature = "glommio")]
        DriverKind::Glommio => run_on::<M, glommio::Glommio>(options, build),
        #[cfg(not(feature = "glommio"))]
        DriverKind::Glommio => Err(StartError::NotBuilt { kind }),
    }
}

fn run_on<M: Machine, B: Backend>(
    options: DriverOptions,
    build: impl Fn(CoreId) -> M + Send + Sync + Clone + 'static,
) -> Result<Running, StartError> {
    let cores = options.cores.len();
    if cores == 0 || cores > CORES_MAX {
        return Err(StartError::Cores { count: cores });
    }
    let data_root = check_data_root(&options)?;
    let (mut listeners, local_addrs) = listen(&options, B::LISTENERS_BLOCK)?;
    let on_core_0 = |source| StartError::Core { core: CoreId(0), source };
    let control = Arc::new(Control::new(cores).map_err(on_core_0)?);
    let mesh = Arc::new(Mesh::new(cores));
    let connections = ConnectionCount::default();
    connections.max.store(options.connections_max, Ordering::Relaxed);
    let (ready, is_ready) = mpsc::channel();
    let mut threads = Vec::new();
    let mut gates = Vec::new();
    let mut result = Ok(());
    for (core, &pin) in options.cores.iter().enumerate() {
        // At most CORES_MAX cores.
        let core = CoreId(core as u16);
        let (gate, go) = mpsc::channel();
        let first = core == CoreId(0);
        let dealer = || Dealer::new(connections.clone(), cores as u16);
        let seat = Seat {
            setup: Setup {
                core,
                control: control.clone(),
                listeners: if first { std::mem::take(&mut listeners) } else { Vec::new() },
                connections_max: options.connections_max.div_ceil(cores),
                data_root: data_root.clone(),
            },
            cores,
            pin,
            dealer: first.then(dealer),
            mesh: mesh.clone(),
            ready: ready.clone(),
            go,
        };
        let build = build.clone();
        let body = move || core_thread::<M, B>(seat, build);
        match thread::Builder::new().name(format!("core-{}", core.0)).spawn(body) {
            Ok(thread) => threads.push(thread),
            Err(source) => {
                result = Err(StartError::Core { core, source });
                break;
            }
        }
        gates.push(gate);
    }
    drop(ready);
    for answer in is_ready {
        result = result.and(answer);
    }
    open_gates(Running { control, local_addrs, threads, connections }, gates, result)
}

/// Every core is set up or has failed: lets them all build their machines, or none.
fn open_gates(
    running: Running,
    gates: Vec<mpsc::Sender<()>>,
    result: Result<(), StartError>,
) -> Result<Running, StartError> {
    match result {
        Ok(()) => {
            for gate in gates {
                // A core that failed meanwhile has said so to the control block, and join tells.
                let _ = gate.send(());
            }
            Ok(running)
        }
        Err(error) => {
            drop(gates);
            // The machines were never built; what a thread may have to say beyond the first error does not matter.
            let _ = running.join();
            Err(error)
        }
    }
}

fn check_data_root(options: &DriverOptions) -> Result<PathBuf, StartError> {
    let failed = |source| StartError::DataRoot { path: options.data_root.clone(), source };
    let root = options.data_root.canonicalize().map_err(failed)?;
    if root.is_dir() { Ok(root) } else { Err(failed(io::Error::from_raw_os_error(libc::ENOTDIR))) }
}

fn listen(options: &DriverOptions, block: bool) -> Result<(Vec<OwnedFd>, Vec<SocketAddr>), StartError> {
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for &address in &options.listen {
        let failed = |source| StartError::Listen { address, source };
        let listener = listen_on(address, options, !block).map_err(failed)?;
        addresses.push(sys::local_address(&listener).map_err(failed)?);
        listeners.push(listener);
    }
    Ok((listeners, addresses))
}

/// Listens on one address; waits a while for one in use. The kernel takes a killed process's ring apart only after the
/// process is gone, and the ring's pending accept holds the port until then: milliseconds, more on a busy machine.
fn listen_on(address: SocketAddr, options: &DriverOptions, non_blocking: bool) -> io::Result<OwnedFd> {
    let patience = options.listen_patience;
    let begun = Instant::now();
    let mut told = false;
    loop {
        match sys::listen(address, options.backlog, non_blocking) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < patience => {
                if begun.elapsed() > LISTEN_QUIET && !told {
                    told = true;
                    tracing::warn!("{address} is in use; trying again for up to {patience:?}");
                }
                thread::sleep(LISTEN_PAUSE);
            }
            result => return result,
        }
    }
}

/// The body of a core's thread: whatever happens in it is recorded, and the other cores hear of its end.
fn core_thread<M: Machine, B: Backend>(seat: Seat<M::Message>, build: impl Fn(CoreId) -> M) {
    let core = seat.setup.core;
    let control = seat.setup.control.clone();
    let mesh = seat.mesh.clone();
    match catch_unwind(AssertUnwindSafe(|| live::<M, B>(seat, build))) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => control.fail(error),
        Err(panic) => control.fail(RunError::Panicked { core, message: panic_text(panic.as_ref()) }),
    }
    for sender in mesh.close(core) {
        control.post_and_ring(sender);
    }
    control.close_door(core);
}

fn live<M: Machine, B: Backend>(seat: Seat<M::Message>, build: impl Fn(CoreId) -> M) -> Result<(), RunError> {
    let Seat { setup, cores, pin, dealer, mesh, ready, go } = seat;
    let (core, control, data_root) = (setup.core, setup.control.clone(), setup.data_root.clone());
    if let Some(cpu) = pin
        && !(cpu < libc::CPU_SETSIZE as usize && core_affinity::set_for_current(core_affinity::CoreId { id: cpu }))
    {
        tracing::warn!(core = core.0, cpu, "the thread could not be pinned and stays unpinned");
    }
    let started = B::start(setup).and_then(|backend| Core::new(core, cores, data_root, control, mesh, dealer, backend));
    let running = match started {
        Ok(running) => running,
        Err(source) => {
            let _ = ready.send(Err(StartError::Core { core, source }));
            return Ok(());
        }
    };
    let _ = ready.send(Ok(()));
    drop(ready);
    // An error: another core could not be set up, so nobody starts.
    if go.recv().is_err() {
        return Ok(());
    }
    running.run(build(core))
}

/// The message of a panic.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
