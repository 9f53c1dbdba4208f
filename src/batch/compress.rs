//! The codecs of the record batch, for the few places that must look inside one.
//!
//! Sizes claimed inside compressed data are never believed: output is produced piece by piece under a limit, and the
//! one format that must know its size beforehand (a raw snappy block) is checked against the most it can expand to.

use std::fmt;
use std::io::{self, Read, Write};

/// How the records of a batch are compressed; the numbers are the low three bits of the attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

/// A codec id (5, 6, 7) or name that Kafka does not define.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCodec;

impl fmt::Display for UnknownCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown compression type")
    }
}

impl std::error::Error for UnknownCodec {}

impl Codec {
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec with this id.
    pub fn from_id(id: i8) -> Result<Codec, UnknownCodec> {
        Codec::ALL.into_iter().find(|codec| codec.id() == id).ok_or(UnknownCodec)
    }

    pub fn id(self) -> i8 {
        self as i8
    }

    /// The codec with this name, as in `compression.type`; `uncompressed` is the topic setting's word for none.
    pub fn from_name(name: &str) -> Result<Codec, UnknownCodec> {
        if name == "uncompressed" {
            return Ok(Codec::None);
        }
        Codec::ALL.into_iter().find(|codec| codec.name() == name).ok_or(UnknownCodec)
    }

    /// The name as Kafka spells it.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// Lowest, default and highest level (`compression.gzip.level`, `.lz4.level`, `.zstd.level`); `None` for codecs
    /// without one.
    pub fn levels(self) -> Option<(i32, i32, i32)> {
        match self {
            Codec::None | Codec::Snappy => None,
            Codec::Gzip => Some((1, -1, 9)),
            Codec::Lz4 => Some((1, 9, 17)),
            Codec::Zstd => Some((-131_072, 3, 22)),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why compressed bytes gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressError {
    /// Not data of this codec, or cut.
    Corrupt,
    /// More than `limit` bytes came out.
    TooLarge { limit: usize },
}

impl fmt::Display for CompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompressError::Corrupt => f.write_str("compressed data is corrupt"),
            CompressError::TooLarge { limit } => write!(f, "compressed data holds more than {limit} bytes"),
        }
    }
}

impl std::error::Error for CompressError {}

/// What any batch may decompress to, at least, bytes.
const OUTPUT_FLOOR: usize = 64 << 20;
/// What no batch may exceed, bytes: about a second of work for one core.
const OUTPUT_CEILING: usize = 1 << 30;
/// Honest data does not shrink further than this (a million equal bytes in zstd shrink about 20000 times, but they
/// then stay below the floor).
const RATIO_MAX: usize = 1000;

/// The most that `compressed_len` bytes may decompress to before they count as a bomb, bytes.
pub fn output_limit(compressed_len: usize) -> usize {
    compressed_len.saturating_mul(RATIO_MAX).clamp(OUTPUT_FLOOR, OUTPUT_CEILING)
}

/// Compresses `data`. `level` is clamped to the codec's range; `None` is the codec's default (the lz4 encoder knows
/// only one level and takes any). Snappy is framed as the Java client frames it.
pub fn compress(codec: Codec, level: Option<i32>, data: &[u8]) -> Vec<u8> {
    let packed = match codec {
        Codec::None => Ok(data.to_vec()),
        Codec::Gzip => gzip(level, data),
        Codec::Snappy => Ok(xerial(data)),
        Codec::Lz4 => lz4(data),
        Codec::Zstd => zstd::stream::encode_all(data, level.unwrap_or(3).clamp(-131_072, 22)),
    };
    match packed {
        Ok(packed) => packed,
        // The writers are vectors and the level is in range: only lack of memory is left.
        Err(error) => panic!("invariant broken: {codec} failed in memory: {error}"),
    }
}

fn gzip(level: Option<i32>, data: &[u8]) -> io::Result<Vec<u8>> {
    let level = match level {
        None | Some(-1) => flate2::Compression::default(),
        Some(level) => flate2::Compression::new(level.clamp(1, 9) as u32),
    };
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(data)?;
    encoder.finish()
}

fn lz4(data: &[u8]) -> io::Result<Vec<u8>> {
    // The Java client reads independent blocks only, and writes blocks of 64 KiB.
    let frame = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
    encoder.write_all(data)?;
    encoder.finish().map_err(io::Error::from)
}

/// Magic, version 1, compatible version 1: how the Java snappy stream begins.
const XERIAL_HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_MAGIC_LEN: usize = 8;
const XERIAL_BLOCK: usize = 32 * 1024;

