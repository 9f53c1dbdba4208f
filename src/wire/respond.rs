//! Writes a response as a list of slices: encoded fields in between, record bytes untouched.
//!
//! All encoded fields go into one buffer that is cut where foreign bytes belong, so a response costs one allocation
//! however many slices it has.

use bytes::{BufMut, Bytes, BytesMut};

use super::versions::{self, key};
use super::{NodeEndpoint, TopicRef, WireError};
use crate::base::ids::Uuid;
use crate::port::range::Part;

/// A response being written: length, header and body. Fields are written in the layout of its version.
#[derive(Debug)]
pub struct ResponseParts {
    fields: BytesMut,
    /// Foreign bytes, and where in `fields` they belong; positions never fall.
    spliced: Vec<(usize, Part)>,
    spliced_bytes: usize,
    /// Compact lengths and tagged fields.
    flexible: bool,
    /// The first length that did not fit its field, reported at the end.
    oversize: Option<usize>,
}

impl ResponseParts {
    /// Starts a response with room for its length and the header of this API and version: v0 before flexible versions
    /// and always for ApiVersions, v1 else.
    pub fn new(api_key: i16, version: i16, correlation_id: i32) -> Result<ResponseParts, WireError> {
        ResponseParts::with_capacity(api_key, version, correlation_id, 128)
    }

    /// As [`ResponseParts::new`], for about `bytes` bytes of fields.
    pub fn with_capacity(api_key: i16, version: i16, correlation_id: i32, bytes: usize) -> Result<Self, WireError> {
        let flexible = versions::served(api_key, version)?.is_flexible(version);
        let mut fields = BytesMut::with_capacity(bytes.saturating_add(16));
        fields.put_i32(0);
        fields.put_i32(correlation_id);
        if flexible && api_key != key::API_VERSIONS {
            fields.put_u8(0);
        }
        Ok(ResponseParts { fields, spliced: Vec::new(), spliced_bytes: 0, flexible, oversize: None })
    }

    /// Where a generated codec appends its fields.
    pub(super) fn fields(&mut self) -> &mut BytesMut {
        &mut self.fields
    }

    pub fn i16(&mut self, value: i16) {
        self.fields.put_i16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.fields.put_i32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.fields.put_i64(value);
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.fields.put_slice(&value.0);
    }

    pub fn string(&mut self, value: &str) {
        self.string_length(value.len());
        self.fields.put_slice(value.as_bytes());
    }

    /// A topic as its version wants it: the name below `ids_from`, the id from it on.
    pub(super) fn topic(
        &mut self,
        api_key: i16,
        version: i16,
        ids_from: i16,
        topic: &TopicRef,
    ) -> Result<(), WireError> {
        match topic {
            TopicRef::Name(name) if version < ids_from => self.string(name),
            TopicRef::Id(id) if version >= ids_from => self.uuid(*id),
            _ => return Err(WireError::TopicRefMismatch { api_key, version }),
        }
        Ok(())
    }

    pub fn nullable_string(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.string(value),
            None if self.flexible => self.fields.put_u8(0),
            None => self.fields.put_i16(-1),
        }
    }

    fn string_length(&mut self, length: usize) {
        if self.flexible {
            return self.count(length);
        }
        let short = i16::try_from(length).unwrap_or_else(|_| {
            self.oversize.get_or_insert(length);
            0
        });
        self.fields.put_i16(short);
    }

    /// The count of an array, or the length of bytes.
    pub fn count(&mut self, count: usize) {
        if count >= i32::MAX as usize {
            self.oversize.get_or_insert(count);
        } else if self.flexible {
            put_uvarint(&mut self.fields, count as u32 + 1);
        } else {
            self.fields.put_i32(count as i32);
        }
    }

    /// An array that is null.
    pub fn null_array(&mut self) {
        if self.flexible { self.fields.put_u8(0) } else { self.fields.put_i32(-1) }
    }

    /// Records: their length, then the slices themselves, not copied. Without slices the length is 0, never null:
    /// librdkafka takes null for a broken response.
    pub fn records(&mut self, slices: &[Part]) {
        self.count(slices.iter().map(Part::len).sum());
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            self.spliced_bytes = self.spliced_bytes.saturating_add(slice.len());
            self.spliced.push((self.fields.len(), slice.clone()));
        }
    }

    /// Tagged fields in ascending order of their tags, each with its encoded bytes (none before flexible versions).
    pub fn tags(&mut self, tagged: &[(u32, Vec<u8>)]) {
        if !self.flexible {
            return;
        }
        put_uvarint(&mut self.fields, tagged.len() as u32);
        for (tag, bytes) in tagged {
            put_uvarint(&mut self.fields, *tag);
            put_uvarint(&mut self.fields, bytes.len() as u32);
            self.fields.put_slice(bytes);
        }
    }

    /// An empty set of tagged fields (nothing before flexible versions).
    pub fn no_tags(&mut self) {
        self.tags(&[]);
    }

    /// Ends a response without foreign bytes.
    pub(super) fn finish_single(self) -> Result<Bytes, WireError> {
        crate::invariant!(self.spliced.is_empty(), "a cold response has {} foreign slices", self.spliced.len());
        Ok(self.finish()?.pop().and_then(|part| part.memory().cloned()).unwrap_or_default())
    }

    /// Ends the response: stamps the length and cuts the fields around the foreign bytes.
    pub fn finish(mut self) -> Result<Vec<Part>, WireError> {
        if let Some(length) = self.oversize {
            return Err(WireError::ResponseSize(length));
        }
        let total = self.fields.len().saturating_add(self.spliced_bytes) - 4;
        let announced = i32::try_from(total).map_err(|_| WireError::ResponseSize(total))?;
        self.fields[..4].copy_from_slice(&announced.to_be_bytes());
        let mut parts = Vec::with_capacity(2 * self.spliced.len() + 1);
        let mut fields = self.fields.freeze();
        let mut taken = 0;
        for (position, part) in self.spliced {
            if position > taken {
                parts.push(fields.split_to(position - taken).into());
                taken = position;
            }
            parts.push(part);
        }
        if !fields.is_empty() {
            parts.push(fields.into());
        }
        Ok(parts)
    }
}

/// Appends an unsigned variable-length number.
pub(super) fn put_uvarint(buffer: &mut impl BufMut, mut value: u32) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

/// Appends a compact string.
fn put_compact_string(buffer: &mut Vec<u8>, value: &str) {
    put_uvarint(buffer, value.len() as u32 + 1);
    buffer.put_slice(value.as_bytes());
}

/// A tagged structure of an integer and a last field of `last` bytes, followed by no tags of its own.
pub(super) fn tagged_pair(first: &[u8], last: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(first.len() + last.len() + 1);
    bytes.extend_from_slice(first);
    bytes.extend_from_slice(last);
    bytes.push(0);
    bytes
}

/// The tagged array of node endpoints, laid out alike in Produce and Fetch responses (KIP-951).
pub(super) fn tagged_endpoints(endpoints: &[NodeEndpoint]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32 * endpoints.len() + 5);
    put_uvarint(&mut bytes, endpoints.len() as u32 + 1);
    for endpoint in endpoints {
        bytes.put_i32(endpoint.node_id);
        put_compact_string(&mut bytes, &endpoint.host);
        bytes.put_i32(endpoint.port);
        match &endpoint.rack {
            Some(rack) => put_compact_string(&mut bytes, rack),
            None => bytes.put_u8(0),
        }
        bytes.put_u8(0);
    }
    bytes
}
