//! Configuration of a node: Kafka's property file, the command line's settings and the defaults, checked and typed.
//!
//! The table of settings and the typed [`BrokerSettings`] are the controller's (`meta::settings`), because dynamic
//! changes are judged by them too; this file adds what only a process has: files and lines, the folder, the host's
//! name, cores and driver. Nothing is ignored silently: an unknown key is an error that names the nearest known one, a
//! key of Kafka's that this version does not honour is a warning, and what would be dangerous to ignore is refused.

mod properties;

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

pub use properties::{Origin, Properties, Raw};

use crate::base::ids::NodeId;
use crate::meta::settings::{
    Allowed, BrokerSettings, KeyKind, Kind, Listener, Setting, SettingError, broker_key, broker_setting,
};

/// What a node gets that is told nothing: a loopback listener, a folder here, and for the coordinators' topics the
/// number of replicas that a single node can have (Kafka's defaults are for three).
const DEFAULTS: [(&str, &str); 8] = [
    ("node.id", "1"),
    ("listeners", "PLAINTEXT://127.0.0.1:9092"),
    ("log.dirs", "./kataract-data"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
];

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
    /// The glommio crate, for comparison; only in a build with the feature of that name
    Glommio,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct ConfigSource<'a> {
    pub file: Option<&'a Path>,
    pub set: &'a [(String, String)],
    /// The folder of the command line, stronger than `log.dirs`.
    pub data: Option<&'a Path>,
    /// Stronger than `kataract.cores`.
    pub cores: Option<Cores>,
    /// Stronger than `kataract.driver`.
    pub driver: Option<Driver>,
}

/// All that a node needs to start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Every setting, typed, and as written (for DescribeConfigs).
    pub settings: BrokerSettings,
    pub data_dir: PathBuf,
    /// What clients are told, one per entry of `settings.listeners` and in that order. The host is always filled in; a
    /// port 0 stands for the port that the system chooses when the listener is opened.
    pub advertised: Vec<Listener>,
    /// `None`: all that the process may use.
    pub cores: Option<Cores>,
    pub driver: Driver,
    /// What the operator should read, one sentence each.
    pub warnings: Vec<String>,
}

impl NodeConfig {
    /// Reads and checks everything. The error has one line per fault; each names place, key, value and what is allowed.
    pub fn load(source: &ConfigSource<'_>) -> Result<NodeConfig, String> {
        let mut raw = Properties::gather(source.file, source.set)?;
        let mut warnings = raw.take_warnings();
        let mut errors = refuse_what_would_be_dangerous_to_ignore(&raw);
        let values = known_values(&raw, source.data, &mut errors, &mut warnings);
        let settings = match BrokerSettings::from_values(values) {
            Ok(settings) if errors.is_empty() => settings,
            Ok(_) => return Err(errors.join("\n")),
            Err(bad) => {
                errors.extend(bad.iter().map(|error| told(&raw, error)));
                return Err(errors.join("\n"));
            }
        };
        check_quorum(&raw, &settings, &mut warnings)?;
        let data_dir = data_dir(&raw, &settings)?;
        for listener in &settings.controller_listeners {
            let address = endpoint(listener);
            warnings.push(format!("{address} is not opened: no other controller can join this version's quorum"));
        }
        Ok(NodeConfig {
            data_dir,
            advertised: advertised(&settings),
            cores: source.cores.clone().or(settings.cores.map(Cores::Count)),
            driver: source.driver.unwrap_or_else(|| driver(&settings.driver)),
            settings,
            warnings,
        })
    }

    pub fn node_id(&self) -> NodeId {
        self.settings.node_id
    }
}

/// The name of the driver in the settings; the table allows no others.
fn driver(name: &str) -> Driver {
    match name {
        "uring" => Driver::Uring,
        "posix" => Driver::Posix,
        "glommio" => Driver::Glommio,
        _ => Driver::Auto,
    }
}

/// Where a bad value stands, then key, value and what is allowed.
fn told(raw: &Properties, error: &SettingError) -> String {
    let origin = raw.get(&error.name).map_or_else(String::new, |raw| format!("{}: ", raw.origin));
    let allowed = broker_setting(&error.name).and_then(allowed);
    let allowed = allowed.map_or_else(String::new, |allowed| format!("; allowed: {allowed}"));
    match &error.value {
        Some(value) => format!("{origin}{}={value}: {}{allowed}", error.name, error.reason),
        None => format!("{origin}{}: {}{allowed}", error.name, error.reason),
    }
}

/// What a setting accepts, in words, where its kind and range say more than "text".
fn allowed(setting: &Setting) -> Option<String> {
    let kind = match setting.kind {
        Kind::Boolean => return Some("true or false".to_owned()),
        Kind::Int | Kind::Short | Kind::Long => "a whole number",
        Kind::Double => "a number",
        Kind::String | Kind::List | Kind::Class | Kind::Password => "",
    };
    match setting.allowed {
        Allowed::Min(min) => Some(format!("{kind} from {min}")),
        Allowed::Range(min, max) => Some(format!("{kind} from {min} to {max}")),
        Allowed::RangeOrMinusOne(min, max) => Some(format!("{kind} from {min} to {max}, or -1")),
        Allowed::Ratio => Some("a number from 0 to 1".to_owned()),
        Allowed::OneOf(words) => Some(words.join(", ")),
        Allowed::ListOf(words) => Some(format!("a list of {}", words.join(", "))),
        Allowed::PartitionCores => Some("a list of topic-partition:core".to_owned()),
        Allowed::Any | Allowed::ThrottledReplicas | Allowed::OffsetReset => (!kind.is_empty()).then(|| kind.to_owned()),
    }
}

