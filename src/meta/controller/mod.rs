//! The controller's decisions: a command and the picture in, records and an answer out.
//!
//! Nothing is changed here. The host appends the records of a [`Decision`] as one atomic batch and gives the answer
//! out when they are committed; with no records the answer may go out at once. A refusal is an answer like any other.
//! Decisions must see the records of earlier ones, committed or not: [`Controller`] keeps a picture for that.
//!
//! | command | records |
//! | --- | --- |
//! | Bootstrap | FeatureLevel (first start), RegisterController, RegisterBroker, unfencing, PartitionChange |
//! | CreateTopics, AutoCreateTopics, CreateOffsetsTopic | Topic, Config, Partition |
//! | DeleteTopics | RemoveTopic |
//! | CreatePartitions | Partition |
//! | AlterConfigs, IncrementalAlterConfigs | Config |
//! | AllocateProducerIds | ProducerIds |

mod assignment;
mod bootstrap;
mod bounds;
mod configs;
mod names;
mod partitions;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_configs;
mod topics;

use crate::base::ids::{NodeId, TopicId, Uuid};
use crate::base::prng::Prng;

use super::image::{ApplyError, Change, Image};
use super::record::{EndpointRecord, ProducerIdsRecord, Record};
use super::settings::{BrokerSettings, Effective};

pub use bootstrap::{FEATURES, Feature, METADATA_VERSION};
pub use names::check_topic_name;

/// The topic of committed offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The topic of the metadata log, which is no topic of the image.
pub const METADATA_TOPIC: &str = "__cluster_metadata";
/// Producer ids handed out at once (Kafka's number).
pub const PRODUCER_ID_BLOCK: i64 = 1000;
/// Partitions the cluster may hold. At a start each becomes a record of about 35 bytes in one batch, which stays
/// below the 8 MiB that Kafka allows a metadata batch.
pub const PARTITIONS_MAX: usize = 200_000;

/// What somebody wants of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Bootstrap(Bootstrap),
    CreateTopics {
        topics: Vec<NewTopic>,
        validate_only: bool,
    },
    /// Topics that a client asked for and nobody created (Metadata with auto-creation).
    AutoCreateTopics {
        names: Vec<String>,
    },
    /// The group coordinator needs its topic; `auto.create.topics.enable` does not matter.
    CreateOffsetsTopic,
    DeleteTopics {
        topics: Vec<TopicRef>,
    },
    CreatePartitions {
        topics: Vec<NewPartitions>,
        validate_only: bool,
    },
    /// Replaces all dynamic values of each resource.
    AlterConfigs {
        resources: Vec<ConfigReplacement>,
        validate_only: bool,
    },
    IncrementalAlterConfigs {
        resources: Vec<ConfigChange>,
        validate_only: bool,
    },
    AllocateProducerIds {
        broker: NodeId,
        broker_epoch: i64,
    },
}

/// This node starts and makes itself known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Offset in the metadata log that the first record of the answer will get; broker epochs are offsets.
    pub next_offset: i64,
    /// Random, new for this start.
    pub incarnation: Uuid,
    /// As clients reach this broker, host names filled in.
    pub endpoints: Vec<EndpointRecord>,
    pub controller_endpoints: Vec<EndpointRecord>,
    /// The ids of the log directories that are online.
    pub log_dirs: Vec<Uuid>,
}

/// One topic of a CreateTopics request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// -1: the broker's default, or as many as `assignments` has.
    pub partitions: i32,
    /// -1: the broker's default, or as `assignments` says.
    pub replication_factor: i16,
    /// (partition, brokers) chosen by the client; empty lets the controller choose.
    pub assignments: Vec<(i32, Vec<i32>)>,
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic by name or by id; a request must give exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRef {
    pub name: Option<String>,
    /// Zero: none.
    pub id: TopicId,
}

/// One topic of a CreatePartitions request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartitions {
    pub name: String,
    /// Partitions the topic shall have in all.
    pub count: i32,
    /// The brokers of each new partition; `None` lets the controller choose.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// One resource of an AlterConfigs request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigReplacement {
    /// As on the wire; unknown ones are answered with an error.
    pub resource_type: i8,
    pub name: String,
    pub values: Vec<(String, Option<String>)>,
}

/// One resource of an IncrementalAlterConfigs request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    pub resource_type: i8,
    pub name: String,
    pub changes: Vec<ConfigOp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigOp {
    pub name: String,
    pub op: OpKind,
    pub value: Option<String>,
}

/// What an IncrementalAlterConfigs entry does, with Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    Set,
    Delete,
    /// Adds elements to a list.
    Append,
    /// Takes elements out of a list.
    Subtract,
}

impl OpKind {
    pub fn from_code(code: i8) -> Option<OpKind> {
        match code {
            0 => Some(OpKind::Set),
            1 => Some(OpKind::Delete),
            2 => Some(OpKind::Append),
            3 => Some(OpKind::Subtract),
            _ => None,
        }
    }
}

