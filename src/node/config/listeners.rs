//! Listeners: where the node listens and what it tells clients to connect to.
//!
//! Only the PLAINTEXT protocol is there. The controller's listener of a combined node is understood and checked, but not
//! opened: no other voter can join, and this node's controller talks to its broker inside the process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::properties::Properties;

/// `NAME://host:port` as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Listener name, upper case.
    pub name: String,
    /// A name or an address without brackets; empty stands for all addresses of the host.
    pub host: String,
    pub port: u16,
}

/// Where the broker listens, and the address that clients of that listener are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub bind: Endpoint,
    pub advertised_host: String,
    /// 0 when the bound port is 0 too: advertise the one the system chooses.
    pub advertised_port: u16,
}

/// All listeners of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// At least one; the first is also the one between brokers unless the settings name another.
    pub broker: Vec<Listener>,
    /// Name of the listener between brokers.
    pub inter_broker: String,
    /// Controller listeners of the file: known, not opened.
    pub controller: Vec<Endpoint>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "{}://[{}]:{}", self.name, self.host, self.port);
        }
        write!(f, "{}://{}:{}", self.name, self.host, self.port)
    }
}

impl Endpoint {
    /// Whether the endpoint stands for every address of the host.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }
}

const FORM: &str = "must be a list of NAME://host:port";

