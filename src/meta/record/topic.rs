//! Records of topics, partitions and configs.

use crate::base::ids::{TopicId, Uuid};

use super::RecordError;
use super::codec::{Reader, Tags, Writer};

type Result<T> = std::result::Result<T, RecordError>;

/// `PartitionChange.leader` when the leader stays.
pub const LEADER_UNCHANGED: i32 = -2;
/// No broker leads the partition.
pub const LEADER_NONE: i32 = -1;
/// `PartitionChange.recovery_state` when it stays.
pub const RECOVERY_UNCHANGED: i8 = -1;

/// A topic comes into being (api key 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRecord {
    pub name: String,
    pub id: TopicId,
}

/// The whole state of a partition (api key 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRecord {
    /// Record version 0 to 2: 1 adds `directories`, 2 the eligible leader replicas (KIP-966).
    pub version: u16,
    pub partition: i32,
    pub topic: TopicId,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub removing: Vec<i32>,
    pub adding: Vec<i32>,
    /// Broker id, or [`LEADER_NONE`].
    pub leader: i32,
    /// 0 recovered, 1 recovering after an unclean election (KIP-704).
    pub recovery_state: i8,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    /// One log directory id per replica, in the order of `replicas` (KIP-858).
    pub directories: Vec<Uuid>,
    pub elr: Option<Vec<i32>>,
    pub last_known_elr: Option<Vec<i32>>,
}

/// A delta to a partition (api key 5): `None`, [`LEADER_UNCHANGED`] and [`RECOVERY_UNCHANGED`] mean "as before".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionChangeRecord {
    pub version: u16,
    pub partition: i32,
    pub topic: TopicId,
    pub isr: Option<Vec<i32>>,
    pub leader: i32,
    pub replicas: Option<Vec<i32>>,
    pub removing: Option<Vec<i32>>,
    pub adding: Option<Vec<i32>>,
    pub recovery_state: i8,
    pub elr: Option<Vec<i32>>,
    pub last_known_elr: Option<Vec<i32>>,
    pub directories: Option<Vec<Uuid>>,
}

/// One config value of one resource (api key 4); a null value deletes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRecord {
    /// 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
    pub resource_type: i8,
    /// Empty for the cluster-wide default of brokers.
    pub resource_name: String,
    pub name: String,
    pub value: Option<String>,
}

impl TopicRecord {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<TopicRecord> {
        let record = TopicRecord { name: r.string()?, id: r.uuid()? };
        r.no_tags()?;
        Ok(record)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.string(&self.name);
        w.uuid(&self.id);
        w.no_tags();
    }
}

impl PartitionRecord {
    /// What this node writes: metadata.version 29 knows eligible leader replicas.
    pub const VERSION: u16 = 2;

