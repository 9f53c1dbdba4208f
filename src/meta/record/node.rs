//! Records of brokers, controllers, features and producer ids.

use crate::base::ids::Uuid;

use super::RecordError;
use super::codec::{Reader, Tags, Writer};

type Result<T> = std::result::Result<T, RecordError>;

/// Where a listener of a broker or controller can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRecord {
    /// Listener name, such as `PLAINTEXT`.
    pub name: String,
    pub host: String,
    pub port: u16,
    /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// The levels of one feature that a node supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureRange {
    pub name: String,
    pub min: i16,
    pub max: i16,
}

/// A broker joins the cluster or comes back (api key 0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterBrokerRecord {
    /// Record version 0 to 4: 1 adds `in_controlled_shutdown`, 2 `is_migrating_zk_broker`, 3 `log_dirs`,
    /// 4 `cordoned_log_dirs`.
    pub version: u16,
    pub broker: i32,
    pub is_migrating_zk_broker: bool,
    /// New for every start of the process.
    pub incarnation: Uuid,
    /// Offset in the metadata log at which the broker registered: unique and growing.
    pub epoch: i64,
    pub endpoints: Vec<EndpointRecord>,
    pub features: Vec<FeatureRange>,
    pub rack: Option<String>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    pub log_dirs: Vec<Uuid>,
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
}

/// A broker leaves for good (1), is fenced (7) or unfenced (8) in the form before BrokerRegistrationChange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerEpochRecord {
    pub broker: i32,
    pub epoch: i64,
}

/// A change of a broker's registration (api key 17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRegistrationChangeRecord {
    /// Record version 0 to 3: 1 `in_controlled_shutdown`, 2 `log_dirs`, 3 `cordoned_log_dirs`.
    pub version: u16,
    pub broker: i32,
    pub epoch: i64,
    /// -1 unfence, 0 as before, +1 fence.
    pub fenced: i8,
    /// 0 as before, +1 enter.
    pub in_controlled_shutdown: i8,
    /// Empty means "as before".
    pub log_dirs: Vec<Uuid>,
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
}

/// A controller makes itself known (api key 27).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterControllerRecord {
    pub controller: i32,
    pub incarnation: Uuid,
    pub zk_migration_ready: bool,
    pub endpoints: Vec<EndpointRecord>,
    pub features: Vec<FeatureRange>,
}

/// The finalized level of a feature (api key 12); level 0 removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureLevelRecord {
    pub name: String,
    pub level: i16,
}

/// A block of producer ids was handed to a broker (api key 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdsRecord {
    pub broker: i32,
    pub broker_epoch: i64,
    /// The first id not yet handed out.
    pub next_producer_id: i64,
}

fn read_endpoints(r: &mut Reader<'_>) -> Result<Vec<EndpointRecord>> {
    r.list(7, |r| {
        let endpoint =
            EndpointRecord { name: r.string()?, host: r.string()?, port: r.u16()?, security_protocol: r.i16()? };
        r.no_tags()?;
        Ok(endpoint)
    })
}

fn write_endpoints(w: &mut Writer, endpoints: &[EndpointRecord]) {
    w.list(endpoints, |w, endpoint| {
        w.string(&endpoint.name);
        w.string(&endpoint.host);
        w.u16(endpoint.port);
        w.i16(endpoint.security_protocol);
        w.no_tags();
    });
}

fn read_features(r: &mut Reader<'_>) -> Result<Vec<FeatureRange>> {
    r.list(6, |r| {
        let feature = FeatureRange { name: r.string()?, min: r.i16()?, max: r.i16()? };
        r.no_tags()?;
        Ok(feature)
    })
}

fn write_features(w: &mut Writer, features: &[FeatureRange]) {
    w.list(features, |w, feature| {
        w.string(&feature.name);
        w.i16(feature.min);
        w.i16(feature.max);
        w.no_tags();
    });
}

impl RegisterBrokerRecord {
    /// What metadata.version 29 asks for.
    pub const VERSION: u16 = 3;

