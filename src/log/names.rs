//! The names of a log's files: Apache Kafka's, so that its tools find them.
//!
//! `<20 digits>` is the base offset of a segment, or the offset a producer snapshot was taken at.

use crate::base::ids::Uuid;

pub(super) const METADATA: &str = "partition.metadata";
pub(super) const EPOCHS: &str = "leader-epoch-checkpoint";
/// The most that a folder's small files may hold, bytes; a larger one is not ours and not read.
pub(super) const SMALL_FILE_MAX: u64 = 64 << 20;

/// What a name in a log folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileKind {
    Log,
    Index,
    TimeIndex,
    TxnIndex,
    Snapshot,
}

pub(super) const SEGMENT_KINDS: [FileKind; 5] =
    [FileKind::Log, FileKind::Index, FileKind::TimeIndex, FileKind::TxnIndex, FileKind::Snapshot];

/// How far an interrupted change of a file had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Leftover {
    /// Renamed away, waiting for its removal.
    Deleted,
    /// Half-written result of a compaction.
    Cleaned,
    /// Finished result of a compaction that was taking the place of the original.
    Swap,
}

/// A name in a log folder, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Segment(FileKind, i64),
    Leftover(Leftover, FileKind, i64),
    /// A temporary file of an interrupted replacement.
    Temporary,
    Metadata,
    Epochs,
    Other,
}

impl FileKind {
    fn suffix(self) -> &'static str {
        match self {
            FileKind::Log => ".log",
            FileKind::Index => ".index",
            FileKind::TimeIndex => ".timeindex",
            FileKind::TxnIndex => ".txnindex",
            FileKind::Snapshot => ".snapshot",
        }
    }

    fn parse(text: &str) -> Option<(FileKind, i64)> {
        for kind in SEGMENT_KINDS {
            let Some(digits) = text.strip_suffix(kind.suffix()) else { continue };
            if digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()) {
                return digits.parse().ok().map(|offset| (kind, offset));
            }
        }
        None
    }
}

/// Takes a name apart.
pub(super) fn parse(name: &str) -> Name {
    if let Some((kind, offset)) = FileKind::parse(name) {
        return Name::Segment(kind, offset);
    }
    for (suffix, leftover) in
        [(".deleted", Leftover::Deleted), (".cleaned", Leftover::Cleaned), (".swap", Leftover::Swap)]
    {
        if let Some((kind, offset)) = name.strip_suffix(suffix).and_then(FileKind::parse) {
            return Name::Leftover(leftover, kind, offset);
        }
    }
    match name {
        METADATA => Name::Metadata,
        EPOCHS => Name::Epochs,
        _ if name.ends_with(".tmp") => Name::Temporary,
        _ => Name::Other,
    }
}

/// The path of a segment's file.
pub(super) fn path(dir: &str, kind: FileKind, offset: i64) -> String {
    format!("{dir}/{offset:020}{}", kind.suffix())
}

/// The path of the same file once it is renamed away.
pub(super) fn leftover_path(dir: &str, kind: FileKind, offset: i64, leftover: Leftover) -> String {
    let suffix = match leftover {
        Leftover::Deleted => ".deleted",
        Leftover::Cleaned => ".cleaned",
        Leftover::Swap => ".swap",
    };
    format!("{}{suffix}", path(dir, kind, offset))
}

/// Where the folder of a deleted topic's partition goes before it is removed: Apache Kafka's form, with the topic's id
/// as the 32 hex digits. A long topic name is cut so that the result still fits a file name.
pub(super) fn delete_dir(dir: &str, topic_id: Uuid) -> String {
    let (parent, name) = match dir.rsplit_once('/') {
        Some((parent, name)) => (Some(parent), name),
        None => (None, dir),
    };
    let suffix = format!(".{:032x}-delete", u128::from_be_bytes(topic_id.0));
    let (topic, partition) = name.rsplit_once('-').map_or((name, ""), |(topic, _)| (topic, &name[topic.len()..]));
    let mut keep = topic.len().min(255usize.saturating_sub(partition.len() + suffix.len()));
    while !topic.is_char_boundary(keep) {
        keep -= 1;
    }
    let name = format!("{}{partition}{suffix}", &topic[..keep]);
    match parent {
        Some(parent) => format!("{parent}/{name}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_log_folder_parse_back_to_what_they_were_made_from() {
        assert_eq!(path("t-0", FileKind::Log, 42), "t-0/00000000000000000042.log");
        for kind in SEGMENT_KINDS {
            let full = path("t-0", kind, 7);
            assert_eq!(parse(full.rsplit('/').next().unwrap()), Name::Segment(kind, 7));
            let full = leftover_path("t-0", kind, 7, Leftover::Swap);
            assert_eq!(parse(full.rsplit('/').next().unwrap()), Name::Leftover(Leftover::Swap, kind, 7));
        }
        assert_eq!(parse("0000000000000000042.log"), Name::Other, "19 digits");
        assert_eq!(parse("99999999999999999999.log"), Name::Other, "more than an offset can be");
        assert_eq!(parse("leader-epoch-checkpoint.tmp"), Name::Temporary);
        assert_eq!(parse("partition.metadata"), Name::Metadata);
    }

    #[test]
    fn a_deleted_folder_gets_kafkas_form_and_a_long_topic_name_is_cut_to_fit() {
        let id = Uuid([0xab; 16]);
        assert_eq!(delete_dir("data/my-topic-3", id), format!("data/my-topic-3.{}-delete", "ab".repeat(16)));
        let long = format!("{}-12", "x".repeat(249));
        let name = delete_dir(&long, id);
        assert_eq!(name.len(), 255);
        assert!(name.ends_with(&format!("x-12.{}-delete", "ab".repeat(16))));
    }
}
