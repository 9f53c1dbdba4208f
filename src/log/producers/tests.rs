//! Tests of the producer states: sequences, duplicates, transactions, snapshots.

use super::*;
use crate::base::prng::Prng;
use crate::batch::build::BatchBuilder;

/// A batch of producer 7 with `count` records.
fn batch(epoch: i16, sequence: i32, count: i32) -> BatchHeader {
    let mut builder = BatchBuilder::new(0).producer(7, epoch, sequence);
    for _ in 0..count {
        builder.push(1000, None, None);
    }
    BatchHeader::parse(&builder.finish()).expect("header")
}

fn transactional(epoch: i16, sequence: i32) -> BatchHeader {
    let mut header = batch(epoch, sequence, 1);
    header.attributes |= 1 << 4;
    header
}

fn marker(epoch: i16) -> BatchHeader {
    let end = EndTxn { commit: true, coordinator_epoch: 1 };
    BatchHeader::parse(&control::end_txn_marker(7, epoch, end, 2000)).expect("header")
}

fn append(states: &mut ProducerStates, header: &BatchHeader, at: i64) {
    assert_eq!(states.check(header), Ok(Verdict::Append));
    states.record(header, at, at + i64::from(header.last_offset_delta));
}

#[test]
fn batches_in_sequence_are_appended_and_gaps_refused() {
    let mut states = ProducerStates::new();
    append(&mut states, &batch(0, 0, 3), 100);
    append(&mut states, &batch(0, 3, 1), 103);
    assert_eq!(states.check(&batch(0, 5, 1)), Err(SequenceError::OutOfOrder { sequence: 5, last: 3 }));
    assert_eq!(states.check(&batch(0, 2, 1)), Err(SequenceError::OutOfOrder { sequence: 2, last: 3 }));
    let mut plain = batch(0, 99, 1);
    plain.producer_id = -1;
    assert_eq!(states.check(&plain), Ok(Verdict::Append));
}

#[test]
fn each_of_the_last_five_batches_is_recognised_as_a_duplicate_and_older_ones_are_gaps() {
    let mut states = ProducerStates::new();
    for index in 0..7 {
        append(&mut states, &batch(0, index * 10, 10), i64::from(index) * 50);
    }
    for index in 2..7 {
        let base_offset = i64::from(index) * 50;
        let expected = Verdict::Duplicate { base_offset, last_offset: base_offset + 9, timestamp: 1000 };
        assert_eq!(states.check(&batch(0, index * 10, 10)), Ok(expected));
    }
    assert!(matches!(states.check(&batch(0, 10, 10)), Err(SequenceError::OutOfOrder { .. })));
    assert!(matches!(states.check(&batch(0, 60, 9)), Err(SequenceError::OutOfOrder { .. })), "half a batch");
}

#[test]
fn sequences_wrap_to_zero_and_a_wrapped_batch_is_still_a_duplicate() {
    let mut states = ProducerStates::new();
    append(&mut states, &batch(0, i32::MAX - 1, 2), 0);
    append(&mut states, &batch(0, 0, 1), 2);
    let mut states = ProducerStates::new();
    append(&mut states, &batch(0, i32::MAX - 1, 5), 10);
    assert_eq!(states.get(7).map(ProducerState::last_sequence), Some(2));
    let duplicate = Verdict::Duplicate { base_offset: 10, last_offset: 14, timestamp: 1000 };
    assert_eq!(states.check(&batch(0, i32::MAX - 1, 5)), Ok(duplicate));
    append(&mut states, &batch(0, 3, 1), 15);
}

#[test]
fn a_new_epoch_starts_at_zero_and_the_old_one_is_fenced() {
    let mut states = ProducerStates::new();
    append(&mut states, &batch(3, 40, 2), 0);
    assert_eq!(states.check(&batch(2, 42, 1)), Err(SequenceError::StaleEpoch { epoch: 2, current: 3 }));
    assert_eq!(states.check(&batch(4, 42, 1)), Err(SequenceError::OutOfOrder { sequence: 42, last: -1 }));
    append(&mut states, &batch(4, 0, 1), 2);
    assert_eq!(states.check(&batch(3, 40, 2)), Err(SequenceError::StaleEpoch { epoch: 3, current: 4 }));
}

