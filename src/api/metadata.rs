//! 3 Metadata: topics, leaders and brokers from this core's picture; makes unknown topics when it may.
//!
//! A topic that is made on the way is answered once every core knows it, so that the client can use it at once.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::ids::Uuid;
use crate::meta::image::{Image, TopicImage};
use crate::shard::message::Reply;
use crate::wire::messages::metadata_request::MetadataRequestTopic;
use crate::wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::wire::messages::{MetadataRequest, MetadataResponse};
use crate::wire::{ErrorCode, StrBytes, cold, to_message_uuid};

use super::errors::meta_error;
use super::{AUTO_CREATE_TIMEOUT_MS, Ctx, Gather, Handled, Step, answer, respond, topic_names};

/// The topics that only brokers may make.
pub const INTERNAL_TOPICS: [&str; 2] = ["__consumer_offsets", "__transaction_state"];
/// "No operations asked for" in the fields of authorized operations.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;
/// Every operation a topic or cluster has, as bits: there is no authorizer, so everybody may do everything.
pub const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
pub const CLUSTER_OPERATIONS: i32 = 0b1111_1000_0000 | 0b1_0000_0000_0000;

#[derive(Debug)]
struct MetadataGather {
    request: MetadataRequest,
    /// Topics that could not be made, and why.
    refused: BTreeMap<String, ErrorCode>,
}

pub fn handle(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request: MetadataRequest = match cold::decode_request(ctx.head.api_key, ctx.head.api_version, body) {
        Ok(request) => request,
        Err(error) => return Handled::Close(format!("Metadata: {error}")),
    };
    let missing = missing_topics(ctx, &request);
    let gather = MetadataGather { request, refused: BTreeMap::new() };
    if missing.is_empty() {
        return respond(ctx, &gather.response(ctx));
    }
    let timeout_ms = AUTO_CREATE_TIMEOUT_MS;
    ctx.ask_controller(0, topic_names::auto_create(missing));
    ctx.expire_in(timeout_ms);
    Handled::Gather(Box::new(gather))
}

/// Names to make: unknown, allowed by the client and by the broker.
fn missing_topics(ctx: &Ctx<'_>, request: &MetadataRequest) -> Vec<String> {
    let allowed = ctx.head.api_version < 4 || request.allow_auto_topic_creation;
    if !allowed || !ctx.shard.settings().auto_create_topics {
        return Vec::new();
    }
    let mut missing: Vec<String> = Vec::new();
    for topic in request.topics.iter().flatten() {
        let Some(name) = &topic.name else { continue };
        if topic_names::is_valid(name) && ctx.shard.image.topic_named(name).is_none() {
            missing.push(name.to_string());
        }
    }
    missing.sort_unstable();
    missing.dedup();
    missing
}

impl MetadataGather {
    fn response(&self, ctx: &Ctx<'_>) -> MetadataResponse {
        let image = &ctx.shard.image;
        let version = ctx.head.api_version;
        let mut response = MetadataResponse::default()
            .with_cluster_id(Some(StrBytes::from_string(ctx.shard.node().cluster_id.clone())))
            .with_controller_id(ctx.shard.settings().node_id.0.into())
            .with_brokers(brokers(ctx))
            .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED);
        if (8..=10).contains(&version) && self.request.include_cluster_authorized_operations {
            response.cluster_authorized_operations = CLUSTER_OPERATIONS;
        }
        let everything = match &self.request.topics {
            None => true,
            Some(topics) => version == 0 && topics.is_empty(),
        };
        if everything {
            response.topics = image.topics().map(|topic| self.known(topic)).collect();
        } else {
            let topics = self.request.topics.iter().flatten();
            response.topics = topics.map(|topic| self.topic(ctx, topic)).collect();
        }
        response
    }

    fn topic(&self, ctx: &Ctx<'_>, asked: &MetadataRequestTopic) -> MetadataResponseTopic {
        let image = &ctx.shard.image;
        let by_name = asked.name.as_ref().filter(|name| !name.is_empty());
        match by_name {
            Some(name) => match image.topic_named(name) {
                Some(topic) => self.known(topic),
                None => {
                    let error = if topic_names::is_valid(name) {
                        self.refused.get(name.as_str()).copied().unwrap_or(ErrorCode::UnknownTopicOrPartition)
                    } else {
                        ErrorCode::InvalidTopicException
                    };
                    unknown(error).with_name(Some(name.clone()))
                }
            },
            None => match image.topic(&Uuid(asked.topic_id.into_bytes())) {
                Some(topic) => self.known(topic),
                None => unknown(ErrorCode::UnknownTopicId).with_name(None).with_topic_id(asked.topic_id),
            },
        }
    }

    fn known(&self, topic: &TopicImage) -> MetadataResponseTopic {
        let operations =
            if self.request.include_topic_authorized_operations { TOPIC_OPERATIONS } else { OPERATIONS_NOT_ASKED };
        MetadataResponseTopic::default()
            .with_name(Some(StrBytes::from_string(topic.name.to_string()).into()))
            .with_topic_id(to_message_uuid(topic.id))
            .with_is_internal(is_internal(&topic.name))
            .with_partitions(partitions(topic))
            .with_topic_authorized_operations(operations)
    }
}

impl Gather for MetadataGather {
    fn reply(&mut self, _part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step {
        match reply {
            Reply::Control(made) => {
                for (name, error) in topic_names::refused(made) {
                    self.refused.insert(name, meta_error(error));
                }
            }
            // Anybody can ask for it any number of times, so it is not worth a line of the log.
            other => tracing::debug!("topics could not be made: {other:?}"),
        }
        answer(ctx, &self.response(ctx))
    }

    fn expired(&mut self, ctx: &mut Ctx<'_>) -> Step {
        answer(ctx, &self.response(ctx))
    }
}

fn unknown(error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
}

/// Whether clients should take a topic for one of the broker's own.
pub fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// Every broker that clients may use, with the address of the listener clients use.
pub fn brokers(ctx: &Ctx<'_>) -> Vec<MetadataResponseBroker> {
    endpoints(&ctx.shard.image, ctx.shard.node().client_listener())
        .map(|(id, host, port, rack)| {
            MetadataResponseBroker::default()
                .with_node_id(id.into())
                .with_host(StrBytes::from_string(host.to_string()))
                .with_port(port)
                .with_rack(rack.map(|rack| StrBytes::from_string(rack.to_string())))
        })
        .collect()
}

/// (id, host, port, rack) of every live broker that has the listener.
pub fn endpoints<'a>(
    image: &'a Image,
    listener: &'a str,
) -> impl Iterator<Item = (i32, &'a str, i32, Option<&'a str>)> {
    image.alive_brokers().filter_map(move |broker| {
        let endpoint = broker.endpoint(listener)?;
        Some((broker.id.0, endpoint.host.as_str(), i32::from(endpoint.port), broker.rack.as_deref()))
    })
}

fn partitions(topic: &TopicImage) -> Vec<MetadataResponsePartition> {
    topic
        .partitions
        .iter()
        .map(|(index, partition)| {
            let error = if partition.leader < 0 { ErrorCode::LeaderNotAvailable } else { ErrorCode::None };
            MetadataResponsePartition::default()
                .with_error_code(error.code())
                .with_partition_index(*index)
                .with_leader_id(partition.leader.into())
                .with_leader_epoch(partition.leader_epoch)
                .with_replica_nodes(partition.replicas.iter().map(|id| (*id).into()).collect())
                .with_isr_nodes(partition.isr.iter().map(|id| (*id).into()).collect())
        })
        .collect()
}
