//! The topics in a ConsumerProtocolSubscription: the one place where the broker looks into a member's metadata.
//!
//! Only the fields of version 0 are read; every later version begins with them, and Kafka's coordinator does the same.

use std::collections::BTreeSet;

use super::codec::{Reader, Short};
use super::limits::SUBSCRIBED_TOPICS_MAX;

/// The protocol type whose metadata this file understands.
pub(super) const CONSUMER: &str = "consumer";

/// Adds the topics of one member's metadata to `topics`. `Err`: these bytes are no subscription, or there are more
/// than the bound of topics; the group's subscriptions then count as unknown.
pub(super) fn subscribed_topics(metadata: &[u8], topics: &mut BTreeSet<String>) -> Result<(), Short> {
    let mut reader = Reader::new(metadata);
    if reader.i16()? < 0 {
        return Err(Short);
    }
    for _ in 0..reader.count(false, 2)? {
        let topic = reader.text(false)?;
        if !topics.contains(topic) {
            if topics.len() >= SUBSCRIBED_TOPICS_MAX {
                return Err(Short);
            }
            topics.insert(topic.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_from_any_version_and_malformed_metadata_is_refused() {
        let mut topics = BTreeSet::new();
        // Version 3, topics t1 and t2, then fields that version 0 does not have.
        let metadata = b"\x00\x03\x00\x00\x00\x02\x00\x02t1\x00\x02t2\xff\xff\xff\xff\x00\x00\x00\x00";
        assert_eq!(subscribed_topics(metadata, &mut topics), Ok(()));
        assert_eq!(topics, BTreeSet::from(["t1".to_owned(), "t2".to_owned()]));
        assert_eq!(subscribed_topics(b"", &mut topics), Err(Short));
        assert_eq!(subscribed_topics(b"\xff\xff\x00\x00\x00\x00", &mut topics), Err(Short), "version -1");
        assert_eq!(
            subscribed_topics(b"\x00\x00\x7f\xff\xff\xff\x00\x00", &mut topics),
            Err(Short),
            "a count that lies"
        );
    }
}
