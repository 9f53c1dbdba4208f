//! Runs a node.

use super::args::{ConfigArgs, StartArgs};
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::banner::{Banner, MemoryPart};
use super::output::{Failure, Out};
use crate::node::config::{ConfigSource, Cores, Driver, NodeConfig};
use crate::node::run::{self, NodeNotice, Notice, Started};

/// Loads the configuration, tells its warnings, runs the node until it is stopped.
pub fn run(args: &StartArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    let config = load(&args.config, args.cores.clone(), args.driver)?;
    for warning in &config.warnings {
        eprintln!("kataract: warning: {warning}");
    }
    out.flush()?;
    run_node(&config, out)
}

/// The configuration that these words stand for.
pub fn load(args: &ConfigArgs, cores: Option<Cores>, driver: Option<Driver>) -> Result<NodeConfig, Failure> {
    let (file, data) = (args.config.as_deref(), args.data.as_deref());
    let source = ConfigSource { file, set: &args.set, data, cores, driver };
    NodeConfig::load(&source).map_err(Failure::Message)
}

/// Events of the node go to standard error; `RUST_LOG` chooses which (information and above without it).
fn log_events() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if subscriber.with_ansi(std::io::stderr().is_terminal()).try_init().is_err() {
        eprintln!("kataract: events are not printed: this process prints others already");
    }
}

/// Runs the node and tells what it says: the banner on standard output, events on standard error.
fn run_node(config: &NodeConfig, out: &mut Out<'_>) -> Result<(), Failure> {
    let begun = std::time::Instant::now();
    log_events();
    let mut printed = Ok(());
    let result = run::run(config, &mut |notice| {
        let told = match notice {
            NodeNotice::Started(started) => banner(started).print(out),
            NodeNotice::Ready => ready(begun.elapsed().as_millis(), out),
            NodeNotice::Core(_, Notice::Recovered { log, report, remarkable }) => {
                if remarkable {
                    tracing::info!("{log}: recovered: {report}");
                } else {
                    tracing::debug!("{log}: recovered: {report}");
                }
                Ok(())
            }
            NodeNotice::Core(core, Notice::FolderOffline { reason }) => {
                tracing::error!("core {}: the log folder is offline: {reason}", core.0);
                Ok(())
            }
            NodeNotice::Core(..) => Ok(()),
        };
        if printed.is_ok() {
            printed = told;
        }
    });
    result.map_err(Failure::Message)?;
    printed
}

fn ready(ms: u128, out: &mut Out<'_>) -> Result<(), Failure> {
    if out.is_json() {
        out.json(&serde_json::json!({ "ready_ms": ms }))?;
    } else {
        out.line(format_args!("ready after {ms} ms"))?;
    }
    out.flush()
}

fn banner(started: Started) -> Banner {
    let plan = started.plan;
    let cores = started.cpus.len() as u64;
    let part = |name: &str, bytes: u64| MemoryPart { name: name.to_owned(), bytes };
    let per_core = plan.bytes_in_flight + plan.tail_cache + plan.bytes_out + plan.members + plan.fetch_sessions;
    let spoken = per_core * cores + plan.connection_bytes();
    let connections = format!("{} connections", plan.connections);
    let partitions = format!("{} partitions", plan.partitions);
    Banner {
        cluster_id: started.cluster_id,
        node_id: started.node_id,
        listeners: started.listeners,
        advertised: started.advertised,
        driver: started.driver.to_string(),
        driver_note: Some(started.driver_reason),
        cores: started.cpus,
        memory: vec![
            part("requests in flight", plan.bytes_in_flight * cores),
            part("tail cache", plan.tail_cache * cores),
            part("answers", plan.bytes_out * cores),
            part("groups", plan.members * cores),
            part("fetch sessions", plan.fetch_sessions * cores),
            part(&connections, plan.connection_bytes()),
            part(&partitions, plan.budget.saturating_sub(spoken)),
        ],
        data_dir: started.data_dir,
        data_state: started.data_state.to_owned(),
    }
}
