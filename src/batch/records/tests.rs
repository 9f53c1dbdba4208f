//! Tests of reading single records.

use super::*;
use crate::base::prng::Prng;
use crate::batch::Codec;
use crate::batch::build::BatchBuilder;

fn timed(codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(10).codec(codec, None);
    builder.push(100, None, Some(b"a")).push(300, None, Some(b"b")).push(200, None, None).push(300, None, None);
    builder.finish()
}

#[test]
fn lookups_by_time_find_the_first_fitting_record_with_every_codec() {
    for codec in Codec::ALL {
        let batch = timed(codec);
        assert_eq!(first_at_or_after(&batch, -5), Ok(Some((10, 100))));
        assert_eq!(first_at_or_after(&batch, 101), Ok(Some((11, 300))));
        assert_eq!(first_at_or_after(&batch, 301), Ok(None));
        assert_eq!(first_at_or_after_from(&batch, 150, 12), Ok(Some((12, 200))));
        assert_eq!(max_timestamp_offset(&batch), Ok(Some((11, 300))));
    }
}

#[test]
fn under_log_append_time_the_first_record_answers_for_all() {
    let mut bytes = timed(Codec::Lz4).to_vec();
    crate::batch::patch::set_log_append_time(&mut bytes, 1000);
    let batch = Bytes::from(bytes);
    assert_eq!(first_at_or_after(&batch, 400), Ok(Some((10, 1000))));
    assert_eq!(max_timestamp_offset(&batch), Ok(Some((10, 1000))));
    assert_eq!(first_at_or_after(&batch, 1001), Ok(None));
}

#[test]
fn an_empty_batch_has_no_records_and_no_times() {
    let batch = BatchBuilder::new(5).last_offset(9).finish();
    assert_eq!(decode(&batch), Ok(Vec::new()));
    assert_eq!(max_timestamp_offset(&batch), Ok(None));
    assert_eq!(first_at_or_after(&batch, -1), Ok(None));
}

#[test]
fn what_is_not_one_whole_batch_is_refused() {
    let batch = timed(Codec::None);
    assert_eq!(decode(&batch.slice(..60)), Err(RecordError::NotABatch));
    assert_eq!(decode(&batch.slice(..batch.len() - 1)), Err(RecordError::NotABatch));
    let mut more = batch.to_vec();
    more[60] = 3;
    assert_eq!(decode(&Bytes::from(more.clone())), Err(RecordError::Trailing));
    more[60] = 5;
    assert_eq!(decode(&Bytes::from(more.clone())), Err(RecordError::Truncated));
    more[57] = 0xff;
    assert_eq!(decode(&Bytes::from(more)), Err(RecordError::Count));
}

#[test]
fn numbers_of_too_many_bytes_and_lengths_that_do_not_fit_are_refused() {
    let batch = timed(Codec::None);
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = batch.to_vec();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        decode(&Bytes::from(bad)).expect_err("broken")
    };
    assert_eq!(with(HEADER_LEN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), RecordError::Varint);
    assert_eq!(with(HEADER_LEN, &[0x01]), RecordError::Length, "negative record length");
    assert_eq!(with(HEADER_LEN + 4, &[0x03]), RecordError::Length, "key length -2");
    assert_eq!(with(HEADER_LEN + 5, &[0x7e]), RecordError::Length, "value beyond its record");
}

#[test]
fn broken_batches_never_panic_and_a_lazy_reader_ends_at_the_first_error() {
    let mut prng = Prng::new(3);
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(0).codec(codec, None);
        for index in 0..20u8 {
            builder.push_with_headers(1, Some(&[index]), Some(&[index; 30]), &[(b"k", Some(b"v")), (b"n", None)]);
        }
        let good = builder.finish();
        for _ in 0..500 {
            let mut bad = good.to_vec();
            for _ in 0..1 + prng.below(6) {
                let at = prng.below(bad.len() as u64) as usize;
                bad[at] = prng.next_u64() as u8;
            }
            let bad = Bytes::from(bad);
            if let Ok(mut all) = iter(&bad) {
                let failed = all.by_ref().find_map(Result::err).is_some();
                assert!(!failed || all.next().is_none());
            }
            let _ = first_at_or_after(&bad, 1);
            let _ = max_timestamp_offset(&bad);
        }
    }
}
