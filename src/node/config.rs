//! Configuration of a node: Kafka's property file, the command line's settings and the defaults, checked and typed.
//!
//! The table of settings is the controller's (`meta::settings`), because dynamic changes are judged by it too; this file
//! adds what only a process has: its folder, listeners, cores and driver. Nothing is ignored silently: an unknown key is an
//! error that names the nearest known one, a key of Kafka's that this version does not honour is a warning.

mod listeners;
mod properties;

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

pub use listeners::{Endpoint, Listener, Listeners};
pub use properties::{Origin, Properties, Raw};

use crate::base::ids::NodeId;

/// Folder of a node that is told nothing about it.
const DATA_DIR_DEFAULT: &str = "./kataract-data";
/// What Kafka sets for a cluster of three and a single node cannot have; a file may still ask for more.
const SINGLE_NODE_DEFAULTS: [(&str, &str); 5] = [
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
];
/// Keys that this file and `listeners` read themselves.
const OWN_KEYS: [&str; 15] = [
    "process.roles",
    "node.id",
    "broker.id",
    "log.dirs",
    "log.dir",
    "metadata.log.dir",
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
    "inter.broker.listener.name",
    "security.inter.broker.protocol",
    "controller.listener.names",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.voters",
    "controller.quorum.auto.join.enable",
];
/// Families of Kafka keys whose members are too many for the table; none of them is honoured.
const FOREIGN_FAMILIES: [&str; 6] = ["ssl.", "sasl.", "listener.name.", "remote.log.", "rsm.config.", "rlmm.config."];

/// Which cores a node uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cores {
    /// So many of those the process may use, at least 1.
    Count(u16),
    /// Exactly these, sorted, each once.
    List(Vec<u16>),
}

/// How a node reaches disk and network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Driver {
    /// io_uring where the kernel allows it, else posix
    #[default]
    Auto,
    /// io_uring, or refuse to start
    Uring,
    /// epoll and helper threads
    Posix,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct ConfigSource<'a> {
    pub file: Option<&'a Path>,
    pub set: &'a [(String, String)],
    /// The folder of the command line, stronger than every other.
    pub data: Option<&'a Path>,
    pub cores: Option<Cores>,
    pub driver: Driver,
}

/// All that a node needs to start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub node_id: NodeId,
    pub data_dir: PathBuf,
    pub listeners: Listeners,
    /// `None`: all that the process may use.
    pub cores: Option<Cores>,
    pub driver: Driver,
    /// Settings of the table as written (and the defaults of a single node), for DescribeConfigs and for the typed form.
    pub properties: BTreeMap<String, String>,
    /// What the operator should read, one sentence each.
    pub warnings: Vec<String>,
}

impl NodeConfig {
    /// Reads and checks everything; the error is one line that names the key, the value, the place and what is allowed.
    pub fn load(source: &ConfigSource<'_>) -> Result<NodeConfig, String> {
        let mut raw = Properties::gather(source.file, source.set)?;
        let mut warnings = raw.take_warnings();
        check_roles(&raw)?;
        refuse_what_would_be_unsafe_to_ignore(&raw)?;
        let node_id = node_id(&raw)?;
        let listeners = listeners::listeners(&raw, host_name, &mut warnings)?;
        check_quorum(&raw, node_id, &listeners, &mut warnings)?;
        let data_dir = data_dir(&raw, source.data)?;
        let properties = table_settings(&raw, &mut warnings)?;
        Ok(NodeConfig {
            node_id,
            data_dir,
            listeners,
            cores: source.cores.clone(),
            driver: source.driver,
            properties,
            warnings,
        })
    }
}

fn check_roles(raw: &Properties) -> Result<(), String> {
    const KEY: &str = "process.roles";
    let Some(value) = raw.get(KEY) else { return Ok(()) };
    let mut roles: Vec<&str> = value.value.split(',').map(str::trim).collect();
    roles.sort_unstable();
    if roles == ["broker", "controller"] {
        return Ok(());
    }
    Err(raw.bad(KEY, "must be broker,controller: this version runs both in one node"))
}

