//! Names of things, each its own type, so that the compiler refuses to mix them.

use std::fmt;

/// One CPU core and the thread pinned to it, counted from 0 within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);

/// A broker process of the cluster (`node.id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub i32);

/// A connection, unique within its core for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// An idempotent producer (KIP-98). Negative means "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub i64);

/// A 128-bit id as Kafka prints it: URL-safe base64 without padding, 22 characters.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// The id of a topic: random, never reused, zero means "none" (KIP-516).
pub type TopicId = Uuid;

/// A partition of a topic, by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: TopicId,
    pub partition: i32,
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// The id that means "none".
    pub const ZERO: Uuid = Uuid([0; 16]);
    /// The topic id of `__cluster_metadata`.
    pub const METADATA: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// A version 4 (random) id from 16 random bytes.
    pub fn from_random(mut bytes: [u8; 16]) -> Uuid {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Uuid(bytes)
    }

    /// Parses the 22-character form; `None` when it is anything else.
    pub fn parse(text: &str) -> Option<Uuid> {
        if text.len() != 22 {
            return None;
        }
        let mut bits: u128 = 0;
        for (index, symbol) in text.bytes().enumerate() {
            let value = ALPHABET.iter().position(|&a| a == symbol)? as u128;
            if index < 21 {
                bits = (bits << 6) | value;
            } else {
                // The last symbol carries two bits and four zeros.
                if value & 0x0f != 0 {
                    return None;
                }
                bits = (bits << 2) | (value >> 4);
            }
        }
        Some(Uuid(bits.to_be_bytes()))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let mut text = String::with_capacity(22);
        for index in 0..21 {
            let value = (bits >> (122 - 6 * index)) & 0x3f;
            text.push(ALPHABET[value as usize] as char);
        }
        text.push(ALPHABET[((bits & 0x03) << 4) as usize] as char);
        f.write_str(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_prints_as_kafka_prints_it_and_parses_back() {
        assert_eq!(Uuid::METADATA.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        let id = Uuid::from_random(*b"0123456789abcdef");
        assert_eq!(Uuid::parse(&id.to_string()), Some(id));
        assert_eq!(Uuid::parse("AAAAAAAAAAAAAAAAAAAAAR"), None, "stray bits in the last symbol");
        assert_eq!(Uuid::parse("short"), None);
    }
}
