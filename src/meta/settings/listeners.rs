//! `NAME://host:port`, as `listeners` and `advertised.listeners` hold them.

use std::collections::BTreeMap;

use super::SettingError;
use super::value::parse_list;

/// The security protocols Kafka knows; this version speaks the first one only.
const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

/// A named address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    /// Without the brackets of an IPv6 address. Empty: all interfaces, or (advertised) the host's own name.
    pub host: String,
    pub port: u16,
}

/// Parses one address; the reason says what is allowed.
fn parse_one(text: &str) -> Result<Listener, &'static str> {
    const FORM: &str = "must be NAME://host:port";
    let (name, address) = text.split_once("://").ok_or(FORM)?;
    let (host, port) = address.rsplit_once(':').ok_or(FORM)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(legal) {
        return Err("a listener name has letters, digits, '_', '-' and '.' only");
    }
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or(FORM)?,
        None if host.contains([':', '/']) => return Err("an IPv6 address stands in brackets"),
        None => host,
    };
    let port = port.parse().map_err(|_| "the port must be a number from 0 to 65535")?;
    Ok(Listener { name: name.to_ascii_uppercase(), host: host.to_owned(), port })
}

/// Parses a list of addresses with distinct names.
pub(super) fn parse(key: &str, value: &str) -> Result<Vec<Listener>, SettingError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for element in parse_list(value) {
        let listener = parse_one(element).map_err(|reason| SettingError::new(key, element, reason))?;
        if listeners.iter().any(|other| other.name == listener.name) {
            return Err(SettingError::new(key, element, "each listener must have its own name"));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Two listeners cannot open the same port on the same interface; port 0 asks for any free one.
pub(super) fn check_ports(key: &str, listeners: &[Listener]) -> Result<(), SettingError> {
    for (index, one) in listeners.iter().enumerate() {
        let clash = |other: &&Listener| {
            other.port == one.port && (other.host == one.host || other.host.is_empty() || one.host.is_empty())
        };
        if one.port != 0 && listeners[..index].iter().any(|other| clash(&other)) {
            let text = format!("{}://{}:{}", one.name, one.host, one.port);
            return Err(SettingError::new(key, &text, "each listener must have its own port"));
        }
    }
    Ok(())
}

/// Parses `NAME:PROTOCOL,...`.
pub(super) fn parse_protocols(key: &str, value: &str) -> Result<BTreeMap<String, String>, SettingError> {
    let mut map = BTreeMap::new();
    for element in parse_list(value) {
        let (name, protocol) =
            element.rsplit_once(':').ok_or_else(|| SettingError::new(key, element, "must be NAME:PROTOCOL"))?;
        let protocol = protocol.trim().to_ascii_uppercase();
        if !PROTOCOLS.contains(&protocol.as_str()) {
            let reason = format!("the security protocol must be one of {}", PROTOCOLS.join(", "));
            return Err(SettingError::new(key, element, reason));
        }
        map.insert(name.trim().to_ascii_uppercase(), protocol);
    }
    Ok(map)
}

/// Every listener must map to PLAINTEXT, the one protocol of this version.
pub(super) fn check_protocols(
    key: &str,
    listeners: &[Listener],
    protocols: &BTreeMap<String, String>,
    controllers: &[String],
) -> Result<(), SettingError> {
    for listener in listeners {
        match protocols.get(&listener.name).map(String::as_str) {
            Some("PLAINTEXT") => {}
            Some(protocol) => {
                let reason = format!("{protocol} is not supported by this version, only PLAINTEXT");
                return Err(SettingError::new(key, &listener.name, reason));
            }
            // Kafka's rule: a controller listener without mapping is PLAINTEXT.
            None if controllers.contains(&listener.name) => {}
            None => {
                let reason = "has no security protocol in listener.security.protocol.map";
                return Err(SettingError::new(key, &listener.name, reason));
            }
        }
    }
    Ok(())
}