fn xerial(data: &[u8]) -> Vec<u8> {
    let mut out = XERIAL_HEADER.to_vec();
    let mut encoder = snap::raw::Encoder::new();
    let mut block = vec![0; snap::raw::max_compress_len(XERIAL_BLOCK)];
    for chunk in data.chunks(XERIAL_BLOCK) {
        // The block holds the most that a chunk can grow to, so this cannot fail.
        let len = encoder.compress(chunk, &mut block).unwrap_or_else(|error| panic!("invariant broken: {error}"));
        out.extend_from_slice(&(len as u32).to_be_bytes());
        out.extend_from_slice(&block[..len]);
    }
    out
}

/// Decompresses all of `data`, at most `limit` bytes of output (see [`output_limit`]).
pub fn decompress(codec: Codec, data: &[u8], limit: usize) -> Result<Vec<u8>, CompressError> {
    let mut out = Vec::new();
    let limit_reached = (limit as u64).saturating_add(1);
    let mut reader = Decoder::new(codec, data)?.take(limit_reached);
    reader.read_to_end(&mut out).map_err(|_| CompressError::Corrupt)?;
    if out.len() > limit {
        return Err(CompressError::TooLarge { limit });
    }
    Ok(out)
}

/// A reader of decompressed bytes.
pub enum Decoder<'a> {
    Plain(&'a [u8]),
    Gzip(Box<flate2::bufread::MultiGzDecoder<&'a [u8]>>),
    Snappy(SnappyReader<'a>),
    Lz4(Box<lz4_flex::frame::FrameDecoder<&'a [u8]>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, &'a [u8]>>),
}

impl fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Decoder::Plain(_) => "Decoder(none)",
            Decoder::Gzip(_) => "Decoder(gzip)",
            Decoder::Snappy(_) => "Decoder(snappy)",
            Decoder::Lz4(_) => "Decoder(lz4)",
            Decoder::Zstd(_) => "Decoder(zstd)",
        })
    }
}

impl<'a> Decoder<'a> {
    /// Starts to decompress `data`; errors in the data show when it is read.
    pub fn new(codec: Codec, data: &'a [u8]) -> Result<Decoder<'a>, CompressError> {
        Ok(match codec {
            Codec::None => Decoder::Plain(data),
            Codec::Gzip => Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(data))),
            Codec::Snappy => Decoder::Snappy(SnappyReader::new(data)),
            Codec::Lz4 => Decoder::Lz4(Box::new(lz4_flex::frame::FrameDecoder::new(data))),
            Codec::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(data).map_err(|_| CompressError::Corrupt)?;
                Decoder::Zstd(Box::new(decoder))
            }
        })
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Plain(data) => data.read(out),
            Decoder::Gzip(decoder) => decoder.read(out),
            Decoder::Snappy(decoder) => decoder.read(out),
            Decoder::Lz4(decoder) => decoder.read(out),
            Decoder::Zstd(decoder) => decoder.read(out),
        }
    }
}

/// Both forms of snappy found in batches: blocks framed as by the Java library, or one raw block.
pub struct SnappyReader<'a> {
    rest: &'a [u8],
    framed: bool,
    decoder: snap::raw::Decoder,
    block: Vec<u8>,
    taken: usize,
}

impl fmt::Debug for SnappyReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnappyReader({} bytes left, framed: {})", self.rest.len(), self.framed)
    }
}

fn corrupt() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "snappy data is corrupt")
}

impl<'a> SnappyReader<'a> {
    fn new(data: &'a [u8]) -> SnappyReader<'a> {
        let framed = data.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC_LEN]);
        SnappyReader { rest: data, framed, decoder: snap::raw::Decoder::new(), block: Vec::new(), taken: 0 }
    }

    /// Decompresses the next block; false when there is none.
    fn next_block(&mut self) -> io::Result<bool> {
        let packed = if self.framed {
            // Streams may follow each other, each with its own header.
            while self.rest.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC_LEN]) {
                self.rest = self.rest.get(XERIAL_HEADER.len()..).ok_or_else(corrupt)?;
            }
            if self.rest.is_empty() {
                return Ok(false);
            }
            let (size, rest) = self.rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
            let (packed, rest) = rest.split_at_checked(u32::from_be_bytes(*size) as usize).ok_or_else(corrupt)?;
            self.rest = rest;
            packed
        } else {
            std::mem::take(&mut self.rest)
        };
        if packed.is_empty() && !self.framed {
            return Ok(false);
        }
        let len = snap::raw::decompress_len(packed).map_err(|_| corrupt())?;
        // The densest element is a copy of 64 bytes in 3: no honest block grows more than 22 times.
        if len > packed.len().saturating_mul(22) {
            return Err(corrupt());
        }
        self.block.resize(len, 0);
        self.decoder.decompress(packed, &mut self.block).map_err(|_| corrupt())?;
        self.taken = 0;
        Ok(true)
    }
}

impl Read for SnappyReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let count = out.len().min(self.block.len() - self.taken);
        out[..count].copy_from_slice(&self.block[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
