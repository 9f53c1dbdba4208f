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

/// An existing topic the name collides with. Every `.` and `_` of the name is tried as both, but only as long as some
/// topic begins that way, so the search looks at a few names and not at all of them.
pub(super) fn collision<'a>(image: &'a Image, name: &str) -> Option<&'a str> {
    // Beginnings that exist, each with what of the name is still to come.
    let mut open: Vec<(String, &str)> = vec![(String::new(), name)];
    while let Some((begin, rest)) = open.pop() {
        let Some(at) = rest.find(['.', '_']) else {
            let whole = begin + rest;
            match image.topic_named(&whole) {
                Some(topic) if whole != name => return Some(&topic.name),
                _ => continue,
            }
        };
        for separator in ['.', '_'] {
            let longer = format!("{begin}{}{separator}", &rest[..at]);
            if image.topics_from(&longer).next().is_some_and(|topic| topic.name.starts_with(&longer)) {
                open.push((longer, &rest[at + 1..]));
            }
        }
    }
    None
}