fn parse_endpoint(text: &str) -> Option<Endpoint> {
    let (name, rest) = text.trim().split_once("://")?;
    let (host, port) = rest.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let is_name = |symbol: char| symbol.is_ascii_alphanumeric() || matches!(symbol, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(is_name) || host.contains(['/', ' ', '@']) {
        return None;
    }
    Some(Endpoint { name: name.to_ascii_uppercase(), host: host.to_owned(), port: port.parse().ok()? })
}

/// The endpoints of a list setting, each name once.
fn endpoints(properties: &Properties, key: &str) -> Result<Option<Vec<Endpoint>>, String> {
    let Some(raw) = properties.get(key) else { return Ok(None) };
    let mut list: Vec<Endpoint> = Vec::new();
    for part in raw.value.split(',').filter(|part| !part.trim().is_empty()) {
        let endpoint = parse_endpoint(part).ok_or_else(|| properties.bad(key, FORM))?;
        if list.iter().any(|other| other.name == endpoint.name) {
            return Err(properties.bad(key, &format!("the listener {} is named twice", endpoint.name)));
        }
        list.push(endpoint);
    }
    Ok(Some(list))
}

/// Names of a list setting, upper case.
fn names(properties: &Properties, key: &str) -> BTreeSet<String> {
    let value = properties.get(key).map_or("", |raw| raw.value.as_str());
    value.split(',').map(|name| name.trim().to_ascii_uppercase()).filter(|name| !name.is_empty()).collect()
}

/// The protocol of a listener: by the map, or its own name, or (a controller's) PLAINTEXT.
fn check_protocols(properties: &Properties, all: &[Endpoint], controllers: &BTreeSet<String>) -> Result<(), String> {
    const MAP: &str = "listener.security.protocol.map";
    let mut map = BTreeMap::new();
    if let Some(raw) = properties.get(MAP) {
        for part in raw.value.split(',').filter(|part| !part.trim().is_empty()) {
            let (name, protocol) =
                part.split_once(':').ok_or_else(|| properties.bad(MAP, "must be a list of NAME:PROTOCOL"))?;
            map.insert(name.trim().to_ascii_uppercase(), protocol.trim().to_ascii_uppercase());
        }
    }
    for endpoint in all {
        let is_protocol = matches!(endpoint.name.as_str(), "PLAINTEXT" | "SSL" | "SASL_PLAINTEXT" | "SASL_SSL");
        let protocol = match map.get(&endpoint.name) {
            Some(protocol) => protocol.as_str(),
            None if is_protocol => endpoint.name.as_str(),
            None if controllers.contains(&endpoint.name) => "PLAINTEXT",
            None => {
                let text = format!("the listener {} needs an entry in {MAP}", endpoint.name);
                return Err(properties.bad("listeners", &text));
            }
        };
        if protocol != "PLAINTEXT" {
            let text = format!("the listener {} wants {protocol}; this version has only PLAINTEXT", endpoint.name);
            return Err(properties.bad("listeners", &text));
        }
    }
    Ok(())
}

/// Reads and checks everything about listeners. `host_name` is asked only when a listener on all addresses has no
/// advertised one.
pub fn listeners(
    properties: &Properties,
    host_name: impl Fn() -> String,
    warnings: &mut Vec<String>,
) -> Result<Listeners, String> {
    let default = Endpoint { name: "PLAINTEXT".to_owned(), host: "127.0.0.1".to_owned(), port: 9092 };
    let all = endpoints(properties, "listeners")?.unwrap_or_else(|| vec![default]);
    let controllers = names(properties, "controller.listener.names");
    check_protocols(properties, &all, &controllers)?;
    let mut ports = BTreeMap::new();
    for endpoint in all.iter().filter(|endpoint| endpoint.port != 0) {
        if let Some(other) = ports.insert((endpoint.port, &endpoint.host), &endpoint.name) {
            let text = format!("{other} and {} have the same address", endpoint.name);
            return Err(properties.bad("listeners", &text));
        }
    }
    let (controller, bound): (Vec<Endpoint>, Vec<Endpoint>) =
        all.into_iter().partition(|endpoint| controllers.contains(&endpoint.name));
    if bound.is_empty() {
        return Err(properties.bad("listeners", "must name a listener for clients, not only the controller's"));
    }
    for endpoint in &controller {
        warnings.push(format!("{endpoint} is not opened: no other controller can join this version's quorum"));
    }
    let advertised = endpoints(properties, "advertised.listeners")?.unwrap_or_default();
    for endpoint in &advertised {
        let text = if endpoint.is_wildcard() {
            format!("{endpoint} is no address that a client can connect to")
        } else if bound.iter().chain(&controller).all(|known| known.name != endpoint.name) {
            format!("{} is not among the listeners", endpoint.name)
        } else {
            continue;
        };
        return Err(properties.bad("advertised.listeners", &text));
    }
    let inter_broker = inter_broker(properties, &bound)?;
    let broker = bound.into_iter().map(|bind| advertise(bind, &advertised, &host_name)).collect();
    Ok(Listeners { broker, inter_broker, controller })
}

fn advertise(bind: Endpoint, advertised: &[Endpoint], host_name: &impl Fn() -> String) -> Listener {
    let (host, port) = match advertised.iter().find(|endpoint| endpoint.name == bind.name) {
        Some(endpoint) => (endpoint.host.clone(), endpoint.port),
        None if bind.is_wildcard() => (host_name(), bind.port),
        None => (bind.host.clone(), bind.port),
    };
    Listener { bind, advertised_host: host, advertised_port: port }
}

fn inter_broker(properties: &Properties, bound: &[Endpoint]) -> Result<String, String> {
    const NAME: &str = "inter.broker.listener.name";
    const PROTOCOL: &str = "security.inter.broker.protocol";
    if let Some(raw) = properties.get(PROTOCOL) {
        if properties.get(NAME).is_some() {
            return Err(properties.bad(PROTOCOL, &format!("must not be set together with {NAME}")));
        }
        if raw.value != "PLAINTEXT" {
            return Err(properties.bad(PROTOCOL, "this version has only PLAINTEXT"));
        }
    }
    if let Some(raw) = properties.get(NAME) {
        let name = raw.value.to_ascii_uppercase();
        if bound.iter().all(|endpoint| endpoint.name != name) {
            return Err(properties.bad(NAME, "must be one of the listeners (and not a controller's)"));
        }
        return Ok(name);
    }
    let first = bound.iter().find(|endpoint| endpoint.name == "PLAINTEXT").unwrap_or(&bound[0]);
    Ok(first.name.clone())
}
