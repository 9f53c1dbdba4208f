//! Tests of the codecs: round trips, hostile bytes, bombs.

use super::*;
use crate::base::prng::Prng;

fn sample(len: usize) -> Vec<u8> {
    let mut prng = Prng::new(7);
    (0..len).map(|index| if index % 3 == 0 { prng.below(256) as u8 } else { b'x' }).collect()
}

#[test]
fn every_codec_gives_back_what_it_took() {
    for codec in Codec::ALL {
        for len in [0, 1, 100, 32 * 1024, 200_000] {
            let data = sample(len);
            let packed = compress(codec, None, &data);
            assert_eq!(decompress(codec, &packed, len), Ok(data), "{codec} {len}");
        }
    }
}

#[test]
fn levels_beyond_the_range_are_clamped_and_names_are_kafkas() {
    let data = sample(5000);
    for codec in Codec::ALL {
        for level in [i32::MIN, -1, 0, 5, i32::MAX] {
            let packed = compress(codec, Some(level), &data);
            assert_eq!(decompress(codec, &packed, data.len()).as_ref(), Ok(&data), "{codec} {level}");
        }
        assert_eq!(Codec::from_name(codec.name()), Ok(codec));
        assert_eq!(Codec::from_id(codec.id()), Ok(codec));
    }
    assert_eq!(Codec::from_name("uncompressed"), Ok(Codec::None));
    assert!(Codec::from_name("producer").is_err() && Codec::from_id(5).is_err() && Codec::from_id(-1).is_err());
}

#[test]
fn raw_snappy_and_several_framed_streams_are_read() {
    let data = sample(5000);
    let raw = snap::raw::Encoder::new().compress_vec(&data).expect("in memory");
    assert_eq!(decompress(Codec::Snappy, &raw, 5000).as_ref(), Ok(&data));
    let mut framed = xerial(&data);
    framed.extend_from_slice(&xerial(&data));
    let twice = decompress(Codec::Snappy, &framed, 10_000).expect("two streams");
    assert_eq!((&twice[..5000], &twice[5000..]), (&data[..], &data[..]));
}

#[test]
fn output_above_the_limit_is_a_bomb() {
    let zeros = vec![0; 3 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let packed = compress(codec, None, &zeros);
        let limit = zeros.len() - 1;
        assert_eq!(decompress(codec, &packed, limit), Err(CompressError::TooLarge { limit }), "{codec}");
        assert!(decompress(codec, &packed, zeros.len()).is_ok());
    }
    assert_eq!(output_limit(10), 64 << 20);
    assert_eq!(output_limit(1 << 20), 1000 << 20);
    assert_eq!(output_limit(usize::MAX), 1 << 30);
}

#[test]
fn a_snappy_block_that_claims_a_huge_size_is_refused_before_memory_is_taken() {
    // Varint 2^32 − 1, then one literal.
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x41];
    assert_eq!(decompress(Codec::Snappy, &claim, usize::MAX), Err(CompressError::Corrupt));
    let mut framed = XERIAL_HEADER.to_vec();
    framed.extend_from_slice(&7u32.to_be_bytes());
    framed.extend_from_slice(&claim);
    assert_eq!(decompress(Codec::Snappy, &framed, usize::MAX), Err(CompressError::Corrupt));
    framed[16] = 0xff;
    assert_eq!(decompress(Codec::Snappy, &framed, usize::MAX), Err(CompressError::Corrupt), "block beyond the data");
}

#[test]
fn broken_compressed_bytes_never_panic_and_stay_below_the_limit() {
    let mut prng = Prng::new(11);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let packed = compress(codec, None, &sample(3000));
        for _ in 0..400 {
            let mut bad = packed.clone();
            for _ in 0..1 + prng.below(4) {
                let at = prng.below(bad.len() as u64) as usize;
                bad[at] = prng.next_u64() as u8;
            }
            bad.truncate(1 + prng.below(bad.len() as u64) as usize);
            if let Ok(data) = decompress(codec, &bad, 100_000) {
                assert!(data.len() <= 100_000);
            }
        }
        assert!(decompress(codec, &packed[..packed.len() / 2], 10_000).is_err(), "{codec} cut in half");
    }
}
