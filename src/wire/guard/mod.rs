//! Walks the bytes of a cold request by its schema before the generated decoder sees them.
//!
//! The generated decoders allocate what a count claims: four bytes of Metadata request would abort the process. The
//! guard allocates nothing, runs in time linear in the bytes, and refuses: counts that cannot fit the bytes that are
//! left, negative lengths where null is not allowed, null where the version has no null, strings that are not UTF-8,
//! truncated fields, more than [`COLD_REQUEST_ELEMENTS_MAX`] array elements in all, bodies
//! above [`COLD_REQUEST_BYTES_MAX`], and requests whose decoded form would take more than [`MEMORY_FACTOR_MAX`] times
//! their size. Nesting is as deep as the schema is (three arrays at most). Unknown tagged fields are skipped by their
//! size.
//!
//! Bytes after the last field are ignored, as Kafka does.
//!
//! [`COLD_REQUEST_ELEMENTS_MAX`]: crate::base::limits::COLD_REQUEST_ELEMENTS_MAX

use bytes::Bytes;

use self::schema::{Field, Kind};
use super::WireError;
use super::reader::Reader;
use super::versions::{self, Codec};
#[cfg(test)]
use crate::wire;

#[cfg(test)]
mod samples;
mod schema;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_hostile;

/// Largest body of a cold request, bytes. The large ones are SyncGroup (the leader sends every member's assignment:
/// 10,000 members of 1 KiB are 10 MiB) and JoinGroup; all others stay far below.
pub const COLD_REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Memory that decoding may take, in multiples of the body; on top of [`MEMORY_FREE_BYTES`].
pub const MEMORY_FACTOR_MAX: usize = 64;
/// Memory that decoding any request may take, bytes: a handful of tagged fields costs more than its bytes.
pub const MEMORY_FREE_BYTES: usize = 64 * 1024;

/// What a decoded array element takes at most when it is a structure, bytes (the tests hold the types against it).
const STRUCT_BYTES: usize = 128;
/// As above, for a string.
const STRING_BYTES: usize = 32;
/// What the map of unknown tagged fields takes once it is not empty, bytes: one leaf of an ordered map.
const TAG_MAP_BYTES: usize = 512;
/// What each further tagged field adds at most, bytes: leaves may be half empty.
const TAG_BYTES: usize = 128;

/// Checks the body of a request of a cold API; the generated decoder may run on what passes.
pub fn check(api_key: i16, version: i16, body: &Bytes) -> Result<(), WireError> {
    let api = versions::served(api_key, version)?;
    let fields = schema::of(api_key).ok_or(WireError::UnknownApi(api_key))?;
    crate::invariant!(api.codec == Codec::Cold, "{} has a schema but is not cold", api.name);
    if body.len() > COLD_REQUEST_BYTES_MAX {
        return Err(WireError::ColdRequestSize { bytes: body.len(), limit: COLD_REQUEST_BYTES_MAX });
    }
    let mut walk = Walk { reader: Reader::new(body, api.is_flexible(version)), version, memory: 0 };
    walk.structure(fields)?;
    if walk.memory > body.len() * MEMORY_FACTOR_MAX + MEMORY_FREE_BYTES {
        return Err(WireError::MemoryBeyondBytes { bytes: body.len() });
    }
    Ok(())
}

/// A walk over one request.
struct Walk<'a> {
    reader: Reader<'a>,
    version: i16,
    /// Upper bound of what decoding the bytes walked so far allocates.
    memory: usize,
}

impl Walk<'_> {
    fn structure(&mut self, fields: &[Field]) -> Result<(), WireError> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.is_in(version)) {
            self.field(field)?;
        }
        let tags = self.reader.skip_tags()?;
        if tags > 0 {
            self.memory += TAG_MAP_BYTES + tags * TAG_BYTES;
        }
        Ok(())
    }

    fn field(&mut self, field: &Field) -> Result<(), WireError> {
        let present = match field.kind {
            Kind::Fixed(bytes) => self.reader.take(bytes).map(|_| true)?,
            Kind::String => self.reader.nullable_str()?.is_some(),
            Kind::Bytes => self.reader.skip_nullable_bytes()?,
            Kind::Strings => self.strings()?,
            Kind::Ints => self.ints()?,
            Kind::Array(fields) => self.array(fields)?,
            Kind::Structure(fields) => self.nullable_structure(fields)?,
        };
        if present || field.is_nullable_in(self.version) { Ok(()) } else { Err(WireError::NegativeLength(-1)) }
    }

    fn array(&mut self, fields: &[Field]) -> Result<bool, WireError> {
        let element_bytes_min = structure_bytes_min(fields, self.version, self.reader.is_flexible());
        let Some(count) = self.reader.nullable_count(element_bytes_min)? else { return Ok(false) };
        self.memory += count * STRUCT_BYTES;
        for _ in 0..count {
            self.structure(fields)?;
        }
        Ok(true)
    }

    fn strings(&mut self) -> Result<bool, WireError> {
        let length_bytes = if self.reader.is_flexible() { 1 } else { 2 };
        let Some(count) = self.reader.nullable_count(length_bytes)? else { return Ok(false) };
        self.memory += count * STRING_BYTES;
        for _ in 0..count {
            self.reader.nullable_str()?.ok_or(WireError::NegativeLength(-1))?;
        }
        Ok(true)
    }

    fn ints(&mut self) -> Result<bool, WireError> {
        let Some(count) = self.reader.nullable_count(4)? else { return Ok(false) };
        self.memory += count * 4;
        self.reader.take(count * 4)?;
        Ok(true)
    }

    fn nullable_structure(&mut self, fields: &[Field]) -> Result<bool, WireError> {
        match self.reader.i8()? {
            -1 => Ok(false),
            1 => self.structure(fields).map(|()| true),
            other => Err(WireError::BadPresence(other)),
        }
    }
}

/// The fewest bytes a structure of these fields can have; at least 1, since no element of an array is empty.
fn structure_bytes_min(fields: &[Field], version: i16, flexible: bool) -> usize {
    let field_bytes_min = |field: &Field| match field.kind {
        Kind::Fixed(bytes) => bytes,
        Kind::Structure(_) => 1,
        _ if flexible => 1,
        Kind::String => 2,
        Kind::Bytes | Kind::Strings | Kind::Ints | Kind::Array(_) => 4,
    };
    let present = fields.iter().filter(|field| field.is_in(version));
    present.map(field_bytes_min).sum::<usize>() + usize::from(flexible)
}
