//! 60 DescribeCluster and 75 DescribeTopicPartitions: the picture, for admin clients.

use bytes::Bytes;

use crate::meta::image::TopicImage;
use crate::wire::messages as m;
use crate::wire::messages::describe_cluster_response::DescribeClusterBroker;
use crate::wire::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::wire::{ErrorCode, StrBytes, cold, to_message_uuid};

use super::group_membership::decode;
use super::metadata::{self, CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS};
use super::{Ctx, Handled, respond, topic_names};

const ENDPOINT_BROKERS: i8 = 1;
const ENDPOINT_CONTROLLERS: i8 = 2;

pub fn describe(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::DescribeClusterRequest, "DescribeCluster");
    let settings = ctx.shard.settings();
    let mut response = m::DescribeClusterResponse::default()
        .with_cluster_id(StrBytes::from_string(ctx.shard.node().cluster_id.clone()))
        .with_controller_id(settings.node_id.0.into())
        .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED);
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    if ctx.head.api_version >= 1 {
        response.endpoint_type = request.endpoint_type;
        if request.endpoint_type != ENDPOINT_BROKERS {
            let error = if request.endpoint_type == ENDPOINT_CONTROLLERS {
                ErrorCode::MismatchedEndpointType
            } else {
                ErrorCode::UnsupportedEndpointType
            };
            response.error_code = error.code();
            response.error_message = Some(StrBytes::from_static_str("This listener serves brokers only."));
            return respond(ctx, &response);
        }
    }
    response.brokers = metadata::endpoints(&ctx.shard.image, ctx.shard.node().client_listener())
        .map(|(id, host, port, rack)| {
            DescribeClusterBroker::default()
                .with_broker_id(id.into())
                .with_host(StrBytes::from_string(host.to_string()))
                .with_port(port)
                .with_rack(rack.map(|rack| StrBytes::from_string(rack.to_string())))
        })
        .collect();
    respond(ctx, &response)
}

/// Topics by name with a limit on partitions; what does not fit is named by a cursor (KIP-966).
pub fn topic_partitions(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::DescribeTopicPartitionsRequest, "DescribeTopicPartitions");
    let limit = ctx.shard.settings().describe_partitions_max.max(1) as usize;
    let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, limit);
    let cursor = request.cursor.map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index.max(0)));
    let mut names: Vec<String> = request.topics.iter().map(|topic| topic.name.to_string()).collect();
    let everything = names.is_empty();
    if everything {
        let first = cursor.as_ref().map_or("", |(name, _)| name.as_str());
        names = ctx.shard.image.topics_from(first).take(left + 1).map(|topic| topic.name.to_string()).collect();
    }
    names.sort_unstable();
    names.dedup();
    let mut response = m::DescribeTopicPartitionsResponse::default();
    for name in names {
        let from = match &cursor {
            Some((first, _)) if name < *first => continue,
            Some((first, partition)) if name == *first => *partition,
            _ => 0,
        };
        if left == 0 {
            response.next_cursor = Some(next_cursor(&name, 0));
            break;
        }
        let Some(topic) = ctx.shard.image.topic_named(&name) else {
            if !everything {
                response.topics.push(unknown(&name));
            }
            continue;
        };
        let (entry, next) = describe_topic(topic, from, left);
        left -= entry.partitions.len();
        response.topics.push(entry);
        if let Some(partition) = next {
            response.next_cursor = Some(next_cursor(&name, partition));
            break;
        }
    }
    respond(ctx, &response)
}

fn next_cursor(name: &str, partition: i32) -> Cursor {
    Cursor::default().with_topic_name(StrBytes::from_string(name.to_string()).into()).with_partition_index(partition)
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error =
        if topic_names::is_valid(name) { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopicException };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(StrBytes::from_string(name.to_string()).into()))
        .with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
}

/// At most `limit` partitions from `from` on, and the first one that did not fit.
fn describe_topic(topic: &TopicImage, from: i32, limit: usize) -> (DescribeTopicPartitionsResponseTopic, Option<i32>) {
    let mut entry = DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(StrBytes::from_string(topic.name.to_string()).into()))
        .with_topic_id(to_message_uuid(topic.id))
        .with_is_internal(metadata::is_internal(&topic.name))
        .with_topic_authorized_operations(TOPIC_OPERATIONS);
    let ids = |ids: &[i32]| ids.iter().map(|id| (*id).into()).collect();
    for (index, partition) in topic.partitions.range(from..) {
        if entry.partitions.len() == limit {
            return (entry, Some(*index));
        }
        let error = if partition.leader < 0 { ErrorCode::LeaderNotAvailable } else { ErrorCode::None };
        entry.partitions.push(
            DescribeTopicPartitionsResponsePartition::default()
                .with_error_code(error.code())
                .with_partition_index(*index)
                .with_leader_id(partition.leader.into())
                .with_leader_epoch(partition.leader_epoch)
                .with_replica_nodes(ids(&partition.replicas))
                .with_isr_nodes(ids(&partition.isr))
                .with_eligible_leader_replicas(Some(ids(&partition.elr)))
                .with_last_known_elr(Some(ids(&partition.last_known_elr))),
        );
    }
    (entry, None)
}
