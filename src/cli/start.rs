//! Runs a node.

use super::args::{ConfigArgs, StartArgs};
use super::output::{Failure, Out};
use crate::node::config::{ConfigSource, Cores, Driver, NodeConfig};

/// Loads the configuration, tells its warnings, runs the node until it is stopped.
pub fn run(args: &StartArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    let config = load(&args.config, args.cores.clone(), args.driver)?;
    for warning in &config.warnings {
        eprintln!("kataract: warning: {warning}");
    }
    out.flush()?;
    run_node(config).map_err(Failure::Message)
}

/// The configuration that these words stand for.
pub fn load(args: &ConfigArgs, cores: Option<Cores>, driver: Option<Driver>) -> Result<NodeConfig, Failure> {
    let (file, data) = (args.config.as_deref(), args.data.as_deref());
    let source = ConfigSource { file, set: &args.set, data, cores, driver };
    NodeConfig::load(&source).map_err(Failure::Message)
}

/// The one call into the wiring of a running node.
fn run_node(config: NodeConfig) -> Result<(), String> {
    Err(format!("node {}: this build has no engine to run it with", config.node_id().0))
}
