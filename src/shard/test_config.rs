//! What the tests of this floor and of the engine give a core: settings of the test's, everything else small.

use std::rc::Rc;

use super::{Endpoint, JournalConfig, NodeFacts, ShardConfig};
use crate::base::ids::{CoreId, NodeId, Uuid};
use crate::meta::settings::BrokerSettings;

/// Core 0 of a node with the id 1 and no journal, over a folder that was closed cleanly.
pub fn test_config(cores: u16, values: &[(&str, &str)]) -> ShardConfig {
    let values = [("node.id", "1")].iter().chain(values);
    let values = values.map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let node = NodeFacts {
        node_id: NodeId(1),
        cluster_id: "test".to_owned(),
        directory_id: Uuid([1; 16]),
        incarnation: Uuid([2; 16]),
        endpoints: vec![Endpoint { listener: "PLAINTEXT".to_owned(), host: "127.0.0.1".to_owned(), port: 9092 }],
    };
    ShardConfig {
        core: CoreId(0),
        cores,
        settings: Rc::new(BrokerSettings::from_values(values).expect("settings")),
        node: Rc::new(node),
        clean_start: true,
        seed: 1,
        files_max: 100,
        tail_cache_bytes: 1 << 20,
        journal: JournalConfig { bytes: 0, logs_min: 4, lag_bytes: 0 },
        member_bytes_max: 16 << 20,
    }
}
