//! What can be wrong with bytes from a client, and with a response that does not fit the version it is asked for.
//!
//! Every variant means: close the connection. Kafka does the same, since after a misread field nothing that follows can
//! be trusted. (The one exception, an unknown version of ApiVersions, is not an error: see [`super::header`].)

use std::fmt;

/// Why bytes were refused, or a response could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// A frame announces a negative length, or one above the limit (both in bytes).
    FrameSize { announced: i32, limit: usize },
    /// A field ends after the end of the request.
    Truncated { needed: usize, remaining: usize },
    /// A length or count that is negative where null is not allowed, or below -1.
    NegativeLength(i64),
    /// An array claims more elements than its remaining bytes can hold.
    CountBeyondBytes { count: usize, remaining: usize },
    /// All arrays of the request together hold more elements than allowed.
    TooManyElements { limit: usize },
    /// Decoding would need far more memory than the request has bytes.
    MemoryBeyondBytes { bytes: usize },
    /// A cold request is larger than allowed.
    ColdRequestSize { bytes: usize, limit: usize },
    /// A variable-length number does not end within 32 bits.
    VarintTooLong,
    /// A string is not UTF-8.
    NotUtf8,
    /// A marker byte of a nullable structure is neither -1 nor 1.
    BadPresence(i8),
    /// A tagged field has another size than its type.
    TaggedFieldSize { tag: u32, size: usize },
    /// No such API is served here.
    UnknownApi(i16),
    /// The API is served, but not in this version.
    UnsupportedVersion { api_key: i16, version: i16 },
    /// A response names a topic by name where the version wants the id, or the other way round.
    TopicRefMismatch { api_key: i16, version: i16 },
    /// A response is too large for its length field, or one of its fields is (bytes).
    ResponseSize(usize),
    /// The generated codec refused; its message.
    Codec(String),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::FrameSize { announced, limit } => {
                write!(f, "a frame of {announced} bytes is announced, the limit is {limit}")
            }
            WireError::Truncated { needed, remaining } => {
                write!(f, "a field needs {needed} bytes where {remaining} are left")
            }
            WireError::NegativeLength(length) => write!(f, "length {length} where none below zero is allowed"),
            WireError::CountBeyondBytes { count, remaining } => {
                write!(f, "an array of {count} elements cannot fit the {remaining} bytes that are left")
            }
            WireError::TooManyElements { limit } => write!(f, "more than {limit} array elements in one request"),
            WireError::MemoryBeyondBytes { bytes } => {
                write!(f, "decoding a request of {bytes} bytes would take far more memory than that")
            }
            WireError::ColdRequestSize { bytes, limit } => {
                write!(f, "a request of {bytes} bytes, the limit for this API is {limit}")
            }
            WireError::VarintTooLong => f.write_str("a variable-length number exceeds 32 bits"),
            WireError::NotUtf8 => f.write_str("a string is not UTF-8"),
            WireError::BadPresence(byte) => write!(f, "presence marker {byte}, expected -1 or 1"),
            WireError::TaggedFieldSize { tag, size } => write!(f, "tagged field {tag} cannot have {size} bytes"),
            WireError::UnknownApi(key) => write!(f, "API key {key} is not served"),
            WireError::UnsupportedVersion { api_key, version } => {
                write!(f, "version {version} of API key {api_key} is not served")
            }
            WireError::TopicRefMismatch { api_key, version } => {
                write!(f, "version {version} of API key {api_key} refers to topics the other way (name or id)")
            }
            WireError::ResponseSize(bytes) => write!(f, "a response field of {bytes} bytes does not fit its length"),
            WireError::Codec(message) => write!(f, "codec: {message}"),
        }
    }
}

impl std::error::Error for WireError {}