/// A node that ignores its authorizer would let everybody in, unless that is what the file asks for while there is no
/// ACL: this version makes none.
fn refuse_what_would_be_dangerous_to_ignore(raw: &Properties) -> Vec<String> {
    const AUTHORIZER: &str = "authorizer.class.name";
    const ALLOW: &str = "allow.everyone.if.no.acl.found";
    const PROTOCOL: &str = "security.inter.broker.protocol";
    let allows_everyone = raw.get(ALLOW).is_some_and(|value| value.value.eq_ignore_ascii_case("true"));
    let mut errors = Vec::new();
    if raw.get(AUTHORIZER).is_some_and(|class| !class.value.is_empty()) && !allows_everyone {
        let allowed = "this version checks no permissions; remove the key, or set allow.everyone.if.no.acl.found=true";
        errors.push(raw.bad(AUTHORIZER, allowed));
    }
    if raw.get(PROTOCOL).is_some_and(|protocol| protocol.value != "PLAINTEXT") {
        errors.push(raw.bad(PROTOCOL, "this version has only PLAINTEXT"));
    }
    errors
}

/// The values as written, over the defaults; complains about keys that nobody knows.
fn known_values(
    raw: &Properties,
    data: Option<&Path>,
    errors: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, String> =
        DEFAULTS.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    if raw.get("log.dirs").is_none() && raw.get("log.dir").is_some() {
        values.remove("log.dirs");
    }
    let mut without_effect = Vec::new();
    for (key, written) in raw.iter() {
        let (default, honoured) = match broker_key(key) {
            KeyKind::Known(setting) => (setting.default, setting.honoured),
            KeyKind::Family(_) => (None, false),
            KeyKind::Unknown { nearest } => {
                let hint = nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
                errors.push(format!("{}: {key} is no setting of Kafka or Kataract{hint}", written.origin));
                continue;
            }
        };
        if !honoured {
            without_effect.push(format!("{key} ({})", written.origin.short()));
        }
        // An empty value of a setting that has no default is the same as none.
        if !written.value.is_empty() || default.is_some() {
            values.insert(key.clone(), written.value.clone());
        }
    }
    if !without_effect.is_empty() {
        warnings.push(format!("known, but not honoured by this version: {}", without_effect.join(", ")));
    }
    if raw.get("log.cleanup.policy").is_some_and(|policy| policy.value.contains("compact")) {
        warnings.push("log.cleanup.policy: this version does not compact".to_owned());
    }
    if let Some(data) = data {
        values.insert("log.dirs".to_owned(), data.display().to_string());
    }
    values
}

/// The one folder of the node.
fn data_dir(raw: &Properties, settings: &BrokerSettings) -> Result<PathBuf, String> {
    let [folder] = settings.log_dirs.as_slice() else {
        let key = if raw.get("log.dirs").is_some() { "log.dirs" } else { "log.dir" };
        return Err(raw.bad(key, "must name one folder: this version keeps all partitions in one"));
    };
    match &settings.metadata_log_dir {
        Some(other) if other != folder => {
            Err(raw.bad("metadata.log.dir", "must be the data folder: this version keeps the metadata log there"))
        }
        _ => Ok(PathBuf::from(folder)),
    }
}

/// A file that describes a quorum of several must not start a cluster of its own.
fn check_quorum(raw: &Properties, settings: &BrokerSettings, warnings: &mut Vec<String>) -> Result<(), String> {
    const VOTERS: &str = "controller.quorum.voters";
    const SERVERS: &str = "controller.quorum.bootstrap.servers";
    if settings.voters.len() > 1 || settings.voters.iter().any(|voter| voter.id != settings.node_id) {
        let own = settings.node_id.0;
        let allowed = format!("must name this node only ({own}@host:port): this version's quorum has one voter");
        return Err(raw.bad(VOTERS, &allowed));
    }
    if let Some(value) = raw.get(SERVERS) {
        let servers: Vec<&str> = value.value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        let port = servers.first().and_then(|server| server.rsplit_once(':')).and_then(|(_, port)| port.parse().ok());
        let is_own = settings.controller_listeners.iter().any(|listener| Some(listener.port) == port);
        if servers.len() != 1 || !is_own {
            let allowed = "must name this node's own controller listener only: this version's quorum has one voter";
            return Err(raw.bad(SERVERS, allowed));
        }
    }
    if raw.get("controller.quorum.auto.join.enable").is_some_and(|value| value.value.eq_ignore_ascii_case("true")) {
        warnings
            .push("controller.quorum.auto.join.enable has no effect: this version's quorum has one voter".to_owned());
    }
    Ok(())
}

/// What clients are told, in the order of the listeners; a host that no client can connect to is replaced by our name.
fn advertised(settings: &BrokerSettings) -> Vec<Listener> {
    let told = settings.listeners.iter().map(|bound| {
        let told = settings.advertised_listeners.iter().find(|told| told.name == bound.name).unwrap_or(bound);
        let mut told = told.clone();
        if matches!(told.host.as_str(), "" | "0.0.0.0" | "::") {
            told.host = host_name();
        }
        told
    });
    told.collect()
}

/// This host's name if it can be resolved here, else `localhost`.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let resolves = (name.as_str(), 0).to_socket_addrs().is_ok_and(|mut found| found.next().is_some());
    if resolves { name } else { "localhost".to_owned() }
}

/// `NAME://host:port`, with brackets around an IPv6 address.
pub fn endpoint(listener: &Listener) -> String {
    if listener.host.contains(':') {
        return format!("{}://[{}]:{}", listener.name, listener.host, listener.port);
    }
    format!("{}://{}:{}", listener.name, listener.host, listener.port)
}

#[cfg(test)]
mod tests;
