//! The records inside a batch: as keys and values, as control records, or as records of the metadata log.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::super::output::{insert_bytes, printable};
use super::super::time_text::format_time;
use super::{Dump, Stop, metadata};
use crate::batch::control::{self, ControlRecord};
use crate::batch::records::{Record, RecordError, iter};
use crate::meta::record::Record as MetadataRecord;

/// Prints the records of one whole batch whose header and checksum are sound.
pub(super) fn dump(dump: &mut Dump<'_, '_>, batch: &Bytes, is_metadata: bool) -> Result<(), Stop> {
    let records = match iter(batch) {
        Ok(records) => records,
        Err(error) => return Ok(dump.problem(format_args!("records: {error}"))?),
    };
    let is_control = records.header().is_control();
    let (first, last) = (records.header().base_offset, records.header().last_offset());
    let mut due = first;
    for record in records {
        let record = match record {
            Ok(record) => record,
            Err(error) => return Ok(dump.problem(format_args!("record at offset {due} or later: {error}"))?),
        };
        if record.offset < due || record.offset > last {
            return Ok(dump.problem(format_args!("offset {}: {}", record.offset, RecordError::Offset))?);
        }
        due = record.offset.saturating_add(1);
        if is_control {
            control_record(dump, &record)?;
        } else if is_metadata {
            metadata_record(dump, &record)?;
        } else {
            plain_record(dump, &record)?;
        }
    }
    Ok(())
}

fn plain_record(dump: &mut Dump<'_, '_>, record: &Record) -> Result<(), Stop> {
    let mut fields = place(record);
    insert_bytes(&mut fields, "key", record.key.as_deref());
    insert_bytes(&mut fields, "value", record.value.as_deref());
    let mut headers = Vec::new();
    let mut text = String::new();
    if let Some(key) = &record.key {
        text.push_str(&format!(" key={}", printable(key)));
    }
    for (name, value) in &record.headers {
        let mut header = Map::new();
        insert_bytes(&mut header, "key", Some(name));
        insert_bytes(&mut header, "value", value.as_deref());
        headers.push(Value::from(header));
        let value = value.as_deref().map_or_else(|| "null".to_owned(), printable);
        text.push_str(&format!(" header.{}={value}", printable(name)));
    }
    fields.insert("headers".to_owned(), Value::from(headers));
    let value = record.value.as_deref().map_or_else(|| "(null)".to_owned(), printable);
    let time = format_time(record.timestamp);
    Ok(dump.item("record", format_args!("  {} {time}{text}: {value}", record.offset), Value::from(fields))?)
}

/// Offset and time, which every kind of record has.
fn place(record: &Record) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("offset".to_owned(), Value::from(record.offset));
    fields.insert("timestamp".to_owned(), Value::from(record.timestamp));
    fields
}

fn metadata_record(dump: &mut Dump<'_, '_>, record: &Record) -> Result<(), Stop> {
    let Some(value) = record.value.as_deref() else {
        return Ok(dump.problem(format_args!("offset {}: a metadata record without a value", record.offset))?);
    };
    match MetadataRecord::decode(value) {
        // They come twice a second on an idle controller.
        Ok(MetadataRecord::NoOp) if !dump.records => Ok(()),
        Ok(decoded) => {
            let (name, (_, version)) = (metadata::name(&decoded), decoded.key_and_version());
            let mut fields = place(record);
            fields.insert("type".to_owned(), Value::from(name.as_str()));
            fields.insert("version".to_owned(), Value::from(version));
            fields.insert("fields".to_owned(), metadata::fields(&decoded));
            let text = metadata::text(&decoded);
            let line = format!("  {} {name} v{version} {text}", record.offset);
            Ok(dump.item("metadata record", format_args!("{}", line.trim_end()), Value::from(fields))?)
        }
        Err(error) => Ok(dump.problem(format_args!("offset {}: {error}", record.offset))?),
    }
}

fn control_record(dump: &mut Dump<'_, '_>, record: &Record) -> Result<(), Stop> {
    let (key, value) = (record.key.as_deref().unwrap_or_default(), record.value.as_deref().unwrap_or_default());
    let decoded = match control::decode(key, value) {
        Ok(decoded) => decoded,
        Err(error) => return Ok(dump.problem(format_args!("offset {}: {error}", record.offset))?),
    };
    let (name, what) = match decoded {
        ControlRecord::EndTxn(marker) => {
            let name = if marker.commit { "Commit" } else { "Abort" };
            (name, json!({"coordinator_epoch": marker.coordinator_epoch}))
        }
        ControlRecord::LeaderChange(change) => {
            let ids: Vec<i32> = change.voters.iter().map(|(id, _)| id.0).collect();
            let granting: Vec<i32> = change.granting_voters.iter().map(|(id, _)| id.0).collect();
            ("LeaderChange", json!({"leader": change.leader.0, "voters": ids, "granting_voters": granting}))
        }
        ControlRecord::SnapshotHeader { last_contained_log_timestamp } => {
            ("SnapshotHeader", json!({"last_contained_log_timestamp": last_contained_log_timestamp}))
        }
        ControlRecord::SnapshotFooter => ("SnapshotFooter", json!({})),
        ControlRecord::KRaftVersion { kraft_version } => ("KRaftVersion", json!({"kraft_version": kraft_version})),
        ControlRecord::Voters(voters) => {
            let voters: Vec<Value> = voters
                .iter()
                .map(|voter| json!({"id": voter.id.0, "directory_id": voter.directory_id.to_string()}))
                .collect();
            ("KRaftVoters", json!({"voters": voters}))
        }
        ControlRecord::Unknown { kind } => ("Unknown", json!({"type": kind})),
    };
    let mut fields = place(record);
    fields.insert("type".to_owned(), Value::from(name));
    let line = format!("  {} control {name} {what}", record.offset);
    fields.insert("fields".to_owned(), what);
    Ok(dump.item("control record", format_args!("{line}"), Value::from(fields))?)
}
