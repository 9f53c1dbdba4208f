//! Topic names as clients send them, and the command that makes topics nobody made.

use crate::base::limits::TOPIC_NAME_LEN_MAX;
use crate::meta::controller::{Answer, Command, MetaError, OFFSETS_TOPIC};
use crate::meta::image::TopicImage;
use crate::wire::{ErrorCode, TopicRef};

use super::Ctx;

/// The topic that a request names, and the error when there is none.
pub fn find<'a>(ctx: &Ctx<'a>, topic: &TopicRef) -> (Option<&'a TopicImage>, ErrorCode) {
    match topic {
        TopicRef::Name(name) => (ctx.shard.image.topic_named(name), ErrorCode::UnknownTopicOrPartition),
        TopicRef::Id(id) => (ctx.shard.image.topic(id), ErrorCode::UnknownTopicId),
    }
}

/// Whether a name may name a topic: 1 to 249 of `[a-zA-Z0-9._-]`, not `.` or `..`.
pub fn is_valid(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= TOPIC_NAME_LEN_MAX
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The command that makes topics nobody made; the topic of committed offsets has a command of its own.
pub fn auto_create(names: Vec<String>) -> Command {
    if names.len() == 1 && names[0] == OFFSETS_TOPIC {
        return Command::CreateOffsetsTopic;
    }
    Command::AutoCreateTopics { names }
}

/// The topics that were not made, and why. Somebody else being faster is no refusal: the topic is there.
pub fn refused(answer: Answer) -> Vec<(String, MetaError)> {
    let Answer::TopicsCreated(results) = answer else { return Vec::new() };
    results
        .into_iter()
        .filter_map(|(name, result)| result.err().map(|refusal| (name, refusal.error)))
        .filter(|(_, error)| *error != MetaError::TopicAlreadyExists)
        .collect()
}
