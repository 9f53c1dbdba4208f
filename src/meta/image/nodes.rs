//! Brokers and controllers in the image.

use crate::base::ids::{NodeId, Uuid};

use super::super::record::{
    BrokerEpochRecord, BrokerRegistrationChangeRecord, EndpointRecord, FeatureRange, RegisterBrokerRecord,
    RegisterControllerRecord,
};
use super::{ApplyError, Change, Image};

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerImage {
    pub id: NodeId,
    /// Metadata offset of the registration: tells two lives of one broker apart.
    pub epoch: i64,
    pub incarnation: Uuid,
    pub endpoints: Vec<EndpointRecord>,
    pub features: Vec<FeatureRange>,
    pub rack: Option<String>,
    /// Not (or no longer) to be given leadership or replicas, and hidden from clients.
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    pub log_dirs: Vec<Uuid>,
}

impl BrokerImage {
    /// May take new replicas and lead.
    pub fn active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// Where the listener of this name is reachable.
    pub fn endpoint(&self, listener: &str) -> Option<&EndpointRecord> {
        self.endpoints.iter().find(|endpoint| endpoint.name == listener)
    }
}

/// A registered controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerImage {
    pub id: NodeId,
    pub incarnation: Uuid,
    pub endpoints: Vec<EndpointRecord>,
}

impl Image {
    pub fn broker(&self, id: NodeId) -> Option<&BrokerImage> {
        self.brokers.get(&id)
    }

    /// All registered brokers, fenced ones too, in order of their ids.
    pub fn brokers(&self) -> impl Iterator<Item = &BrokerImage> {
        self.brokers.values()
    }

    /// The brokers that clients are told of.
    pub fn alive_brokers(&self) -> impl Iterator<Item = &BrokerImage> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    pub fn controllers(&self) -> impl Iterator<Item = &ControllerImage> {
        self.controllers.values()
    }

    /// A registration replaces an earlier one of the same broker.
    pub(super) fn apply_register_broker(
        &mut self,
        r: &RegisterBrokerRecord,
        changes: &mut Vec<Change>,
    ) -> Result<(), ApplyError> {
        let id = NodeId(r.broker);
        if let Some(old) = self.brokers.get(&id).filter(|old| old.epoch > r.epoch) {
            return Err(ApplyError::StaleBrokerEpoch { broker: r.broker, record: r.epoch, image: old.epoch });
        }
        let broker = BrokerImage {
            id,
            epoch: r.epoch,
            incarnation: r.incarnation,
            endpoints: r.endpoints.clone(),
            features: r.features.clone(),
            rack: r.rack.clone(),
            fenced: r.fenced,
            in_controlled_shutdown: r.in_controlled_shutdown,
            log_dirs: r.log_dirs.clone(),
        };
        self.brokers.insert(id, broker);
        changes.push(Change::BrokerChanged { broker: id });
        Ok(())
    }

    pub(super) fn apply_unregister_broker(
        &mut self,
        r: &BrokerEpochRecord,
        changes: &mut Vec<Change>,
    ) -> Result<(), ApplyError> {
        let id = self.broker_at_epoch(r.broker, r.epoch)?.id;
        self.brokers.remove(&id);
        changes.push(Change::BrokerRemoved { broker: id });
        Ok(())
    }

    pub(super) fn apply_fenced(
        &mut self,
        broker: i32,
        epoch: i64,
        fenced: bool,
        changes: &mut Vec<Change>,
    ) -> Result<(), ApplyError> {
        let image = self.broker_at_epoch(broker, epoch)?;
        image.fenced = fenced;
        changes.push(Change::BrokerChanged { broker: NodeId(broker) });
        Ok(())
    }

    pub(super) fn apply_broker_change(
        &mut self,
        r: &BrokerRegistrationChangeRecord,
        changes: &mut Vec<Change>,
    ) -> Result<(), ApplyError> {
        let image = self.broker_at_epoch(r.broker, r.epoch)?;
        match r.fenced {
            0 => {}
            fenced => image.fenced = fenced > 0,
        }
        image.in_controlled_shutdown |= r.in_controlled_shutdown > 0;
        if !r.log_dirs.is_empty() {
            image.log_dirs.clone_from(&r.log_dirs);
        }
        changes.push(Change::BrokerChanged { broker: NodeId(r.broker) });
        Ok(())
    }

    pub(super) fn apply_register_controller(
        &mut self,
        r: &RegisterControllerRecord,
        changes: &mut Vec<Change>,
    ) -> Result<(), ApplyError> {
        let id = NodeId(r.controller);
        let image = ControllerImage { id, incarnation: r.incarnation, endpoints: r.endpoints.clone() };
        self.controllers.insert(id, image);
        changes.push(Change::ControllerChanged { controller: id });
        Ok(())
    }

    fn broker_at_epoch(&mut self, broker: i32, epoch: i64) -> Result<&mut BrokerImage, ApplyError> {
        let image = self.brokers.get_mut(&NodeId(broker)).ok_or(ApplyError::UnknownBroker(broker))?;
        if image.epoch != epoch {
            return Err(ApplyError::StaleBrokerEpoch { broker, record: epoch, image: image.epoch });
        }
        Ok(image)
    }
}
