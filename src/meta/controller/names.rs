//! What a topic may be called.

use super::super::image::Image;
use super::{MetaError, Refusal};
use crate::base::limits::TOPIC_NAME_LEN_MAX;

/// Judges a topic name by itself. The message is Kafka's.
pub fn check_topic_name(name: &str) -> Result<(), Refusal> {
    let invalid =
        |what: String| Refusal::new(MetaError::InvalidTopicException, format!("Topic name is invalid: {what}"));
    if name.is_empty() {
        return Err(invalid("the empty string is not allowed".to_owned()));
    }
    if name == "." || name == ".." {
        return Err(invalid(format!("'{name}' is not allowed")));
    }
    if name.len() > TOPIC_NAME_LEN_MAX {
        // A name may be as long as a request; it is not repeated in full.
        let shown: String = name.chars().take(TOPIC_NAME_LEN_MAX).collect();
        return Err(invalid(format!(
            "the length of '{shown}' is longer than the max allowed length {TOPIC_NAME_LEN_MAX}"
        )));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(invalid(format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        )));
    }
    Ok(())
}

/// Names that differ only in `.` and `_` would share their metrics in Kafka: such names have the same key.
pub(super) fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

/// An existing topic the name collides with. It must begin like the name up to the first `.` or `_`, and continue with
/// either of the two, so only the topics with those beginnings are looked at.
pub(super) fn collision<'a>(image: &'a Image, name: &str) -> Option<&'a str> {
    let key = collision_key(name);
    let prefix = &name[..name.find(['.', '_'])?];
    ['.', '_'].into_iter().find_map(|separator| {
        let start = format!("{prefix}{separator}");
        let others = image.topics_from(&start).map(|topic| &*topic.name);
        others.take_while(|other| other.starts_with(&start)).find(|other| *other != name && collision_key(other) == key)
    })
}
