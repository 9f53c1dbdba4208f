//! Tests of building, recompressing and filtering batches.

use super::*;
use crate::batch::validate::crc_ok;

fn three() -> BatchBuilder {
    let mut builder = BatchBuilder::new(40).leader_epoch(6).producer(9, 2, 100);
    builder
        .push(1000, Some(b"a"), Some(b"one"))
        .push_with_headers(1500, Some(b"b"), None, &[(b"h", Some(b"x")), (b"h", None)])
        .push(900, None, Some(b"three"));
    builder
}

#[test]
fn a_built_batch_reads_back_with_every_codec() {
    for codec in Codec::ALL {
        let batch = three().codec(codec, None).transactional(true).finish();
        assert!(crc_ok(&batch));
        let header = BatchHeader::parse(&batch).expect("header");
        assert_eq!((header.base_offset, header.last_offset(), header.leader_epoch), (40, 42, 6));
        assert_eq!((header.producer_id, header.producer_epoch, header.last_sequence()), (9, 2, 102));
        assert_eq!((header.base_timestamp, header.max_timestamp, header.record_count), (1000, 1500, 3));
        assert_eq!(header.codec(), Ok(codec));
        assert!(header.is_transactional() && !header.is_control());
        let all = records::decode(&batch).expect("records");
        let times: Vec<_> = all.iter().map(|record| (record.offset, record.timestamp)).collect();
        assert_eq!(times, [(40, 1000), (41, 1500), (42, 900)]);
        assert_eq!(all[1].key.as_deref(), Some(&b"b"[..]));
        assert_eq!(all[1].value, None);
        assert_eq!(all[1].headers.len(), 2);
        assert_eq!(all[1].headers[1], (Bytes::from_static(b"h"), None));
    }
}

#[test]
fn recompressing_keeps_records_and_everything_else_of_the_header() {
    let plain = three().finish();
    for codec in Codec::ALL {
        let packed = recompress(&plain, codec, None).expect("recompressed");
        assert!(crc_ok(&packed));
        assert_eq!(records::decode(&packed), records::decode(&plain));
        assert_eq!(recompress(&packed, Codec::None, None).as_ref(), Ok(&plain), "there and back: the same bytes");
    }
}

#[test]
fn a_filtered_batch_keeps_its_range_and_may_become_empty() {
    let batch = three().codec(Codec::Zstd, None).finish();
    let one = filter(&batch, None, |record| record.offset == 41).expect("filtered");
    let header = BatchHeader::parse(&one).expect("header");
    assert_eq!((header.base_offset, header.last_offset(), header.record_count), (40, 42, 1));
    assert_eq!((header.last_sequence(), header.max_timestamp), (102, 1500));
    let left = records::decode(&one).expect("records");
    assert_eq!((left[0].offset, left[0].timestamp, left[0].headers.len()), (41, 1500, 2));
    assert!(crc_ok(&one));

    let none = filter(&one, None, |_| false).expect("filtered");
    let header = BatchHeader::parse(&none).expect("header");
    assert_eq!((none.len(), header.record_count, header.last_offset()), (HEADER_LEN, 0, 42));
    assert_eq!((header.producer_id, header.last_sequence(), header.codec()), (9, 102, Ok(Codec::None)));
    assert_eq!(records::decode(&none), Ok(Vec::new()));
    assert!(crc_ok(&none));
}

#[test]
fn a_delete_horizon_takes_the_place_of_the_base_timestamp_and_is_set_once() {
    let batch = three().finish();
    let marked = filter(&batch, Some(90_000), |_| true).expect("filtered");
    let header = BatchHeader::parse(&marked).expect("header");
    assert_eq!(header.delete_horizon(), Some(90_000));
    assert_eq!(records::decode(&marked), records::decode(&batch), "timestamps stay what they were");
    let again = filter(&marked, Some(95_000), |_| true).expect("filtered");
    assert_eq!(BatchHeader::parse(&again).and_then(|header| header.delete_horizon()), Some(90_000));
}

#[test]
fn log_append_time_holds_for_all_records_of_a_built_batch() {
    let mut builder = BatchBuilder::new(0).log_append_time(5000);
    builder.push(10, None, Some(b"a")).push(20, None, Some(b"b"));
    let batch = builder.finish();
    assert!(records::decode(&batch).expect("records").iter().all(|record| record.timestamp == 5000));
    let kept = filter(&batch, None, |record| record.offset == 1).expect("filtered");
    assert_eq!(records::decode(&kept).expect("records")[0].timestamp, 5000);
}

#[test]
fn a_batch_whose_offsets_fall_cannot_be_filtered() {
    let mut batch = three().finish().to_vec();
    // The offset delta of the second record follows the first record (11 bytes) and length, attributes, two bytes of
    // timestamp delta of the second.
    let at = HEADER_LEN + 11 + 4;
    assert_eq!(batch[at], 2, "offset delta 1, zig-zag");
    batch[at] = 0;
    assert_eq!(filter(&Bytes::from(batch), None, |_| true), Err(RecordError::Offset));
}
