//! Starts a node and stops it, in order: folder and lock, settings, memory plan, driver, engines; and back.

use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::config::{Driver, NodeConfig, endpoint};
use super::data_dir::{DataDir, random_uuid};
use super::descriptors::Descriptors;
use super::memory::MemoryPlan;
use super::topology;
use crate::base::ids::{CoreId, Uuid};
use crate::engine::{Engine, SessionLimits};
use crate::meta::settings::BrokerSettings;
use crate::rt::probe::{self, Requested};
use crate::rt::{DriverKind, DriverOptions, Running};
pub use crate::shard::Notice;
use crate::shard::{Endpoint, JournalConfig, NodeFacts, ShardConfig};

/// Requests of one connection in work at once.
const REQUESTS_PER_CONNECTION: usize = 64;

/// How long a start waits for a port that is in use.
const LISTEN_PATIENCE: Duration = Duration::from_secs(3);
/// The same after a crash: the kernel takes a killed process's ring apart after the process is gone, and the ring's
/// pending accept holds the port until then. On a machine with more work than cores that took more than three seconds.
const LISTEN_PATIENCE_AFTER_CRASH: Duration = Duration::from_secs(30);

/// What a node tells while it starts and runs.
#[derive(Clone, Debug)]
pub enum NodeNotice {
    /// Bound and running; recovery may still be going on.
    Started(Started),
    /// Clients are served.
    Ready,
    /// What recovery did to one log, or that the folder failed.
    Core(CoreId, Notice),
}

/// The facts of a start, for the banner.
#[derive(Clone, Debug)]
pub struct Started {
    pub cluster_id: String,
    pub node_id: i32,
    pub listeners: Vec<String>,
    pub advertised: Vec<String>,
    pub driver: DriverKind,
    pub driver_reason: String,
    pub cpus: Vec<Option<usize>>,
    pub plan: MemoryPlan,
    pub data_dir: std::path::PathBuf,
    pub data_state: &'static str,
}

/// Runs a node until SIGTERM or Ctrl-C; tells `notify` what happens.
pub fn run(config: &NodeConfig, notify: &mut dyn FnMut(NodeNotice)) -> Result<(), String> {
    let (driver, driver_reason) = choose_driver(config.driver)?;
    let folder = DataDir::open(&config.data_dir, config.node_id()).map_err(|error| error.to_string())?;
    let mut settings = config.settings.clone();
    let cpus = topology::cpus(config.cores.as_ref())?;
    let cores = cpus.len() as u16;
    let plan = MemoryPlan::split(settings.memory_bytes.unwrap_or(super::memory::BUDGET_DEFAULT), cores)?;
    if settings.static_value("max.connections").is_none() {
        settings.connections_max = settings.connections_max.min(u32::try_from(plan.connections).unwrap_or(u32::MAX));
    }
    settings.cores = Some(cores);
    let wanted = settings.partitions_max.unwrap_or(plan.partitions);
    let total = topology::files_max();
    let descriptors = Descriptors::deal(total, cores, driver.descriptors_per_file(), settings.connections_max, wanted);
    if wanted > descriptors.partitions {
        let room = descriptors.partitions;
        tracing::warn!("the process may open {total} files (RLIMIT_NOFILE): room for {room} partitions, not {wanted}");
    }
    settings.partitions_max = Some(wanted.min(descriptors.partitions));
    let listen = topology::addresses(&settings.listeners)?;
    let clean = folder.take_clean_shutdown().map_err(|error| error.to_string())?.is_some();
    let facts = node_facts(config, &folder)?;

    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| format!("signal handlers: {error}"))?;
    let options = DriverOptions {
        cores: cpus.clone(),
        data_root: folder.path().to_owned(),
        listen,
        listen_patience: if clean || folder.is_new() { LISTEN_PATIENCE } else { LISTEN_PATIENCE_AFTER_CRASH },
        backlog: settings.socket_listen_backlog.max(128) as i32,
        connections_max: settings.connections_max.min(descriptors.connections) as usize,
    };
    let seats = Seats { settings, facts: facts.clone(), plan, descriptors, cores, clean: clean || folder.is_new() };
    let (tell, told) = mpsc::channel();
    let running = seats.start(driver, options, tell)?;

    notify(NodeNotice::Started(Started {
        cluster_id: facts.cluster_id.clone(),
        node_id: config.node_id().0,
        listeners: config.settings.listeners.iter().map(endpoint).collect(),
        advertised: config.advertised.iter().map(endpoint).collect(),
        driver,
        driver_reason,
        cpus,
        plan,
        data_dir: folder.path().to_owned(),
        data_state: data_state(folder.is_new(), clean),
    }));

    let stop = running.stop_handle();
    let handle = signals.handle();
    let watcher = thread::spawn(move || {
        if signals.forever().next().is_some() {
            stop.request_stop();
        }
    });
    let result = watch(running, cores, descriptors.connections, &told, notify);
    handle.close();
    let watched = watcher.join();
    if watched.is_err() {
        tracing::warn!("the thread that waits for signals panicked");
    }
    if result? {
        folder.mark_clean_shutdown(-1).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The driver and why; refuses one that this build does not have before anything is touched.
fn choose_driver(wanted: Driver) -> Result<(DriverKind, String), String> {
    let requested = match wanted {
        Driver::Auto => Requested::Auto,
        Driver::Uring => Requested::Uring,
        Driver::Posix => Requested::Posix,
        Driver::Glommio => Requested::Glommio,
    };
    let (driver, reason) = probe::choose(requested);
    driver.check_built().map_err(|error| error.to_string())?;
    Ok((driver, reason))
}

fn data_state(is_new: bool, clean: bool) -> &'static str {
    match (is_new, clean) {
        (true, _) => "new",
        (false, true) => "clean",
        (false, false) => "needs recovery",
    }
}

