//! Prepares a data folder: writes its identity, refuses one that has an identity already.

use serde_json::json;

use super::args::FormatArgs;
use super::output::{Failure, Out};
use super::start::load;
use crate::base::ids::Uuid;
use crate::node::data_dir::DataDir;

/// Formats the folder that `kataract start` with the same words would use.
pub fn run(args: &FormatArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    if let Some(id) = &args.cluster_id
        && Uuid::parse(id).is_none_or(|id| id == Uuid::ZERO)
    {
        let text = format!("--cluster-id {id} is no cluster id: 22 characters of URL-safe base64, not all zero");
        return Err(Failure::Message(text));
    }
    let config = load(&args.config, None, None)?;
    let identity = DataDir::format(&config.data_dir, config.node_id(), args.cluster_id.as_deref())
        .map_err(|error| Failure::Message(error.to_string()))?;
    let data = config.data_dir.display();
    if out.is_json() {
        return out.json(&json!({
            "data": data.to_string(), "cluster_id": identity.cluster_id, "node_id": identity.node_id.0,
            "directory_id": identity.directory_id.to_string(),
        }));
    }
    out.line(format_args!("formatted {data}: cluster {}, node {}", identity.cluster_id, identity.node_id.0))
}
