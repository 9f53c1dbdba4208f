//! Tests of what is accepted from clients and why the rest is refused.

use bytes::Bytes;

use super::*;
use crate::base::prng::Prng;
use crate::batch::build::BatchBuilder;
use crate::batch::compress::compress;
use crate::batch::patch::{correct_max_timestamp, seal_crc};

const RULES: ClientRules = ClientRules {
    max_batch_bytes: 1 << 20,
    compacted: false,
    timestamp_type_log_append: false,
    timestamp_before_max_ms: i64::MAX,
    timestamp_after_max_ms: 3_600_000,
    now_ms: 10_000_000,
    zstd_allowed: true,
};

fn good(codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0).codec(codec, None);
    builder.push(1000, Some(b"k"), Some(&[7; 500])).push_with_headers(2000, None, None, &[(b"h", None)]);
    builder.finish().to_vec()
}

/// The batch with one byte changed and the CRC made right again.
fn with(mut batch: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    batch[at] = byte;
    seal_crc(&mut batch);
    batch
}

fn reason(answer: Result<BatchHeader, Refusal>) -> &'static str {
    match answer {
        Err(Refusal::InvalidRecord { reason, .. } | Refusal::InvalidTimestamp { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_batch_is_accepted_with_every_codec() {
    for codec in Codec::ALL {
        let batch = good(codec);
        let header = check_client_batch(&batch, &RULES).expect("accepted");
        assert_eq!(Some(header), BatchHeader::parse(&batch));
    }
}

#[test]
fn exactly_one_whole_batch_must_come() {
    let batch = good(Codec::None);
    assert!(reason(check_client_batch(&[], &RULES)).contains("exactly one"));
    assert!(reason(check_client_batch(&batch[..40], &RULES)).contains("exactly one"));
    assert!(reason(check_client_batch(&batch[..batch.len() - 1], &RULES)).contains("cut"));
    let mut two = batch.clone();
    two.extend_from_slice(&batch);
    assert!(reason(check_client_batch(&two, &RULES)).contains("exactly one"));
    two.truncate(batch.len() + 1);
    assert!(reason(check_client_batch(&two, &RULES)).contains("exactly one"));
    assert!(reason(check_client_batch(&with(batch.clone(), 16, 1), &RULES)).contains("magic"));
    assert_eq!(
        check_client_batch(&with(batch, 11, 20), &RULES),
        Err(Refusal::InvalidRecord {
            reason: "a partition must come with exactly one record batch",
            record_errors: Vec::new()
        })
    );
}

#[test]
fn a_wrong_crc_or_an_impossible_length_is_corruption() {
    let mut batch = good(Codec::None);
    assert!(crc_ok(&batch));
    batch[100] ^= 1;
    assert!(!crc_ok(&batch));
    assert_eq!(check_client_batch(&batch, &RULES), Err(Refusal::Corrupt));
    let mut batch = good(Codec::None);
    batch[8..12].copy_from_slice(&48i32.to_be_bytes());
    assert_eq!(check_client_batch(&batch, &RULES), Err(Refusal::Corrupt));
    assert!(!crc_ok(&batch) && !crc_ok(&[]) && !crc_ok(&batch[..30]));
}

#[test]
fn header_rules_hold() {
    let batch = || good(Codec::None);
    assert!(reason(check_client_batch(&with(batch(), 7, 1), &RULES)).contains("base offset"));
    assert!(reason(check_client_batch(&with(batch(), 22, 1 << 5), &RULES)).contains("control"));
    assert!(reason(check_client_batch(&with(batch(), 60, 3), &RULES)).contains("count"));
    assert!(reason(check_client_batch(&with(batch(), 22, 1 << 4), &RULES)).contains("producer id"));
    assert!(reason(check_client_batch(&with(batch(), 22, 1 << 6), &RULES)).contains("horizon"));
    assert!(matches!(check_client_batch(&with(batch(), 22, 1 << 3), &RULES), Err(Refusal::InvalidTimestamp { .. })));
    assert_eq!(check_client_batch(&with(batch(), 22, 5), &RULES), Err(Refusal::UnsupportedCompression));
    let mut idempotent = batch();
    idempotent[43..51].copy_from_slice(&5i64.to_be_bytes());
    seal_crc(&mut idempotent);
    assert!(reason(check_client_batch(&idempotent, &RULES)).contains("sequence"));
    let empty = BatchBuilder::new(0).finish();
    assert!(reason(check_client_batch(&empty, &RULES)).contains("count"));
}

#[test]
fn size_and_codec_rules_hold() {
    let batch = good(Codec::Zstd);
    let rules = ClientRules { zstd_allowed: false, ..RULES };
    assert_eq!(check_client_batch(&batch, &rules), Err(Refusal::UnsupportedCompression));
    let rules = ClientRules { max_batch_bytes: batch.len() - 1, ..RULES };
    let refusal = Refusal::TooLarge { size: batch.len(), max: batch.len() - 1 };
    assert_eq!(check_client_batch(&batch, &rules), Err(refusal));
    let rules = ClientRules { max_batch_bytes: batch.len(), ..RULES };
    assert!(check_client_batch(&batch, &rules).is_ok());
}

#[test]
fn compacted_topics_want_keys_and_name_the_records_without() {
    let rules = ClientRules { compacted: true, ..RULES };
    for codec in Codec::ALL {
        let Err(Refusal::InvalidRecord { record_errors, .. }) = check_client_batch(&good(codec), &rules) else {
            panic!("accepted with {codec}");
        };
        assert_eq!(record_errors, [(1, NO_KEY)]);
    }
}

#[test]
fn record_errors_are_bounded() {
    let mut builder = BatchBuilder::new(0);
    for _ in 0..RECORD_ERRORS_MAX + 10 {
        builder.push(0, None, None);
    }
    let rules = ClientRules { compacted: true, ..RULES };
    match check_client_batch(&builder.finish(), &rules) {
        Err(Refusal::InvalidRecord { record_errors, .. }) => assert_eq!(record_errors.len(), RECORD_ERRORS_MAX),
        other => panic!("{other:?}"),
    }
}

#[test]
fn timestamps_out_of_range_are_refused_except_for_none_and_under_log_append_time() {
    let batch = |timestamp| {
        let mut builder = BatchBuilder::new(0);
        builder.push(RULES.now_ms, None, None).push(timestamp, None, None);
        builder.finish()
    };
    let narrow = ClientRules { timestamp_before_max_ms: 100, timestamp_after_max_ms: 50, ..RULES };
    for (timestamp, fine) in [(-100, true), (-101, false), (50, true), (51, false)] {
        let answer = check_client_batch(&batch(RULES.now_ms + timestamp), &narrow);
        assert_eq!(answer.is_ok(), fine, "{timestamp}");
        if !fine {
            assert_eq!(answer, Err(Refusal::InvalidTimestamp { reason: BAD_TIME, record_errors: vec![(1, BAD_TIME)] }));
        }
    }
    assert!(check_client_batch(&batch(-1), &narrow).is_ok());
    let append = ClientRules { timestamp_type_log_append: true, ..narrow };
    assert!(check_client_batch(&batch(5), &append).is_ok());
}

#[test]
fn a_wrong_max_timestamp_is_found_and_corrected() {
    let mut batch = good(Codec::Gzip);
    batch[35..43].copy_from_slice(&77i64.to_be_bytes());
    seal_crc(&mut batch);
    let header = check_client_batch(&batch, &RULES).expect("accepted");
    assert_eq!(header.max_timestamp, 2000);
    correct_max_timestamp(&mut batch, &header);
    assert_eq!(batch, good(Codec::Gzip));
}

#[test]
fn offset_deltas_must_count_from_zero() {
    // Offset delta of the first record: behind length (two bytes), attributes, timestamp delta.
    let batch = with(good(Codec::None), HEADER_LEN + 4, 2);
    match check_client_batch(&batch, &RULES) {
        Err(Refusal::InvalidRecord { record_errors, .. }) => assert_eq!(record_errors, [(0, BAD_DELTA)]),
        other => panic!("{other:?}"),
    }
}

/// A batch with one record of `len` zeros, compressed.
fn bomb(codec: Codec, len: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0);
    builder.push(0, None, Some(&vec![0; len]));
    let plain = builder.finish();
    let packed = compress(codec, None, &plain[HEADER_LEN..]);
    let mut bytes = plain[..HEADER_LEN].to_vec();
    bytes.extend_from_slice(&packed);
    bytes[8..12].copy_from_slice(&(49 + packed.len() as i32).to_be_bytes());
    bytes[22] = codec.id() as u8;
    seal_crc(&mut bytes);
    bytes
}

#[test]
fn a_decompression_bomb_stops_at_the_limit() {
    // zstd packs zeros about 16000 times: 80 MiB fit in a few KiB, and 64 MiB are allowed.
    let batch = bomb(Codec::Zstd, 80 << 20);
    assert!(batch.len() < 64 * 1024);
    assert_eq!(check_client_batch(&batch, &RULES), Err(Refusal::DecompressedTooLarge { limit: 64 << 20 }));
    assert!(check_client_batch(&bomb(Codec::Zstd, 60 << 20), &RULES).is_ok());
}

#[test]
fn mutated_batches_with_a_right_crc_never_panic() {
    let mut prng = Prng::new(5);
    for codec in Codec::ALL {
        let batch = good(codec);
        let mut refused = 0;
        for _ in 0..1000 {
            let mut bad = batch.clone();
            for _ in 0..1 + prng.below(5) {
                let at = prng.below(bad.len() as u64) as usize;
                bad[at] = prng.next_u64() as u8;
            }
            if prng.chance(1, 2) {
                bad.truncate(1 + prng.below(bad.len() as u64) as usize);
                let len = bad.len().saturating_sub(12) as u32;
                if bad.len() >= 12 {
                    bad[8..12].copy_from_slice(&len.to_be_bytes());
                }
            }
            if bad.len() >= HEADER_LEN {
                seal_crc(&mut bad);
            }
            match check_client_batch(&bad, &RULES) {
                Err(_) => refused += 1,
                // What is accepted can be read.
                Ok(_) => drop(crate::batch::records::decode(&Bytes::from(bad)).expect("readable")),
            }
        }
        assert!(refused > 500, "{codec}: {refused}");
    }
}