    pub(super) fn read(r: &mut Reader<'_>, version: u16) -> Result<PartitionRecord> {
        let mut record = PartitionRecord {
            version,
            partition: r.i32()?,
            topic: r.uuid()?,
            replicas: r.i32_list()?,
            isr: r.i32_list()?,
            removing: r.i32_list()?,
            adding: r.i32_list()?,
            leader: r.i32()?,
            recovery_state: 0,
            leader_epoch: r.i32()?,
            partition_epoch: r.i32()?,
            directories: if version >= 1 { r.uuid_list()? } else { Vec::new() },
            elr: None,
            last_known_elr: None,
        };
        r.tags(|tag, body| {
            match tag {
                0 => record.recovery_state = body.i8()?,
                1 if version >= 2 => record.elr = body.nullable_list(4, Reader::i32)?,
                2 if version >= 2 => record.last_known_elr = body.nullable_list(4, Reader::i32)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(record)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        crate::invariant!(self.version >= 2 || (self.elr.is_none() && self.last_known_elr.is_none()), "{self:?}");
        w.i32(self.partition);
        w.uuid(&self.topic);
        w.i32_list(&self.replicas);
        w.i32_list(&self.isr);
        w.i32_list(&self.removing);
        w.i32_list(&self.adding);
        w.i32(self.leader);
        w.i32(self.leader_epoch);
        w.i32(self.partition_epoch);
        if self.version >= 1 {
            w.uuid_list(&self.directories);
        }
        let mut tags = Tags::default();
        if self.recovery_state != 0 {
            tags.field(0, |t| t.i8(self.recovery_state));
        }
        for (tag, list) in [(1, &self.elr), (2, &self.last_known_elr)] {
            if let Some(list) = list {
                tags.field(tag, |t| t.i32_list(list));
            }
        }
        w.tags(tags);
    }
}

impl PartitionChangeRecord {
    pub const VERSION: u16 = 2;

    /// A change of nothing, to be filled in.
    pub fn unchanged(topic: TopicId, partition: i32) -> PartitionChangeRecord {
        PartitionChangeRecord {
            version: PartitionChangeRecord::VERSION,
            partition,
            topic,
            isr: None,
            leader: LEADER_UNCHANGED,
            replicas: None,
            removing: None,
            adding: None,
            recovery_state: RECOVERY_UNCHANGED,
            elr: None,
            last_known_elr: None,
            directories: None,
        }
    }

    pub(super) fn read(r: &mut Reader<'_>, version: u16) -> Result<PartitionChangeRecord> {
        let partition = r.i32()?;
        let mut record = PartitionChangeRecord::unchanged(r.uuid()?, partition);
        record.version = version;
        r.tags(|tag, body| {
            match tag {
                0 => record.isr = body.nullable_list(4, Reader::i32)?,
                1 => record.leader = body.i32()?,
                2 => record.replicas = body.nullable_list(4, Reader::i32)?,
                3 => record.removing = body.nullable_list(4, Reader::i32)?,
                4 => record.adding = body.nullable_list(4, Reader::i32)?,
                5 => record.recovery_state = body.i8()?,
                6 if version >= 2 => record.elr = body.nullable_list(4, Reader::i32)?,
                7 if version >= 2 => record.last_known_elr = body.nullable_list(4, Reader::i32)?,
                8 if version >= 1 => record.directories = body.nullable_list(16, Reader::uuid)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(record)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        crate::invariant!(self.version >= 2 || (self.elr.is_none() && self.last_known_elr.is_none()), "{self:?}");
        crate::invariant!(self.version >= 1 || self.directories.is_none(), "{self:?}");
        w.i32(self.partition);
        w.uuid(&self.topic);
        let mut tags = Tags::default();
        let list = |tags: &mut Tags, tag: u32, list: &Option<Vec<i32>>| {
            if let Some(list) = list {
                tags.field(tag, |t| t.i32_list(list));
            }
        };
        list(&mut tags, 0, &self.isr);
        if self.leader != LEADER_UNCHANGED {
            tags.field(1, |t| t.i32(self.leader));
        }
        list(&mut tags, 2, &self.replicas);
        list(&mut tags, 3, &self.removing);
        list(&mut tags, 4, &self.adding);
        if self.recovery_state != RECOVERY_UNCHANGED {
            tags.field(5, |t| t.i8(self.recovery_state));
        }
        list(&mut tags, 6, &self.elr);
        list(&mut tags, 7, &self.last_known_elr);
        if let Some(directories) = &self.directories {
            tags.field(8, |t| t.uuid_list(directories));
        }
        w.tags(tags);
    }
}

impl ConfigRecord {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<ConfigRecord> {
        let record = ConfigRecord {
            resource_type: r.i8()?,
            resource_name: r.string()?,
            name: r.string()?,
            value: r.nullable_string()?,
        };
        r.no_tags()?;
        Ok(record)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.i8(self.resource_type);
        w.string(&self.resource_name);
        w.string(&self.name);
        w.nullable_string(self.value.as_deref());
        w.no_tags();
    }
}
