//! 32 DescribeConfigs from this core's picture; 33 AlterConfigs and 44 IncrementalAlterConfigs by the controller.
//!
//! A topic's description ends with an entry that Kafka does not have: `partition.cores`, which core of this node owns
//! which partition now (`0:1,1:0`). It is read-only and a default, so tools that copy or compare what was set pass it
//! over. As it grows with the topic, it is told once a topic and request, however often the request names it.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::base::ids::NodeId;
use crate::meta::controller::{AlteredConfig, Answer, Command, ConfigChange, ConfigOp, ConfigReplacement, OpKind};
use crate::meta::image::ResourceKind;
use crate::meta::settings::{
    ConfigSource, Effective, Kind, PARTITION_CORES, describe_broker, describe_group, describe_topic,
};
use crate::shard::message::Reply;
use crate::wire::messages as m;
use crate::wire::messages::alter_configs_response::AlterConfigsResourceResponse;
use crate::wire::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::wire::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse;
use crate::wire::{ErrorCode, StrBytes, cold, versions};

use super::group_membership::decode;
use super::topics::{code_and_message, controller_error};
use super::{Ctx, Gather, Handled, Step, answer, respond, topic_names};

/// How long a change may wait for the controller, milliseconds (these requests carry no time-out of their own).
const TIMEOUT_MS: u64 = 30_000;
/// From this version on a description has types and, if asked for, documentation.
const DESCRIBE_TYPE_VERSION: i16 = 3;

pub fn describe(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::DescribeConfigsRequest, "DescribeConfigs");
    let mut response = m::DescribeConfigsResponse::default();
    let mut told = BTreeSet::new();
    for resource in &request.resources {
        let mut result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match described(ctx, resource.resource_type, &resource.resource_name) {
            Ok(mut settings) => {
                if ResourceKind::from_code(resource.resource_type) == Some(ResourceKind::Topic)
                    && told.insert(resource.resource_name.clone())
                {
                    settings.extend(owners(ctx, &resource.resource_name));
                }
                let wanted = |setting: &Effective| match &resource.configuration_keys {
                    None => true,
                    Some(keys) => keys.iter().any(|key| **key == *setting.name),
                };
                let settings = settings.into_iter().filter(wanted);
                result.configs = settings
                    .map(|setting| entry(ctx, setting, request.include_synonyms, request.include_documentation))
                    .collect();
            }
            Err((code, message)) => {
                result.error_code = code.code();
                result.error_message = Some(StrBytes::from_string(message));
            }
        }
        response.results.push(result);
    }
    respond(ctx, &response)
}

fn described(ctx: &Ctx<'_>, kind: i8, name: &str) -> Result<Vec<Effective>, (ErrorCode, String)> {
    let (image, settings) = (&ctx.shard.image, ctx.shard.settings());
    match ResourceKind::from_code(kind) {
        Some(ResourceKind::Topic) => {
            if !topic_names::is_valid(name) {
                return Err((ErrorCode::InvalidTopicException, format!("Topic name is invalid: {name}")));
            }
            if image.topic_named(name).is_none() {
                return Err((ErrorCode::UnknownTopicOrPartition, String::new()));
            }
            Ok(describe_topic(image, settings, image.topic_config(name)))
        }
        Some(ResourceKind::Broker) if name.is_empty() => Ok(describe_broker(image, settings, None)),
        Some(ResourceKind::Broker) => match name.parse() {
            Ok(id) if NodeId(id) == settings.node_id => Ok(describe_broker(image, settings, Some(NodeId(id)))),
            _ => Err((
                ErrorCode::InvalidRequest,
                format!("Unexpected broker id, expected {} or empty string, but received {name}", settings.node_id.0),
            )),
        },
        Some(ResourceKind::Group) if !name.is_empty() => Ok(describe_group(image, settings, name)),
        Some(ResourceKind::Group) => Err((ErrorCode::InvalidRequest, "The group name is empty".to_string())),
        _ => Err((ErrorCode::InvalidRequest, format!("Unsupported resource type: {kind}"))),
    }
}

/// Which core owns which partition of a topic.
fn owners(ctx: &Ctx<'_>, topic: &str) -> Option<Effective> {
    let topic = ctx.shard.image.topic_named(topic)?;
    let owners = ctx.shard.route.owners_of(topic.id).map(|(partition, core)| format!("{partition}:{}", core.0));
    Some(Effective {
        name: PARTITION_CORES.to_owned(),
        value: Some(owners.collect::<Vec<_>>().join(",")),
        source: ConfigSource::Default,
        read_only: true,
        sensitive: false,
        kind: Some(Kind::List),
        synonyms: Vec::new(),
        doc: "The core of this broker that owns each partition now, a list of partition:core.",
    })
}

