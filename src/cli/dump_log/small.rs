//! The small files beside the segments: checkpoints, identities, producer snapshots. Read whole, within a bound, and
//! decoded by the log floor: what the dump refuses, a starting node refuses too.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::super::output::printable;
use super::super::time_text::format_time;
use super::{Dump, Stop};
use crate::log::checkpoint;
use crate::log::epochs::EpochCache;
use crate::log::producers::ProducerStates;

/// Largest small file, bytes; a producer snapshot of a million producers still fits.
const BYTES_MAX: u64 = 64 << 20;

/// The whole file; `None` when it is too large to be what it says (already told).
fn read(dump: &mut Dump<'_, '_>, path: &Path) -> Result<Option<Vec<u8>>, Stop> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        dump.problem(format_args!("larger than {BYTES_MAX} bytes"))?;
        return Ok(None);
    }
    Ok(Some(bytes))
}

/// The whole file as text; `None` when it is none (already told).
fn read_text(dump: &mut Dump<'_, '_>, path: &Path) -> Result<Option<String>, Stop> {
    let Some(bytes) = read(dump, path)? else { return Ok(None) };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            dump.problem(format_args!("no text: {}", error.utf8_error()))?;
            Ok(None)
        }
    }
}

/// A checkpoint's text; `None` when there is nothing to decode (told). Kafka makes checkpoint files empty at first.
fn read_checkpoint(dump: &mut Dump<'_, '_>, path: &Path) -> Result<Option<String>, Stop> {
    let text = read_text(dump, path)?;
    if text.as_deref() == Some("") {
        dump.item("empty", format_args!("empty"), Value::Null)?;
        return Ok(None);
    }
    Ok(text)
}

/// `topic partition offset` lines.
pub fn offset_checkpoint(dump: &mut Dump<'_, '_>, path: &Path) -> Result<(), Stop> {
    let Some(text) = read_checkpoint(dump, path)? else { return Ok(()) };
    match checkpoint::decode_offsets(&text) {
        Ok(offsets) => {
            for ((topic, partition), offset) in &offsets {
                let fields = json!({"topic": topic, "partition": partition, "offset": offset});
                let topic = printable(topic.as_bytes());
                dump.item("checkpoint", format_args!("{topic}-{partition}: {offset}"), fields)?;
            }
        }
        Err(error) => dump.problem(format_args!("{error}"))?,
    }
    Ok(())
}

/// `epoch start-offset` lines, both growing.
pub fn leader_epochs(dump: &mut Dump<'_, '_>, path: &Path) -> Result<(), Stop> {
    let Some(text) = read_checkpoint(dump, path)? else { return Ok(()) };
    match EpochCache::decode(&text) {
        Ok(epochs) => {
            for entry in epochs.entries() {
                let fields = json!({"epoch": entry.epoch, "start_offset": entry.start_offset});
                let text = format_args!("epoch {} starts at {}", entry.epoch, entry.start_offset);
                dump.item("leader epoch", text, fields)?;
            }
        }
        Err(error) => dump.problem(format_args!("{error}"))?,
    }
    Ok(())
}

/// `partition.metadata`: the topic's id.
pub fn partition_metadata(dump: &mut Dump<'_, '_>, path: &Path) -> Result<(), Stop> {
    let Some(text) = read_text(dump, path)? else { return Ok(()) };
    match checkpoint::decode_partition_metadata(&text) {
        Ok(id) => {
            let fields = json!({"topic_id": id.to_string()});
            dump.item("partition metadata", format_args!("topic id {id}"), fields)?;
        }
        Err(error) => dump.problem(format_args!("{error}"))?,
    }
    Ok(())
}

