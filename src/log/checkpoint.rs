//! The small text files of a data folder, encoded and decoded as Kafka does, so that either broker can take over the
//! other's folder. Nothing here touches a file: text in, values out.
//!
//! Offset checkpoints are lines: version 0, number of entries, then one entry a line. They carry no checksum; a writer
//! must replace the file as a whole (write beside it, sync, rename). A malformed file is an error with its line.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::ids::Uuid;

/// Offsets up to which each log of a folder is known to be on disk.
pub const RECOVERY_POINT_FILE: &str = "recovery-point-offset-checkpoint";
/// Log start offsets that DeleteRecords moved.
pub const LOG_START_OFFSET_FILE: &str = "log-start-offset-checkpoint";
/// High watermarks.
pub const REPLICATION_OFFSET_FILE: &str = "replication-offset-checkpoint";
/// Leader epochs of one partition; see [`EpochCache`](super::epochs::EpochCache).
pub const LEADER_EPOCH_FILE: &str = "leader-epoch-checkpoint";
/// Topic id of one partition.
pub const PARTITION_METADATA_FILE: &str = "partition.metadata";
/// Exists only after a clean shutdown.
pub const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";
/// Vote and leader of the metadata quorum.
pub const QUORUM_STATE_FILE: &str = "quorum-state";

/// Why the content of a small file was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// The file ends before its count is reached, or has no version line.
    Short,
    /// A version other than the one known.
    Version { found: String },
    /// The count is no number, or more entries follow than it says.
    Count,
    /// A line (counted from 1) that is no valid entry.
    Entry { line: usize },
    /// JSON that does not parse, or lacks a field, or has a value out of range.
    Json { reason: String },
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointError::Short => f.write_str("the file ends too early"),
            CheckpointError::Version { found } => write!(f, "unknown version {found:?}"),
            CheckpointError::Count => f.write_str("the number of entries is wrong"),
            CheckpointError::Entry { line } => write!(f, "line {line} is malformed"),
            CheckpointError::Json { reason } => write!(f, "malformed JSON: {reason}"),
        }
    }
}

impl std::error::Error for CheckpointError {}

