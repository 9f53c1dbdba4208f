//! Damage done from outside: flipped bits in the logs, and files that a mutation makes the node forget.

use bytes::Bytes;

use super::disk::Disk;
use super::model::{Model, TopicState};
use super::mutation::Mutation;
use crate::base::prng::Prng;
use crate::batch::header::{BatchHeader, HEADER_LEN};
use crate::batch::walk;
use crate::log::journal;
use crate::log::journal::codec::{Found, Mark, Superblock, decode_entry};

/// Where the CRC lies in a batch, and where the bytes it covers begin.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
/// The leader epoch: outside the CRC, rewritten by every leader, so nobody can tell a flip in it.
const EPOCH: std::ops::Range<usize> = 12..16;

/// The topic and partition of a segment file of a topic's partition.
fn partition_of(path: &str) -> Option<(&str, i32)> {
    let (folder, file) = path.split_once('/')?;
    if !file.ends_with(".log") || folder.starts_with("__") {
        return None;
    }
    let (topic, partition) = folder.rsplit_once('-')?;
    Some((topic, partition.parse().ok()?))
}

/// Flips one bit of one batch of one log; the model is told where. Says what it did.
pub fn flip(disk: &mut Disk, model: &mut Model, mutation: Option<Mutation>, random: &mut Prng) -> Option<String> {
    let candidates: Vec<String> = (disk.files())
        .filter(|(path, _)| {
            let topic = partition_of(path).and_then(|(topic, _)| model.topics.get(topic));
            topic.is_some_and(|topic| topic.state == TopicState::Exists)
        })
        .map(|(path, _)| path.to_owned())
        .collect();
    if candidates.is_empty() {
        return None;
    }
    let path = candidates[random.below(candidates.len() as u64) as usize].clone();
    let (topic, partition) = partition_of(&path)?;
    let file = disk.file_mut(&path)?;
    let content = file.read(0, file.len() as usize);
    let batches: Vec<(std::ops::Range<usize>, BatchHeader)> = walk::walk(&content).collect();
    if batches.is_empty() {
        return None;
    }
    let (range, header) = batches[random.below(batches.len() as u64) as usize].clone();
    let batch = &content[range.clone()];
    let (inside, bit) = if mutation == Some(Mutation::SkipCrc) {
        // The last byte but one is the end of a value (the last is the count of headers).
        (batch.len() - 2, random.below(8) as u8)
    } else {
        let inside = random.below(batch.len() as u64) as usize;
        (if EPOCH.contains(&inside) { HEADER_LEN } else { inside }, random.below(8) as u8)
    };
    let inside = inside.min(batch.len() - 1);
    file.flip((range.start + inside) as u64, bit);
    if mutation == Some(Mutation::SkipCrc) {
        let flipped = file.read(range.start as u64, range.len());
        let crc = crc32c::crc32c(&flipped[CRC_FROM..]).to_be_bytes();
        file.write((range.start + CRC_AT) as u64, &crc, true);
    }
    model.damage(topic, partition, header.base_offset);
    Some(format!("{path}: bit {bit} of byte {inside} of the batch at offset {}", header.base_offset))
}

/// The journals on the disk.
fn journals(disk: &Disk) -> Vec<String> {
    let names = disk.files().map(|(path, _)| path);
    names.filter(|path| journal::core_of(path).is_some()).map(str::to_owned).collect()
}

/// "Skip the journal at recovery": whatever was in it is not looked at.
pub fn skip_journals(disk: &mut Disk) {
    for path in journals(disk) {
        disk.lose(&path);
    }
}

/// "Reuse a journal block early": the oldest entry of each journal is as if overwritten, and a recovery begins behind.
pub fn reuse_journals(disk: &mut Disk) {
    for path in journals(disk) {
        let Some(file) = disk.file_mut(&path) else { continue };
        let content = Bytes::from(file.read(0, file.len() as usize));
        let Ok(Some(mut superblock)) = Superblock::newest(&content) else { continue };
        let Mark { position, sequence } = superblock.tail;
        let at = content.slice((position as usize).min(content.len())..);
        if let Found::Entry(oldest) = decode_entry(&at, superblock.incarnation, sequence) {
            superblock.tail = Mark { position: position + oldest.len, sequence: sequence + 1 };
            superblock.generation += 1;
            file.write(superblock.position(), &superblock.encode(), true);
        }
    }
}

/// "Forget the producer snapshot": no snapshot survives the restart.
pub fn forget_snapshots(disk: &mut Disk) {
    let snapshots: Vec<String> =
        disk.files().filter(|(path, _)| path.ends_with(".snapshot")).map(|(path, _)| path.to_owned()).collect();
    for path in snapshots {
        disk.lose(&path);
    }
}
