//! Control batches: one record whose key says what kind it is. Markers of transactions, and those of a KRaft log.

use bytes::{BufMut, Bytes, BytesMut};

use super::build::BatchBuilder;

/// What a control record says, by the type in its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlType {
    Abort,
    Commit,
    LeaderChange,
    SnapshotHeader,
    SnapshotFooter,
    KRaftVersion,
    KRaftVoters,
}

impl ControlType {
    pub fn id(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
            ControlType::LeaderChange => 2,
            ControlType::SnapshotHeader => 3,
            ControlType::SnapshotFooter => 4,
            ControlType::KRaftVersion => 5,
            ControlType::KRaftVoters => 6,
        }
    }

    pub fn from_id(id: i16) -> Option<ControlType> {
        use ControlType::*;
        [Abort, Commit, LeaderChange, SnapshotHeader, SnapshotFooter, KRaftVersion, KRaftVoters]
            .into_iter()
            .find(|kind| kind.id() == id)
    }

    /// Reads the key of a control record: version int16, type int16.
    pub fn from_key(key: &[u8]) -> Option<ControlType> {
        ControlType::from_id(i16::from_be_bytes([*key.get(2)?, *key.get(3)?]))
    }
}

fn key(kind: ControlType) -> Bytes {
    let mut key = BytesMut::with_capacity(4);
    key.put_i16(0);
    key.put_i16(kind.id());
    key.freeze()
}

/// A LeaderChange batch of the metadata log: who leads from `epoch` on, the voters, and who voted for it.
/// LeaderChangeMessage version 0: version int16, leader int32, compact arrays of voters, tagged fields.
pub fn leader_change(base_offset: i64, epoch: i32, leader: i32, voters: &[i32], now_ms: i64) -> Bytes {
    let mut value = BytesMut::new();
    value.put_i16(0);
    value.put_i32(leader);
    for _ in ["voters", "granting voters"] {
        // A compact array's length is one more than its elements; each voter is an id and no tagged fields.
        value.put_u8(voters.len() as u8 + 1);
        for voter in voters {
            value.put_i32(*voter);
            value.put_u8(0);
        }
    }
    value.put_u8(0);
    BatchBuilder::new()
        .base_offset(base_offset)
        .leader_epoch(epoch)
        .control()
        .record(now_ms, Some(key(ControlType::LeaderChange)), Some(value.freeze()))
        .build()
}

/// The end marker of a transaction on one partition: value is version int16, coordinator epoch int32.
pub fn end_transaction(
    producer_id: i64,
    producer_epoch: i16,
    commit: bool,
    coordinator_epoch: i32,
    now_ms: i64,
) -> Bytes {
    let mut value = BytesMut::with_capacity(6);
    value.put_i16(0);
    value.put_i32(coordinator_epoch);
    let kind = if commit { ControlType::Commit } else { ControlType::Abort };
    BatchBuilder::new()
        .producer(producer_id, producer_epoch, -1)
        .transactional()
        .control()
        .record(now_ms, Some(key(kind)), Some(value.freeze()))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::header::BatchHeader;
    use crate::batch::records::decode;

    #[test]
    fn control_batches_say_what_they_are() {
        let change = leader_change(5, 2, 1, &[1], 9);
        let header = BatchHeader::parse(&change).unwrap();
        assert!(header.is_control() && !header.is_transactional());
        assert_eq!((header.base_offset, header.leader_epoch), (5, 2));
        let record = &decode(&change).unwrap()[0];
        assert_eq!(ControlType::from_key(record.key.as_deref().unwrap()), Some(ControlType::LeaderChange));
        let abort = end_transaction(9, 1, false, 3, 0);
        assert!(BatchHeader::parse(&abort).unwrap().is_transactional());
        let record = &decode(&abort).unwrap()[0];
        assert_eq!(ControlType::from_key(record.key.as_deref().unwrap()), Some(ControlType::Abort));
        assert_eq!(ControlType::from_key(&[0]), None);
    }
}