/// `quorum-state`: what a voter must remember.
pub fn quorum_state(dump: &mut Dump<'_, '_>, path: &Path) -> Result<(), Stop> {
    let Some(text) = read_text(dump, path)? else { return Ok(()) };
    match checkpoint::decode_quorum_state(&text) {
        Ok(state) => {
            let directory = state.voted_directory_id;
            let fields = json!({
                "leader_id": state.leader_id, "leader_epoch": state.leader_epoch, "voted_id": state.voted_id,
                "voted_directory_id": directory.to_string(),
            });
            let text = format_args!(
                "leader {} in epoch {}, voted for {} (directory {directory})",
                state.leader_id, state.leader_epoch, state.voted_id
            );
            dump.item("quorum state", text, fields)?;
        }
        Err(error) => dump.problem(format_args!("{error}"))?,
    }
    Ok(())
}

/// `.kafka_cleanshutdown`: there only between a clean stop and the next start.
pub fn clean_shutdown(dump: &mut Dump<'_, '_>, path: &Path) -> Result<(), Stop> {
    let Some(text) = read_text(dump, path)? else { return Ok(()) };
    match checkpoint::decode_clean_shutdown(&text) {
        Ok(epoch) => {
            let told = epoch.map_or_else(|| "unknown".to_owned(), |epoch| epoch.to_string());
            let fields = json!({"broker_epoch": epoch});
            dump.item("clean shutdown", format_args!("stopped cleanly, broker epoch {told}"), fields)?;
        }
        Err(error) => dump.problem(format_args!("{error}"))?,
    }
    Ok(())
}

/// `meta.properties`: the folder's identity.
pub fn meta_properties(dump: &mut Dump<'_, '_>, path: &Path) -> Result<(), Stop> {
    let Some(bytes) = read(dump, path)? else { return Ok(()) };
    let mut found = std::collections::BTreeMap::new();
    let parsed = java_properties::PropertiesIter::new(bytes.as_slice()).read_into(|key, value| {
        found.insert(key, value);
    });
    if let Err(error) = parsed {
        dump.problem(format_args!("{error}"))?;
    }
    for key in ["version", "cluster.id", "node.id"] {
        if !found.contains_key(key) {
            dump.problem(format_args!("{key} is missing"))?;
        }
    }
    for (key, value) in &found {
        let fields = json!({"key": key, "value": value});
        let text = format_args!("{}={}", printable(key.as_bytes()), printable(value.as_bytes()));
        dump.item("property", text, fields)?;
    }
    Ok(())
}

/// `<offset>.snapshot`: the idempotent producers of the partition up to that offset.
pub fn producers(dump: &mut Dump<'_, '_>, path: &Path) -> Result<(), Stop> {
    let Some(bytes) = read(dump, path)? else { return Ok(()) };
    let states = match ProducerStates::decode_snapshot(&bytes) {
        Ok(states) => states,
        Err(error) => return Ok(dump.problem(format_args!("{error}"))?),
    };
    for (id, state) in states.iter() {
        let last = state.last_batch();
        let batch = last.map_or_else(
            || "no batch in this epoch".to_owned(),
            |last| {
                let first = last.last_offset.saturating_sub(i64::from(last.offset_delta));
                format!("last batch at offsets {first} to {}, last sequence {}", last.last_offset, last.last_sequence)
            },
        );
        let open = state.txn_first_offset.map(|first| format!(", transaction open since offset {first}"));
        let fields = json!({
            "producer_id": id, "epoch": state.epoch, "timestamp": state.last_timestamp,
            "coordinator_epoch": state.coordinator_epoch, "transaction_first_offset": state.txn_first_offset,
            "last_sequence": last.map(|last| last.last_sequence), "last_offset": last.map(|last| last.last_offset),
            "offset_delta": last.map(|last| last.offset_delta),
        });
        let text = format_args!(
            "producer {id} epoch {}: {batch}, {}{}",
            state.epoch,
            format_time(state.last_timestamp),
            open.unwrap_or_default()
        );
        dump.item("producer", text, fields)?;
    }
    let text = super::super::output::count_of(states.len() as u64, "producer");
    Ok(dump.item("producer snapshot", format_args!("{text}"), json!({"producers": states.len()}))?)
}
