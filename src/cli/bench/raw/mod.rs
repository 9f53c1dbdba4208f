//! The raw client: cheaper than any broker, so that what is measured is the broker. It encodes its batches once,
//! pipelines requests over plain sockets and looks at nothing in an answer but errors and offsets.
//!
//! It speaks Produce 7 and Fetch 11, the newest versions that every broker of the protocol serves and that name topics
//! by name. Topics, leaders and offsets come from the library; TLS and SASL are left to it.

pub mod connection;
pub mod consume;
pub mod produce;
pub mod wire;

use std::net::{SocketAddr, ToSocketAddrs};

/// A broker and the partitions it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    pub host: String,
    pub port: u16,
    pub partitions: Vec<i32>,
}

impl Leader {
    pub fn address(&self) -> Result<SocketAddr, String> {
        let named = (self.host.as_str(), self.port);
        let found = named.to_socket_addrs().map_err(|error| format!("{}:{}: {error}", self.host, self.port))?.next();
        found.ok_or_else(|| format!("{}:{}: no address", self.host, self.port))
    }
}

/// Spreads connections over leaders: at least one each, more in turn. For each connection: which leader, and which of
/// its connections this is (number, of how many).
pub fn spread(leaders: usize, connections: usize) -> Vec<(usize, usize, usize)> {
    let count = connections.max(leaders);
    let of = |leader: usize| (count - leader).div_ceil(leaders);
    (0..count).map(|number| (number % leaders, number / leaders, of(number % leaders))).collect()
}

/// The share of one reader among several: no partition is read twice.
pub fn share(partitions: &[i32], number: usize, of: usize) -> Vec<i32> {
    partitions.iter().copied().skip(number).step_by(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leader_has_a_connection_and_every_partition_one_reader() {
        assert_eq!(spread(2, 1), [(0, 0, 1), (1, 0, 1)]);
        assert_eq!(spread(2, 5), [(0, 0, 3), (1, 0, 2), (0, 1, 3), (1, 1, 2), (0, 2, 3)]);
        let shares: Vec<Vec<i32>> = (0..3).map(|number| share(&[4, 5, 6, 7], number, 3)).collect();
        assert_eq!(shares, [vec![4, 7], vec![5], vec![6]]);
    }
}
