//! Topic names as clients send them, and the command that makes topics nobody made.

use crate::base::limits::TOPIC_NAME_LEN_MAX;

/// Whether a name may name a topic: 1 to 249 of `[a-zA-Z0-9._-]`, not `.` or `..`.
pub fn is_valid(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= TOPIC_NAME_LEN_MAX
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
