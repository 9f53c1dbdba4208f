//! Which CPUs run an engine, which addresses are listened on, how many files the process may hold.

use std::net::{SocketAddr, ToSocketAddrs};

use super::config::Cores;
use crate::base::limits::CORES_MAX;
use crate::meta::settings::Listener;

/// The CPU of each engine; `None`: not pinned.
pub fn cpus(wanted: Option<&Cores>) -> Result<Vec<Option<usize>>, String> {
    let allowed: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    let chosen: Vec<Option<usize>> = match wanted {
        None if allowed.is_empty() => vec![None],
        None => allowed[spared(allowed.len())..].iter().copied().map(Some).collect(),
        Some(Cores::Count(count)) => {
            // More engines than CPUs share them, so they are not pinned.
            let pin = usize::from(*count) <= allowed.len();
            (0..usize::from(*count)).map(|at| allowed.get(at).copied().filter(|_| pin)).collect()
        }
        Some(Cores::List(list)) => {
            for cpu in list {
                if !allowed.contains(&usize::from(*cpu)) {
                    return Err(format!("--cores: this process may not use CPU {cpu}; it may use {allowed:?}"));
                }
            }
            list.iter().map(|cpu| Some(usize::from(*cpu))).collect()
        }
    };
    if chosen.is_empty() || chosen.len() > CORES_MAX {
        return Err(format!("--cores: {} engines; 1 to {CORES_MAX} are possible", chosen.len()));
    }
    Ok(chosen)
}

/// CPUs that no engine runs on unless somebody says so: an eighth, one at least, and the first ones, where interrupts
/// go. The kernel needs them to flush, to serve interrupts and for our helpers; an engine that is put off there holds
/// up all that its core owns. On two CPUs one engine took 0.63 of what two took for a 16 KiB request, and served more.
fn spared(cpus: usize) -> usize {
    if cpus < 2 { 0 } else { (cpus / 8).max(1) }
}

/// The addresses of the listeners; an empty host stands for all of this machine's.
pub fn addresses(listeners: &[Listener]) -> Result<Vec<SocketAddr>, String> {
    let mut addresses = Vec::new();
    for listener in listeners {
        let host = if listener.host.is_empty() { "0.0.0.0" } else { &listener.host };
        let mut found = (host, listener.port)
            .to_socket_addrs()
            .map_err(|error| format!("listeners: {}: {error}", super::config::endpoint(listener)))?;
        addresses
            .push(found.next().ok_or_else(|| format!("listeners: {}: no address", super::config::endpoint(listener)))?);
    }
    Ok(addresses)
}

/// Files and sockets the process may hold open; raised to the hard limit first.
pub fn files_max() -> u32 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let granted = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    granted.and_then(|files| u32::try_from(files).ok()).unwrap_or(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_left_an_eighth_of_the_cpus_and_one_at_least_if_there_are_two() {
        assert_eq!([1, 2, 4, 8, 16, 64].map(spared), [0, 1, 1, 1, 2, 8]);
        let chosen = cpus(None).expect("some CPU");
        assert!(!chosen.is_empty());
    }
}