    pub(super) fn read(r: &mut Reader<'_>, version: u16) -> Result<RegisterBrokerRecord> {
        let mut record = RegisterBrokerRecord {
            version,
            broker: r.i32()?,
            is_migrating_zk_broker: version >= 2 && r.bool()?,
            incarnation: r.uuid()?,
            epoch: r.i64()?,
            endpoints: read_endpoints(r)?,
            features: read_features(r)?,
            rack: r.nullable_string()?,
            fenced: r.bool()?,
            in_controlled_shutdown: version >= 1 && r.bool()?,
            log_dirs: Vec::new(),
            cordoned_log_dirs: None,
        };
        r.tags(|tag, body| {
            match tag {
                0 if version >= 3 => record.log_dirs = body.uuid_list()?,
                1 if version >= 4 => record.cordoned_log_dirs = body.nullable_list(16, Reader::uuid)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(record)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        crate::invariant!(self.version >= 3 || self.log_dirs.is_empty(), "{self:?}");
        crate::invariant!(self.version >= 4 || self.cordoned_log_dirs.is_none(), "{self:?}");
        w.i32(self.broker);
        if self.version >= 2 {
            w.bool(self.is_migrating_zk_broker);
        }
        w.uuid(&self.incarnation);
        w.i64(self.epoch);
        write_endpoints(w, &self.endpoints);
        write_features(w, &self.features);
        w.nullable_string(self.rack.as_deref());
        w.bool(self.fenced);
        if self.version >= 1 {
            w.bool(self.in_controlled_shutdown);
        }
        let mut tags = Tags::default();
        if !self.log_dirs.is_empty() {
            tags.field(0, |t| t.uuid_list(&self.log_dirs));
        }
        if let Some(cordoned) = &self.cordoned_log_dirs {
            tags.field(1, |t| t.uuid_list(cordoned));
        }
        w.tags(tags);
    }
}

impl BrokerEpochRecord {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<BrokerEpochRecord> {
        let record = BrokerEpochRecord { broker: r.i32()?, epoch: r.i64()? };
        r.no_tags()?;
        Ok(record)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.i32(self.broker);
        w.i64(self.epoch);
        w.no_tags();
    }
}

impl BrokerRegistrationChangeRecord {
    /// Enough for fencing and unfencing; what Kafka 4.2 writes for it.
    pub const VERSION: u16 = 0;

    pub(super) fn read(r: &mut Reader<'_>, version: u16) -> Result<BrokerRegistrationChangeRecord> {
        let mut record = BrokerRegistrationChangeRecord {
            version,
            broker: r.i32()?,
            epoch: r.i64()?,
            fenced: 0,
            in_controlled_shutdown: 0,
            log_dirs: Vec::new(),
            cordoned_log_dirs: None,
        };
        r.tags(|tag, body| {
            match tag {
                0 => record.fenced = body.i8()?,
                1 if version >= 1 => record.in_controlled_shutdown = body.i8()?,
                2 if version >= 2 => record.log_dirs = body.uuid_list()?,
                3 if version >= 3 => record.cordoned_log_dirs = body.nullable_list(16, Reader::uuid)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(record)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        crate::invariant!(self.version >= 1 || self.in_controlled_shutdown == 0, "{self:?}");
        crate::invariant!(self.version >= 2 || self.log_dirs.is_empty(), "{self:?}");
        crate::invariant!(self.version >= 3 || self.cordoned_log_dirs.is_none(), "{self:?}");
        w.i32(self.broker);
        w.i64(self.epoch);
        let mut tags = Tags::default();
        if self.fenced != 0 {
            tags.field(0, |t| t.i8(self.fenced));
        }
        if self.in_controlled_shutdown != 0 {
            tags.field(1, |t| t.i8(self.in_controlled_shutdown));
        }
        if !self.log_dirs.is_empty() {
            tags.field(2, |t| t.uuid_list(&self.log_dirs));
        }
        if let Some(cordoned) = &self.cordoned_log_dirs {
            tags.field(3, |t| t.uuid_list(cordoned));
        }
        w.tags(tags);
    }
}

impl RegisterControllerRecord {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<RegisterControllerRecord> {
        let record = RegisterControllerRecord {
            controller: r.i32()?,
            incarnation: r.uuid()?,
            zk_migration_ready: r.bool()?,
            endpoints: read_endpoints(r)?,
            features: read_features(r)?,
        };
        r.no_tags()?;
        Ok(record)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.i32(self.controller);
        w.uuid(&self.incarnation);
        w.bool(self.zk_migration_ready);
        write_endpoints(w, &self.endpoints);
        write_features(w, &self.features);
        w.no_tags();
    }
}

impl FeatureLevelRecord {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<FeatureLevelRecord> {
        let record = FeatureLevelRecord { name: r.string()?, level: r.i16()? };
        r.no_tags()?;
        Ok(record)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.string(&self.name);
        w.i16(self.level);
        w.no_tags();
    }
}

impl ProducerIdsRecord {
    pub(super) fn read(r: &mut Reader<'_>) -> Result<ProducerIdsRecord> {
        let record = ProducerIdsRecord { broker: r.i32()?, broker_epoch: r.i64()?, next_producer_id: r.i64()? };
        r.no_tags()?;
        Ok(record)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.i32(self.broker);
        w.i64(self.broker_epoch);
        w.i64(self.next_producer_id);
        w.no_tags();
    }
}