/// Why a command, or one item of it, is refused. The names are Kafka's error names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaError {
    UnknownServerError,
    UnknownTopicOrPartition,
    InvalidTopicException,
    TopicAlreadyExists,
    InvalidPartitions,
    InvalidReplicationFactor,
    InvalidReplicaAssignment,
    InvalidConfig,
    InvalidRequest,
    PolicyViolation,
    TopicDeletionDisabled,
    StaleBrokerEpoch,
    UnknownTopicId,
    BrokerIdNotRegistered,
}

/// An error with the sentence the client is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub error: MetaError,
    pub message: String,
}

impl Refusal {
    fn new(error: MetaError, message: impl Into<String>) -> Refusal {
        Refusal { error, message: message.into() }
    }
}

/// A topic that was created, or would be if the request were not only a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    pub id: TopicId,
    pub partitions: i32,
    pub replication_factor: i16,
    /// All settings of the topic, as a description would show them.
    pub configs: Vec<Effective>,
}

/// The topic a deletion was about, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    pub name: Option<String>,
    pub id: TopicId,
    pub result: Result<(), Refusal>,
}

/// The resource a config change was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlteredConfig {
    pub resource_type: i8,
    pub name: String,
    pub result: Result<(), Refusal>,
}

/// Producer ids `first .. first + count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    pub first: i64,
    pub count: i32,
}

/// What the asker is told once the records are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Registered {
        broker_epoch: i64,
    },
    /// In the order of the request, each name once. Also for the automatic creations.
    TopicsCreated(Vec<(String, Result<CreatedTopic, Refusal>)>),
    TopicsDeleted(Vec<DeletedTopic>),
    PartitionsCreated(Vec<(String, Result<(), Refusal>)>),
    ConfigsAltered(Vec<AlteredConfig>),
    ProducerIds(Result<ProducerIdBlock, Refusal>),
}

/// Records to append as one batch, and the answer for when they are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub records: Vec<Record>,
    pub answer: Answer,
}

/// Decides one command. `image` must hold the records of every earlier decision.
pub fn decide(image: &Image, broker: &BrokerSettings, command: Command, prng: &mut Prng) -> Decision {
    let decision = match command {
        Command::Bootstrap(bootstrap) => return bootstrap::decide(image, broker, bootstrap),
        Command::CreateTopics { topics, validate_only } => topics::create(image, broker, topics, validate_only, prng),
        Command::AutoCreateTopics { names } => topics::auto_create(image, broker, names, prng),
        Command::CreateOffsetsTopic => topics::create_offsets_topic(image, broker, prng),
        Command::DeleteTopics { topics } => topics::delete(image, broker, topics),
        Command::CreatePartitions { topics, validate_only } => {
            partitions::create(image, broker, topics, validate_only, prng)
        }
        Command::AlterConfigs { resources, validate_only } => configs::replace(image, broker, resources, validate_only),
        Command::IncrementalAlterConfigs { resources, validate_only } => {
            configs::change(image, broker, resources, validate_only)
        }
        Command::AllocateProducerIds { broker, broker_epoch } => allocate_producer_ids(image, broker, broker_epoch),
    };
    bounds::keep(image, broker, decision)
}

fn allocate_producer_ids(image: &Image, broker: NodeId, broker_epoch: i64) -> Decision {
    let refuse = |error, message: String| Decision {
        records: Vec::new(),
        answer: Answer::ProducerIds(Err(Refusal::new(error, message))),
    };
    match image.broker(broker) {
        None => {
            let message = format!("Broker {} is not registered.", broker.0);
            return refuse(MetaError::BrokerIdNotRegistered, message);
        }
        Some(known) if known.epoch != broker_epoch => {
            let message = format!("Expected broker epoch {}, but got {broker_epoch}.", known.epoch);
            return refuse(MetaError::StaleBrokerEpoch, message);
        }
        Some(_) => {}
    }
    let first = image.next_producer_id();
    let Some(next_producer_id) = first.checked_add(PRODUCER_ID_BLOCK) else {
        return refuse(MetaError::UnknownServerError, "All producer ids have been handed out.".to_owned());
    };
    let record = ProducerIdsRecord { broker: broker.0, broker_epoch, next_producer_id };
    let block = ProducerIdBlock { first, count: PRODUCER_ID_BLOCK as i32 };
    Decision { records: vec![Record::ProducerIds(record)], answer: Answer::ProducerIds(Ok(block)) }
}

/// The controller with its own picture, which runs ahead of the committed one by the decisions in flight. Lives on
/// the core that owns the metadata partition. When an append fails, throw it away and start anew from the log.
#[derive(Clone, Debug, Default)]
pub struct Controller {
    image: Image,
}

impl Controller {
    /// A controller that starts from the picture of the whole log.
    pub fn new(image: Image) -> Controller {
        Controller { image }
    }

    /// The picture with every decision so far.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Takes in a record from the log that this controller did not decide: at start, before the first decision.
    pub fn replay(&mut self, record: &Record) -> Result<Vec<Change>, ApplyError> {
        self.image.apply(record)
    }

    /// Decides a command and remembers what it decided.
    pub fn decide(&mut self, broker: &BrokerSettings, command: Command, prng: &mut Prng) -> Decision {
        let decision = decide(&self.image, broker, command, prng);
        for record in &decision.records {
            let applied = self.image.apply(record);
            crate::invariant!(applied.is_ok(), "own record {record:?}: {applied:?}");
        }
        decision
    }
}
