//! Builds the engines of a node as `node::run` does, with made-up facts, and collects what they tell.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::swarm::Swarm;
use crate::base::ids::{CoreId, NodeId, Uuid};
use crate::base::time::Now;
use crate::engine::{Engine, SessionLimits};
use crate::meta::settings::BrokerSettings;
use crate::shard::{Endpoint, JournalConfig, NodeFacts, Notice, ShardConfig};

/// What the engines of the running node have told and nobody has looked at yet.
pub type Notices = Rc<RefCell<Vec<(CoreId, Notice)>>>;

/// What all lives of the node have in common.
#[derive(Debug)]
pub struct NodePlan {
    settings: BrokerSettings,
    cores: u16,
    files_max: u32,
    tail_cache_bytes: u64,
    journal_lag_bytes: u64,
    in_work: (usize, usize, usize),
}

impl NodePlan {
    /// The settings of a run. `Err`: the simulator asks for settings that are refused.
    pub fn new(swarm: &Swarm) -> Result<NodePlan, String> {
        let fixed = [("node.id", "1"), ("auto.create.topics.enable", "false")];
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let values: BTreeMap<String, String> = fixed.into_iter().chain(swarm.broker_configs.iter().cloned()).collect();
        let mut settings = BrokerSettings::from_values(values).map_err(|errors| format!("{errors:?}"))?;
        settings.cores = Some(swarm.cores);
        let (cores, files_max, tail_cache_bytes) = (swarm.cores, swarm.files_max, swarm.tail_cache_bytes);
        let (journal_lag_bytes, in_work) = (swarm.journal_lag_bytes, swarm.in_work);
        Ok(NodePlan { settings, cores, files_max, tail_cache_bytes, journal_lag_bytes, in_work })
    }

    /// The engines of one life.
    pub fn engines(&self, seed: u64, clean: bool, now: Now, notices: &Notices) -> Vec<Engine> {
        let endpoint = Endpoint { listener: "PLAINTEXT".to_owned(), host: "127.0.0.1".to_owned(), port: 9092 };
        let facts = Rc::new(NodeFacts {
            node_id: NodeId(1),
            cluster_id: "simulated-cluster-id-0".to_owned(),
            directory_id: Uuid::from_random(*b"a made-up folder"),
            incarnation: Uuid::from_random(u128::from(seed).to_le_bytes()),
            endpoints: vec![endpoint],
        });
        let settings = Rc::new(self.settings.clone());
        let engine = |core: u16| {
            let config = ShardConfig {
                core: CoreId(core),
                cores: self.cores,
                settings: settings.clone(),
                node: facts.clone(),
                clean_start: clean,
                seed: seed ^ (u64::from(core) << 32),
                files_max: self.files_max,
                tail_cache_bytes: self.tail_cache_bytes,
                journal: JournalConfig {
                    bytes: self.settings.journal_bytes,
                    logs_min: self.settings.journal_partitions as usize,
                    lag_bytes: self.journal_lag_bytes,
                },
                member_bytes_max: 16 << 20,
            };
            let limits = SessionLimits {
                frame_bytes_max: 1 << 20,
                requests_per_connection: self.in_work.0,
                bytes_in_flight: self.in_work.1,
                bytes_out: self.in_work.2,
                idle_ms: self.settings.connections_idle_max_ms,
                fetch_sessions: 10,
                fetch_session_bytes: 1 << 20,
            };
            let notices = notices.clone();
            let report = move |core: CoreId, notice: Notice| notices.borrow_mut().push((core, notice));
            Engine::new(config, limits, now, Box::new(report))
        };
        (0..self.cores).map(engine).collect()
    }
}