/// Waits for the end of the node. True: every log was closed as a clean start wants it.
fn watch(
    running: Running,
    cores: u16,
    connections_room: u32,
    told: &mpsc::Receiver<(CoreId, Notice)>,
    notify: &mut dyn FnMut(NodeNotice),
) -> Result<bool, String> {
    let mut serving = 0;
    let mut clean = false;
    let mut failed = None;
    let mut take = |core: CoreId, notice: Notice| match notice {
        Notice::Serving => {
            serving += 1;
            if serving == cores {
                notify(NodeNotice::Ready);
            }
            None
        }
        Notice::StoppedClean => {
            clean = true;
            None
        }
        Notice::ConnectionsMax(max) => {
            running.set_connections_max(max.min(connections_room) as usize);
            None
        }
        Notice::StartFailed { reason } => Some(reason),
        other => {
            notify(NodeNotice::Core(core, other));
            None
        }
    };
    // Every engine holds a sender: the channel ends when the last one is gone.
    while let Ok((core, notice)) = told.recv() {
        if let Some(reason) = take(core, notice) {
            failed = Some(reason);
            running.request_stop();
        }
    }
    running.join().map_err(|error| error.to_string())?;
    match failed {
        Some(reason) => Err(reason),
        None => Ok(clean),
    }
}

fn node_facts(config: &NodeConfig, folder: &DataDir) -> Result<NodeFacts, String> {
    let endpoints = config.advertised.iter().map(|listener| Endpoint {
        listener: listener.name.clone(),
        host: listener.host.clone(),
        port: listener.port,
    });
    Ok(NodeFacts {
        node_id: config.node_id(),
        cluster_id: folder.identity().cluster_id.clone(),
        directory_id: folder.identity().directory_id,
        incarnation: random_uuid().map_err(|error| error.to_string())?,
        endpoints: endpoints.collect(),
    })
}

/// What every engine of the node is built from.
#[derive(Clone)]
struct Seats {
    settings: BrokerSettings,
    facts: NodeFacts,
    plan: MemoryPlan,
    descriptors: Descriptors,
    cores: u16,
    clean: bool,
}

impl Seats {
    fn start(
        self,
        driver: DriverKind,
        options: DriverOptions,
        tell: mpsc::Sender<(CoreId, Notice)>,
    ) -> Result<Running, String> {
        let seed = seed()?;
        crate::rt::run(driver, options, move |core| self.engine(core, seed, tell.clone()))
            .map_err(|error| error.to_string())
    }

    fn engine(&self, core: CoreId, seed: u64, tell: mpsc::Sender<(CoreId, Notice)>) -> Engine {
        let config = ShardConfig {
            core,
            cores: self.cores,
            settings: Rc::new(self.settings.clone()),
            node: Rc::new(self.facts.clone()),
            clean_start: self.clean,
            seed: seed ^ (u64::from(core.0) << 32),
            files_max: self.descriptors.files_per_core,
            tail_cache_bytes: self.plan.tail_cache,
            journal: JournalConfig {
                bytes: self.settings.journal_bytes,
                logs_min: self.settings.journal_partitions as usize,
                lag_bytes: self.plan.journal_lag,
            },
            member_bytes_max: self.plan.members as usize,
        };
        let limits = SessionLimits {
            frame_bytes_max: self.settings.socket_request_max_bytes,
            requests_per_connection: REQUESTS_PER_CONNECTION,
            bytes_in_flight: self.plan.bytes_in_flight as usize,
            bytes_out: self.plan.bytes_out as usize,
            idle_ms: self.settings.connections_idle_max_ms,
            fetch_sessions: self.settings.fetch_session_slots as usize,
            fetch_session_bytes: self.plan.fetch_sessions as usize,
        };
        let report = move |core: CoreId, notice: Notice| {
            // The receiver is gone only when the process ends anyway.
            let _ = tell.send((core, notice));
        };
        Engine::new(config, limits, crate::rt::clock::now(), Box::new(report))
    }
}

fn seed() -> Result<u64, String> {
    let Uuid(bytes) = random_uuid().map_err(|error| error.to_string())?;
    let mut half = [0; 8];
    half.copy_from_slice(&bytes[8..]);
    Ok(u64::from_be_bytes(half))
}