/// A node that ignores its authorizer would let everybody in.
fn refuse_what_would_be_unsafe_to_ignore(raw: &Properties) -> Result<(), String> {
    const KEY: &str = "authorizer.class.name";
    match raw.get(KEY) {
        None => Ok(()),
        Some(_) => Err(raw.bad(KEY, "this version checks no permissions; remove the key to start without")),
    }
}

fn node_id(raw: &Properties) -> Result<NodeId, String> {
    let mut id = NodeId(1);
    for key in ["broker.id", "node.id"] {
        let Some(value) = raw.get(key) else { continue };
        let parsed: Option<i32> = value.value.parse().ok().filter(|&id| id >= 0);
        id = NodeId(parsed.ok_or_else(|| raw.bad(key, "must be a number from 0 to 2147483647"))?);
    }
    Ok(id)
}

/// The one folder of the node: command line, `log.dirs`, `log.dir`, default.
fn data_dir(raw: &Properties, command_line: Option<&Path>) -> Result<PathBuf, String> {
    let mut folder = PathBuf::from(DATA_DIR_DEFAULT);
    for key in ["log.dir", "log.dirs"] {
        let Some(value) = raw.get(key) else { continue };
        let mut parts = value.value.split(',').map(str::trim).filter(|part| !part.is_empty());
        let first = parts.next().ok_or_else(|| raw.bad(key, "must name a folder"))?;
        if parts.next().is_some() && command_line.is_none() {
            return Err(raw.bad(key, "must name one folder: this version keeps all partitions in one"));
        }
        folder = PathBuf::from(first);
    }
    folder = command_line.map_or(folder, Path::to_owned);
    if let Some(value) = raw.get("metadata.log.dir")
        && Path::new(&value.value) != folder
    {
        return Err(raw.bad("metadata.log.dir", "must be the data folder: this version keeps the metadata log there"));
    }
    Ok(folder)
}

/// A file that describes a quorum of several must not start a cluster of its own.
fn check_quorum(
    raw: &Properties,
    node_id: NodeId,
    listeners: &Listeners,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    const VOTERS: &str = "controller.quorum.voters";
    const SERVERS: &str = "controller.quorum.bootstrap.servers";
    const JOIN: &str = "controller.quorum.auto.join.enable";
    if let Some(value) = raw.get(VOTERS) {
        let voters: Vec<&str> = value.value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        let own = format!("{}@", node_id.0);
        if voters.len() != 1 || !voters[0].starts_with(&own) {
            let allowed = format!("must name this node only ({own}host:port): this version's quorum has one voter");
            return Err(raw.bad(VOTERS, &allowed));
        }
    }
    if let Some(value) = raw.get(SERVERS) {
        let servers: Vec<&str> = value.value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        let port = servers.first().and_then(|server| server.rsplit_once(':')).and_then(|(_, port)| port.parse().ok());
        let is_own = listeners.controller.iter().any(|endpoint| Some(endpoint.port) == port);
        if servers.len() != 1 || !is_own {
            let allowed = "must name this node's own controller listener only: this version's quorum has one voter";
            return Err(raw.bad(SERVERS, allowed));
        }
    }
    if raw.get(JOIN).is_some_and(|value| value.value.eq_ignore_ascii_case("true")) {
        warnings.push(format!("{JOIN} is not honoured by this version: its quorum has one voter"));
    }
    Ok(())
}

/// This host's name if clients on this host can resolve it, else `localhost`.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let resolves = (name.as_str(), 0).to_socket_addrs().is_ok_and(|mut found| found.next().is_some());
    if resolves { name } else { "localhost".to_owned() }
}

/// The settings of the table as written, laid over the defaults of a single node.
fn table_settings(raw: &Properties, warnings: &mut Vec<String>) -> Result<BTreeMap<String, String>, String> {
    let mut values: BTreeMap<String, String> =
        SINGLE_NODE_DEFAULTS.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    for (key, raw) in raw.iter() {
        if OWN_KEYS.contains(&key.as_str()) {
            continue;
        }
        if FOREIGN_FAMILIES.iter().any(|family| key.starts_with(family)) {
            warnings.push(format!("{}: {key} is not honoured by this version", raw.origin));
            continue;
        }
        values.insert(key.clone(), raw.value.clone());
    }
    Ok(values)
}

#[cfg(test)]
mod tests;
