//! Topic names as clients send them, and the command that makes topics nobody made.

use crate::base::limits::TOPIC_NAME_LEN_MAX;
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