fn entry(ctx: &Ctx<'_>, setting: Effective, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
    let mut entry = DescribeConfigsResourceResult::default()
        .with_read_only(setting.read_only)
        .with_config_source(setting.source.code())
        .with_is_sensitive(setting.sensitive);
    if ctx.head.api_version >= DESCRIBE_TYPE_VERSION {
        entry.config_type = setting.kind.map_or(0, |kind| kind.code());
        if documentation {
            entry.documentation = Some(StrBytes::from_static_str(setting.doc));
        }
    }
    if synonyms {
        let synonym = |synonym: crate::meta::settings::Synonym| {
            let value = (!setting.sensitive).then(|| StrBytes::from_string(synonym.value));
            DescribeConfigsSynonym::default()
                .with_name(StrBytes::from_string(synonym.name))
                .with_value(value)
                .with_source(synonym.source.code())
        };
        entry.synonyms = setting.synonyms.into_iter().map(synonym).collect();
    }
    entry.name = StrBytes::from_string(setting.name);
    entry.value = setting.value.map(StrBytes::from_string);
    entry
}

/// The resources of a request, to be able to answer when the controller does not.
#[derive(Debug)]
struct AlterGather(Vec<(i8, StrBytes)>);

pub fn alter(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::AlterConfigsRequest, "AlterConfigs");
    let asked = request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
    let text = |text: StrBytes| text.to_string();
    let resources = request
        .resources
        .into_iter()
        .map(|resource| ConfigReplacement {
            resource_type: resource.resource_type,
            name: resource.resource_name.to_string(),
            values: resource.configs.into_iter().map(|c| (c.name.to_string(), c.value.map(text))).collect(),
        })
        .collect();
    ctx.ask_controller(0, Command::AlterConfigs { resources, validate_only: request.validate_only });
    ctx.expire_in(TIMEOUT_MS);
    Handled::Gather(Box::new(AlterGather(asked)))
}

pub fn alter_incrementally(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::IncrementalAlterConfigsRequest, "IncrementalAlterConfigs");
    let asked: Vec<_> = request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
    let mut resources = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let mut changes = Vec::with_capacity(resource.configs.len());
        for config in resource.configs {
            let Some(op) = OpKind::from_code(config.config_operation) else {
                return match alter_failed(ctx, &asked, ErrorCode::InvalidRequest) {
                    Step::Answer(parts) => Handled::Answer(parts),
                    _ => Handled::Close("IncrementalAlterConfigs: unknown operation".to_string()),
                };
            };
            let value = config.value.map(|value| value.to_string());
            changes.push(ConfigOp { name: config.name.to_string(), op, value });
        }
        let name = resource.resource_name.to_string();
        resources.push(ConfigChange { resource_type: resource.resource_type, name, changes });
    }
    ctx.ask_controller(0, Command::IncrementalAlterConfigs { resources, validate_only: request.validate_only });
    ctx.expire_in(TIMEOUT_MS);
    Handled::Gather(Box::new(AlterGather(asked)))
}

impl Gather for AlterGather {
    fn reply(&mut self, _part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step {
        match reply {
            Reply::Control(Answer::ConfigsAltered(altered)) => {
                let result = |altered: AlteredConfig| {
                    let (code, message) = code_and_message(altered.result.err());
                    (altered.resource_type, StrBytes::from_string(altered.name), code, message)
                };
                alter_answer(ctx, altered.into_iter().map(result))
            }
            Reply::Refused(error) => alter_failed(ctx, &self.0, controller_error(&error)),
            other => Step::Close(format!("the controller answered {other:?}")),
        }
    }

    fn expired(&mut self, ctx: &mut Ctx<'_>) -> Step {
        alter_failed(ctx, &self.0, ErrorCode::RequestTimedOut)
    }
}

fn alter_failed(ctx: &Ctx<'_>, asked: &[(i8, StrBytes)], error: ErrorCode) -> Step {
    alter_answer(ctx, asked.iter().map(|(kind, name)| (*kind, name.clone(), error.code(), None)))
}

type AlterResult = (i8, StrBytes, i16, Option<StrBytes>);

/// The two APIs answer the same fields under two types.
fn alter_answer(ctx: &Ctx<'_>, results: impl Iterator<Item = AlterResult>) -> Step {
    if ctx.head.api_key == versions::key::ALTER_CONFIGS {
        let response = |(kind, name, code, message): AlterResult| {
            AlterConfigsResourceResponse::default()
                .with_resource_type(kind)
                .with_resource_name(name)
                .with_error_code(code)
                .with_error_message(message)
        };
        return answer(ctx, &m::AlterConfigsResponse::default().with_responses(results.map(response).collect()));
    }
    let response = |(kind, name, code, message): AlterResult| {
        IncrementalResponse::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_error_code(code)
            .with_error_message(message)
    };
    answer(ctx, &m::IncrementalAlterConfigsResponse::default().with_responses(results.map(response).collect()))
}