#[test]
fn without_state_any_sequence_is_accepted_except_in_transactions_version_2() {
    let states = ProducerStates::new();
    assert_eq!(states.check(&batch(0, 500, 1)), Ok(Verdict::Append));
    assert_eq!(states.check_version(&transactional(0, 500), false), Ok(Verdict::Append));
    let refused = Err(SequenceError::OutOfOrder { sequence: 500, last: -1 });
    assert_eq!(states.check_version(&transactional(0, 500), true), refused);
    assert_eq!(states.check_version(&transactional(0, 0), true), Ok(Verdict::Append));
}

#[test]
fn a_transaction_holds_the_stable_offset_back_until_its_marker_is_replicated() {
    let mut states = ProducerStates::new();
    append(&mut states, &transactional(0, 0), 10);
    append(&mut states, &transactional(0, 1), 11);
    assert_eq!(states.check(&batch(0, 2, 1)), Err(SequenceError::NotInTransaction));
    let mut other = transactional(0, 0);
    other.producer_id = 8;
    states.record(&other, 12, 12);
    assert_eq!(states.last_stable_offset(50), 10);
    let end = EndTxn { commit: false, coordinator_epoch: 4 };
    let completed = states.record_marker(&marker(0), end, 13).expect("a transaction ended");
    assert_eq!(
        completed,
        CompletedTxn { producer_id: 7, first_offset: 10, last_offset: 13, aborted: true, last_stable_offset: 12 }
    );
    states.on_high_watermark(13);
    assert_eq!(states.last_stable_offset(13), 10, "the marker itself is not below the high watermark");
    states.on_high_watermark(14);
    assert_eq!(states.last_stable_offset(14), 12);
    let mut other_marker = marker(0);
    other_marker.producer_id = 8;
    let completed = states.record_marker(&other_marker, EndTxn { commit: true, ..end }, 14).expect("ended");
    assert_eq!((completed.aborted, completed.last_stable_offset), (false, 15));
    states.remove_below(15);
    assert_eq!(states.last_stable_offset(20), 20);
    assert_eq!(states.record_marker(&marker(1), end, 20), None, "an empty transaction ends nothing");
    append(&mut states, &transactional(1, 0), 21);
}

#[test]
fn markers_of_old_epochs_and_old_coordinators_are_refused() {
    let mut states = ProducerStates::new();
    append(&mut states, &transactional(5, 0), 0);
    assert_eq!(states.check_marker(99, 0, 0, true), Ok(()), "an unknown producer");
    assert_eq!(states.check_marker(7, 5, 3, false), Ok(()));
    assert_eq!(states.check_marker(7, 6, 3, true), Ok(()));
    let stale = |epoch, current| Err(SequenceError::StaleEpoch { epoch, current });
    assert_eq!(states.check_marker(7, 4, 3, false), stale(4, 5));
    assert_eq!(states.check_marker(7, 5, 3, true), stale(5, 5), "version 2 bumps the epoch");
    states.record_marker(&marker(6), EndTxn { commit: true, coordinator_epoch: 3 }, 1);
    assert_eq!(states.check_marker(7, 6, 3, true), Ok(()), "a retry with no open transaction");
    let fenced = SequenceError::CoordinatorFenced { epoch: 2, current: 3 };
    assert_eq!(states.check_marker(7, 6, 2, true), Err(fenced));
    assert_eq!(states.check(&transactional(6, 1)), Err(SequenceError::OutOfOrder { sequence: 1, last: -1 }));
}

#[test]
fn replaying_the_log_gives_the_same_states_as_appending_it() {
    let mut states = ProducerStates::new();
    let mut data = BatchBuilder::new(5).producer(7, 0, 0).transactional(true);
    data.push(1, None, None).push(2, None, None);
    let data = data.finish();
    assert_eq!(states.replay(&data), Ok(None));
    let mut end = control::end_txn_marker(7, 1, EndTxn { commit: false, coordinator_epoch: 2 }, 3).to_vec();
    crate::batch::patch::stamp(&mut end, 7, 0);
    let completed = states.replay(&Bytes::from(end)).expect("marker").expect("ended");
    assert_eq!((completed.first_offset, completed.last_offset, completed.aborted), (5, 7, true));
    let state = states.get(7).expect("producer");
    assert_eq!((state.epoch, state.coordinator_epoch, state.last_sequence()), (1, 2, -1));
    let empty = BatchBuilder::new(8).last_offset(9).producer(7, 1, 0).finish();
    assert_eq!(states.replay(&empty), Ok(None));
    assert_eq!(states.get(7).map(ProducerState::last_sequence), Some(1), "an empty batch keeps its sequences");
    assert!(states.replay(&data.slice(..40)).is_err());
}

