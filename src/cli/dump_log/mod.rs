//! Prints what is in a data folder, file by file, and says what is corrupt. Reads only; works beside a running node.
//!
//! Every file is read as a stream with bounded memory, whatever its header claims. Garbage is reported, never trusted.

mod index;
mod metadata;
mod records;
mod segment;
mod small;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::args::DumpLogArgs;
use super::output::{Failure, Out, count_of};

/// Folders inside folders that are followed: data folder, partition, and one to spare.
const DEPTH_MAX: usize = 3;

/// Dumps every named file, and every known file below a named folder.
pub fn run(args: &DumpLogArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    let mut dump = Dump { out, records: args.records, file: String::new(), problems: 0 };
    for path in &args.paths {
        if path.is_dir() {
            dump.folder(path, 0)?;
        } else {
            match kind_of(path) {
                Some(kind) => dump.file(path, kind)?,
                None => {
                    let text = format!("{} is no file of a data folder (by its name)", path.display());
                    return Err(Failure::Message(text));
                }
            }
        }
    }
    let problems = dump.problems;
    if problems > 0 {
        out.flush()?;
        return Err(Failure::Message(format!("{} found", count_of(problems, "problem"))));
    }
    Ok(())
}

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Record batches of a topic; the base offset is in the name.
    Segment {
        base_offset: i64,
    },
    /// Record batches of the metadata log (or of a snapshot of it).
    Metadata {
        base_offset: Option<i64>,
    },
    OffsetIndex {
        base_offset: i64,
    },
    TimeIndex {
        base_offset: i64,
    },
    TransactionIndex,
    ProducerSnapshot,
    /// `topic partition number` lines.
    OffsetCheckpoint,
    /// `epoch start-offset` lines.
    LeaderEpochCheckpoint,
    PartitionMetadata,
    MetaProperties,
    QuorumState,
    CleanShutdown,
}

/// The kind of a file; `None` when its name is no name of Kafka's.
fn kind_of(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    let name = [".deleted", ".swap", ".cleaned"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    match name {
        "leader-epoch-checkpoint" => return Some(Kind::LeaderEpochCheckpoint),
        "recovery-point-offset-checkpoint"
        | "replication-offset-checkpoint"
        | "log-start-offset-checkpoint"
        | "cleaner-offset-checkpoint" => return Some(Kind::OffsetCheckpoint),
        "partition.metadata" => return Some(Kind::PartitionMetadata),
        "meta.properties" => return Some(Kind::MetaProperties),
        "quorum-state" => return Some(Kind::QuorumState),
        ".kafka_cleanshutdown" => return Some(Kind::CleanShutdown),
        "bootstrap.checkpoint" => return Some(Kind::Metadata { base_offset: None }),
        _ => {}
    }
    let (stem, extension) = name.rsplit_once('.')?;
    let number = |text: &str, digits: usize| -> Option<i64> {
        (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
    };
    if extension == "checkpoint" {
        let (offset, epoch) = stem.split_once('-')?;
        let _ends_at = (number(offset, 20)?, number(epoch, 10)?);
        return Some(Kind::Metadata { base_offset: None });
    }
    let base_offset = number(stem, 20)?;
    let of_metadata = path.parent().and_then(Path::file_name).is_some_and(|name| name == "__cluster_metadata-0");
    match extension {
        "log" if of_metadata => Some(Kind::Metadata { base_offset: Some(base_offset) }),
        "log" => Some(Kind::Segment { base_offset }),
        "index" => Some(Kind::OffsetIndex { base_offset }),
        "timeindex" => Some(Kind::TimeIndex { base_offset }),
        "txnindex" => Some(Kind::TransactionIndex),
        "snapshot" => Some(Kind::ProducerSnapshot),
        _ => None,
    }
}

/// One run over files: where the words go and how much was wrong.
struct Dump<'a, 'b> {
    out: &'a mut Out<'b>,
    /// Show the records inside batches too.
    records: bool,
    /// The file that lines belong to.
    file: String,
    problems: u64,
}

impl Dump<'_, '_> {
    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), Failure> {
        let listing = fs::read_dir(path).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<PathBuf>, _>>()
        });
        let mut entries = listing.map_err(|error| Failure::Message(format!("listing {}: {error}", path.display())))?;
        entries.sort();
        for entry in entries {
            // A link could lead in circles or out of the folder.
            let is_dir = fs::symlink_metadata(&entry).is_ok_and(|found| found.is_dir());
            if is_dir && depth < DEPTH_MAX {
                self.folder(&entry, depth + 1)?;
            } else if let Some(kind) = kind_of(&entry) {
                self.file(&entry, kind)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, kind: Kind) -> Result<(), Failure> {
        self.file = path.display().to_string();
        if !self.out.is_json() {
            self.out.line(format_args!("{}", self.file))?;
        }
        let result = match kind {
            Kind::Segment { base_offset } => segment::dump(self, path, Some(base_offset), false),
            Kind::Metadata { base_offset } => segment::dump(self, path, base_offset, true),
            Kind::OffsetIndex { base_offset } => index::offsets(self, path, base_offset),
            Kind::TimeIndex { base_offset } => index::times(self, path, base_offset),
            Kind::TransactionIndex => index::transactions(self, path),
            Kind::ProducerSnapshot => small::producers(self, path),
            Kind::OffsetCheckpoint => small::offset_checkpoint(self, path),
            Kind::LeaderEpochCheckpoint => small::leader_epochs(self, path),
            Kind::PartitionMetadata => small::partition_metadata(self, path),
            Kind::MetaProperties => small::meta_properties(self, path),
            Kind::QuorumState => small::quorum_state(self, path),
            Kind::CleanShutdown => small::clean_shutdown(self, path),
        };
        match result {
            Ok(()) => Ok(()),
            Err(Stop::Output(failure)) => Err(failure),
            Err(Stop::Read(error)) => self.problem(format_args!("cannot be read: {error}")),
        }
    }

    /// Prints one thing: `text` for people, `fields` (and file and kind) for programs.
    fn item(&mut self, kind: &str, text: fmt::Arguments<'_>, fields: Value) -> Result<(), Failure> {
        if !self.out.is_json() {
            return self.out.line(format_args!("  {text}"));
        }
        let mut object = Map::new();
        object.insert("file".to_owned(), Value::from(self.file.as_str()));
        object.insert("kind".to_owned(), Value::from(kind));
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        self.out.json(&Value::from(object))
    }

    /// Prints something that is wrong, and counts it.
    fn problem(&mut self, text: fmt::Arguments<'_>) -> Result<(), Failure> {
        self.problems += 1;
        self.item("problem", format_args!("CORRUPT: {text}"), serde_json::json!({"problem": text.to_string()}))
    }
}

/// Why the dump of one file ended early.
enum Stop {
    Output(Failure),
    Read(std::io::Error),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Output(failure)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Stop {
        Stop::Read(error)
    }
}
