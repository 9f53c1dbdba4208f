//! The codecs of the record batch, for the few places that must look inside. Output is bounded: a small input can claim to
//! be a large one, so decompression stops at a limit instead of trusting what the input says of itself.

use std::fmt;
use std::io::{self, Read, Write};

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Why bytes could not be decompressed.
#[derive(Debug)]
pub enum DecompressError {
    /// They are not of the codec's format.
    Malformed(String),
    /// They decompress to more than the limit, bytes.
    TooLarge { limit: usize },
}

impl fmt::Display for DecompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecompressError::Malformed(why) => write!(f, "not decompressible: {why}"),
            DecompressError::TooLarge { limit } => write!(f, "decompresses to more than {limit} bytes"),
        }
    }
}

impl std::error::Error for DecompressError {}

/// Magic bytes, version and least compatible version of the xerial framing that Java's snappy writes.
const XERIAL_MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER: usize = 16;
const XERIAL_BLOCK: usize = 32 * 1024;

impl Codec {
    pub fn id(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    pub fn from_id(id: i16) -> Result<Codec, i16> {
        match id {
            0 => Ok(Codec::None),
            1 => Ok(Codec::Gzip),
            2 => Ok(Codec::Snappy),
            3 => Ok(Codec::Lz4),
            4 => Ok(Codec::Zstd),
            other => Err(other),
        }
    }

    /// The name in Kafka's settings.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    pub fn from_name(name: &str) -> Option<Codec> {
        [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd].into_iter().find(|c| c.name() == name)
    }
}

/// Compresses as Kafka's clients do: snappy in xerial frames, LZ4 in its frame format.
pub fn compress(codec: Codec, plain: &[u8]) -> io::Result<Vec<u8>> {
    match codec {
        Codec::None => Ok(plain.to_vec()),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(plain)?;
            encoder.finish()
        }
        Codec::Snappy => compress_xerial(plain),
        Codec::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(plain)?;
            encoder.finish().map_err(io::Error::other)
        }
        Codec::Zstd => zstd::bulk::compress(plain, 3),
    }
}

fn compress_xerial(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(XERIAL_HEADER + plain.len() / 2);
    out.extend_from_slice(XERIAL_MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    for block in plain.chunks(XERIAL_BLOCK) {
        let packed = snap::raw::Encoder::new().compress_vec(block).map_err(io::Error::other)?;
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

/// Decompresses at most `limit` bytes.
pub fn decompress(codec: Codec, packed: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    match codec {
        Codec::None if packed.len() <= limit => Ok(packed.to_vec()),
        Codec::None => Err(DecompressError::TooLarge { limit }),
        Codec::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(packed), limit),
        Codec::Snappy => decompress_snappy(packed, limit),
        Codec::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(packed), limit),
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(malformed)?;
            // A window of 128 MiB is what a zstd frame may ask for; Kafka's clients use far less at any level.
            decoder.window_log_max(27).map_err(malformed)?;
            read_bounded(decoder, limit)
        }
    }
}

fn malformed(error: impl fmt::Display) -> DecompressError {
    DecompressError::Malformed(error.to_string())
}

fn read_bounded(reader: impl Read, limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut plain = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut plain).map_err(malformed)?;
    if plain.len() > limit { Err(DecompressError::TooLarge { limit }) } else { Ok(plain) }
}

/// Java, librdkafka and Sarama frame their snappy blocks, some Go clients send one raw block.
fn decompress_snappy(packed: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    if !packed.starts_with(XERIAL_MAGIC) {
        let mut plain = Vec::new();
        append_snappy_block(packed, limit, &mut plain)?;
        return Ok(plain);
    }
    let mut rest = packed.get(XERIAL_HEADER..).ok_or_else(|| malformed("the snappy header is cut short"))?;
    let mut plain = Vec::new();
    while !rest.is_empty() {
        let (len, after) = rest.split_first_chunk::<4>().ok_or_else(|| malformed("a snappy length is cut short"))?;
        let len = u32::from_be_bytes(*len) as usize;
        let block = after.get(..len).ok_or_else(|| malformed("a snappy block is cut short"))?;
        append_snappy_block(block, limit, &mut plain)?;
        rest = &after[len..];
    }
    Ok(plain)
}

fn append_snappy_block(block: &[u8], limit: usize, plain: &mut Vec<u8>) -> Result<(), DecompressError> {
    let claimed = snap::raw::decompress_len(block).map_err(malformed)?;
    if plain.len().saturating_add(claimed) > limit {
        return Err(DecompressError::TooLarge { limit });
    }
    // The densest element copies 64 bytes in 3: a block that claims more than that is lying.
    if claimed / 64 > block.len() {
        return Err(malformed("a snappy block claims more than it can hold"));
    }
    let start = plain.len();
    plain.resize(start + claimed, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut plain[start..]).map_err(malformed)?;
    plain.truncate(start + written);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_brings_back_what_it_was_given_and_stops_at_the_limit() {
        let plain: Vec<u8> = (0..100_000u32).flat_map(|i| (i / 7).to_be_bytes()).collect();
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let packed = compress(codec, &plain).unwrap();
            assert_eq!(decompress(codec, &packed, plain.len()).unwrap(), plain, "{codec:?}");
            let short = decompress(codec, &packed, plain.len() - 1);
            assert!(matches!(short, Err(DecompressError::TooLarge { .. })), "{codec:?}");
            assert_eq!(Codec::from_id(codec.id()), Ok(codec));
            assert_eq!(Codec::from_name(codec.name()), Some(codec));
        }
    }

    #[test]
    fn raw_snappy_is_understood_and_a_lying_length_allocates_nothing() {
        let packed = snap::raw::Encoder::new().compress_vec(b"hello hello hello").unwrap();
        assert_eq!(decompress(Codec::Snappy, &packed, 100).unwrap(), b"hello hello hello");
        let lying = [0xff, 0xff, 0xff, 0x3f, 0, 0];
        assert!(decompress(Codec::Snappy, &lying, usize::MAX / 2).is_err());
    }
}