/// Reads the common frame of the line files: version, count, entries of N words.
pub(super) struct Lines<'a> {
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    left: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn begin(text: &'a str) -> Result<Lines<'a>, CheckpointError> {
        let mut lines = text.lines().enumerate();
        let (_, version) = lines.next().ok_or(CheckpointError::Short)?;
        if version.trim() != "0" {
            return Err(CheckpointError::Version { found: version.chars().take(40).collect() });
        }
        let (_, count) = lines.next().ok_or(CheckpointError::Short)?;
        let left = count.trim().parse().map_err(|_| CheckpointError::Count)?;
        Ok(Lines { lines, left })
    }

    /// Line number (from 1) and words of the next entry; `None` after the last.
    pub(super) fn next_entry<const N: usize>(&mut self) -> Result<Option<(usize, [&'a str; N])>, CheckpointError> {
        if self.left == 0 {
            return match self.lines.next() {
                Some((_, line)) if !line.trim().is_empty() => Err(CheckpointError::Count),
                _ => Ok(None),
            };
        }
        let (index, line) = self.lines.next().ok_or(CheckpointError::Short)?;
        self.left -= 1;
        let mut words = line.split_whitespace();
        let mut entry = [""; N];
        for slot in &mut entry {
            *slot = words.next().ok_or(CheckpointError::Entry { line: index + 1 })?;
        }
        if words.next().is_some() {
            return Err(CheckpointError::Entry { line: index + 1 });
        }
        Ok(Some((index + 1, entry)))
    }
}

/// Offsets by (topic name, partition): the content of the three offset checkpoints.
pub type Offsets = BTreeMap<(String, i32), i64>;

/// The text of an offset checkpoint: version 0, count, then "topic partition offset" lines.
pub fn encode_offsets(offsets: &Offsets) -> String {
    let mut text = format!("0\n{}\n", offsets.len());
    for ((topic, partition), offset) in offsets {
        text.push_str(&format!("{topic} {partition} {offset}\n"));
    }
    text
}

/// Reads an offset checkpoint. A partition named twice, or a negative number, is an error.
pub fn decode_offsets(text: &str) -> Result<Offsets, CheckpointError> {
    let mut lines = Lines::begin(text)?;
    let mut offsets = Offsets::new();
    while let Some((line, [topic, partition, offset])) = lines.next_entry::<3>()? {
        let bad = || CheckpointError::Entry { line };
        let partition: i32 = partition.parse().map_err(|_| bad())?;
        let offset: i64 = offset.parse().map_err(|_| bad())?;
        if partition < 0 || offset < 0 || offsets.insert((topic.to_owned(), partition), offset).is_some() {
            return Err(bad());
        }
    }
    Ok(offsets)
}

/// The text of `partition.metadata`.
pub fn encode_partition_metadata(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// The topic id in `partition.metadata`; a zero id is an error, as no partition has one.
pub fn decode_partition_metadata(text: &str) -> Result<Uuid, CheckpointError> {
    let mut lines = text.lines();
    let version = lines.next().ok_or(CheckpointError::Short)?;
    if version.strip_prefix("version:").map(str::trim) != Some("0") {
        return Err(CheckpointError::Version { found: version.chars().take(40).collect() });
    }
    let id = lines.next().ok_or(CheckpointError::Short)?;
    id.strip_prefix("topic_id:")
        .and_then(|id| Uuid::parse(id.trim()))
        .filter(|&id| id != Uuid::ZERO)
        .ok_or(CheckpointError::Entry { line: 2 })
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CleanShutdownJson {
    version: i32,
    broker_epoch: i64,
}

/// The text of `.kafka_cleanshutdown`: the epoch the broker had when it stopped (KIP-966).
pub fn encode_clean_shutdown(broker_epoch: i64) -> String {
    format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}")
}

/// The broker epoch in `.kafka_cleanshutdown`; `None` for the empty file that brokers before 4.0 left behind.
pub fn decode_clean_shutdown(text: &str) -> Result<Option<i64>, CheckpointError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let content: CleanShutdownJson = from_json(text)?;
    if content.version != 0 {
        return Err(CheckpointError::Version { found: content.version.to_string() });
    }
    Ok(Some(content.broker_epoch))
}

fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, CheckpointError> {
    serde_json::from_str(text).map_err(|error| CheckpointError::Json { reason: error.to_string() })
}

/// What a member of the quorum must remember across restarts (QuorumStateData).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumState {
    /// Known leader; −1 when none.
    pub leader_id: i32,
    pub leader_epoch: i32,
    /// Whom this member voted for in this epoch; −1 when nobody.
    pub voted_id: i32,
    /// The directory of the one voted for; zero when unknown (KIP-853).
    pub voted_directory_id: Uuid,
}

/// Version 1 as Kafka writes it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct QuorumStateJson {
    leader_id: i32,
    leader_epoch: i32,
    voted_id: i32,
    #[serde(default)]
    voted_directory_id: Option<String>,
    #[serde(rename = "data_version")]
    data_version: i32,
}

/// The text of `quorum-state`, version 1.
pub fn encode_quorum_state(state: &QuorumState) -> String {
    format!(
        "{{\"leaderId\":{},\"leaderEpoch\":{},\"votedId\":{},\"votedDirectoryId\":\"{}\",\"data_version\":1}}",
        state.leader_id, state.leader_epoch, state.voted_id, state.voted_directory_id
    )
}