#[test]
fn silent_producers_expire_unless_a_transaction_is_open() {
    let mut states = ProducerStates::new();
    states.record(&batch(0, 0, 1), 0, 0);
    let mut open = transactional(0, 0);
    open.producer_id = 8;
    states.record(&open, 1, 1);
    assert_eq!(states.expire(1000 + 499, 500), 0);
    assert_eq!(states.expire(1000 + 500, 500), 1);
    assert!(states.get(7).is_none() && states.get(8).is_some());
}

#[test]
fn the_number_of_producers_is_bounded_and_the_longest_silent_go_first() {
    let mut states = ProducerStates::new();
    let mut header = batch(0, 0, 1);
    for id in 0..=PRODUCERS_MAX as i64 {
        header.producer_id = id;
        header.max_timestamp = id;
        states.record(&header, id, id);
    }
    assert_eq!(states.len(), PRODUCERS_MAX - PRODUCERS_MAX / 16 + 1);
    assert!(states.get(0).is_none() && states.get(PRODUCERS_MAX as i64).is_some());
}

#[test]
fn a_snapshot_reads_back_with_every_remembered_batch() {
    let mut states = ProducerStates::new();
    append(&mut states, &batch(2, 0, 3), 100);
    append(&mut states, &batch(2, 3, 2), 103);
    let mut open = transactional(1, 9);
    open.producer_id = 3;
    states.record(&open, 105, 105);
    let mut fenced = marker(4);
    fenced.producer_id = 5;
    states.record_marker(&fenced, EndTxn { commit: true, coordinator_epoch: 6 }, 106);
    let bytes = states.encode_snapshot();
    assert_eq!(bytes.len(), 10 + 3 * 46 + 4 + 32);
    let read = ProducerStates::decode_snapshot(&bytes).expect("snapshot");
    assert_eq!(read.iter().map(|(id, _)| id).collect::<Vec<_>>(), [3, 5, 7]);
    assert_eq!(read.first_unstable_offset(), Some(105));
    assert!([3, 5, 7].into_iter().all(|id| read.get(id) == states.get(id)));
    assert_eq!(read.encode_snapshot(), bytes);
    assert_eq!(read.check(&batch(2, 5, 1)), Ok(Verdict::Append));
    // The answers to both batches were lost in the crash behind the snapshot: the client sends both again.
    let again = |first, count| read.check(&batch(2, first, count)).expect("a retry");
    assert_eq!(again(0, 3), Verdict::Duplicate { base_offset: 100, last_offset: 102, timestamp: 1000 });
    assert_eq!(again(3, 2), Verdict::Duplicate { base_offset: 103, last_offset: 104, timestamp: 1000 });
}

#[test]
fn a_snapshot_as_kafka_writes_it_brings_the_last_batch_of_each_producer() {
    let mut states = ProducerStates::new();
    append(&mut states, &batch(2, 0, 3), 100);
    append(&mut states, &batch(2, 3, 2), 103);
    let mut bytes = states.encode_snapshot()[..10 + 46].to_vec();
    let crc = crc32c::crc32c(&bytes[6..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    let read = ProducerStates::decode_snapshot(&bytes).expect("snapshot");
    assert_eq!(read.get(7).map(ProducerState::batches), Some(&states.get(7).expect("producer").batches()[1..]));
}

#[test]
fn broken_snapshots_are_refused_and_never_panic() {
    let mut states = ProducerStates::new();
    append(&mut states, &batch(2, 0, 3), 100);
    append(&mut states, &batch(2, 3, 3), 103);
    let good = states.encode_snapshot();
    assert_eq!(ProducerStates::decode_snapshot(&[]), Err(SnapshotError::Short));
    assert_eq!(ProducerStates::decode_snapshot(&good[..good.len() - 1]), Err(SnapshotError::Crc));
    let mut prng = Prng::new(1);
    for _ in 0..2000 {
        let mut bad = good.to_vec();
        let at = prng.below(bad.len() as u64) as usize;
        bad[at] ^= 1 + prng.below(255) as u8;
        assert!(ProducerStates::decode_snapshot(&bad).is_err());
        let crc = crc32c::crc32c(&bad[6..]);
        bad[2..6].copy_from_slice(&crc.to_be_bytes());
        if let Ok(mut read) = ProducerStates::decode_snapshot(&bad) {
            let _ = read.check(&batch(2, 3, 1));
            read.record(&batch(2, 3, 1), 103, 103);
        }
    }
}