/// Reads `quorum-state` of version 1, and of version 0 (kraft.version 0), whose other fields carry nothing.
pub fn decode_quorum_state(text: &str) -> Result<QuorumState, CheckpointError> {
    let json: QuorumStateJson = from_json(text)?;
    let voted_directory_id = match (json.data_version, json.voted_directory_id) {
        (0, _) => Uuid::ZERO,
        (1, Some(id)) => Uuid::parse(&id)
            .ok_or_else(|| CheckpointError::Json { reason: "votedDirectoryId is not an id".to_owned() })?,
        (1, None) => return Err(CheckpointError::Json { reason: "votedDirectoryId is missing".to_owned() }),
        (other, _) => return Err(CheckpointError::Version { found: other.to_string() }),
    };
    if json.leader_id < -1 || json.leader_epoch < -1 || json.voted_id < -1 {
        return Err(CheckpointError::Json { reason: "an id or epoch is below -1".to_owned() });
    }
    Ok(QuorumState {
        leader_id: json.leader_id,
        leader_epoch: json.leader_epoch,
        voted_id: json.voted_id,
        voted_directory_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_checkpoints_are_kafkas_text() {
        let text = "0\n3\n__consumer_offsets 13 0\nplain 0 400\nplain 1 804\n";
        let offsets = decode_offsets(text).expect("offsets");
        assert_eq!(offsets.get(&("plain".to_owned(), 1)), Some(&804));
        assert_eq!(encode_offsets(&offsets), text);
        assert_eq!(decode_offsets("0\n0\n"), Ok(Offsets::new()));
    }

    #[test]
    fn malformed_offset_checkpoints_name_their_fault() {
        assert_eq!(decode_offsets(""), Err(CheckpointError::Short));
        assert_eq!(decode_offsets("1\n0\n"), Err(CheckpointError::Version { found: "1".to_owned() }));
        assert_eq!(decode_offsets("0\nx\n"), Err(CheckpointError::Count));
        assert_eq!(decode_offsets("0\n99999999999999\n"), Err(CheckpointError::Short), "a count is no promise");
        assert_eq!(decode_offsets("0\n1\na 0 1\na 1 1\n"), Err(CheckpointError::Count));
        for entry in ["a 0", "a 0 1 2", "a x 1", "a 0 -1", "a -1 1", "a 0 1\na 0 1"] {
            let count = entry.lines().count();
            let error = decode_offsets(&format!("0\n{count}\n{entry}\n")).expect_err(entry);
            assert_eq!(error, CheckpointError::Entry { line: 2 + count }, "{entry}");
        }
    }

    #[test]
    fn partition_metadata_is_kafkas_text() {
        let text = "version: 0\ntopic_id: x8H_tezgRjqfe7T5xafMrQ";
        let id = decode_partition_metadata(text).expect("id");
        assert_eq!(encode_partition_metadata(id), text);
        for text in ["", "version: 1\ntopic_id: x8H_tezgRjqfe7T5xafMrQ", "version: 0\n", "version: 0\ntopic_id: x"] {
            assert!(decode_partition_metadata(text).is_err(), "{text:?}");
        }
        assert!(decode_partition_metadata(&encode_partition_metadata(Uuid::ZERO)).is_err());
    }

    #[test]
    fn the_clean_shutdown_file_carries_the_broker_epoch() {
        // As Apache Kafka 4.2 wrote it.
        assert_eq!(encode_clean_shutdown(12), "{\"version\":0,\"brokerEpoch\":12}");
        assert_eq!(decode_clean_shutdown(&encode_clean_shutdown(77)), Ok(Some(77)));
        assert_eq!(decode_clean_shutdown(""), Ok(None));
        assert!(decode_clean_shutdown("{\"version\":1,\"brokerEpoch\":7}").is_err());
        assert!(decode_clean_shutdown("{").is_err());
    }

    #[test]
    fn quorum_state_is_read_in_both_versions_and_written_in_the_newer() {
        // As Apache Kafka 4.2 wrote it with kraft.version 0.
        let old = "{\"clusterId\":\"\",\"leaderId\":0,\"leaderEpoch\":2,\"votedId\":-1,\"appliedOffset\":0,\
                   \"currentVoters\":[{\"voterId\":0}],\"data_version\":0}";
        let state = decode_quorum_state(old).expect("version 0");
        assert_eq!((state.leader_id, state.leader_epoch, state.voted_id), (0, 2, -1));
        let new = QuorumState { voted_id: 3, voted_directory_id: Uuid([7; 16]), ..state };
        assert_eq!(decode_quorum_state(&encode_quorum_state(&new)), Ok(new));
        for text in ["", "{}", "[]", "{\"leaderId\":0,\"leaderEpoch\":2,\"votedId\":-1,\"data_version\":2}"] {
            assert!(decode_quorum_state(text).is_err(), "{text:?}");
        }
    }
}
