//! The only place that turns our errors into protocol codes. A comment stands wherever the mapping is not obvious.

use crate::batch::validate::Refusal;
use crate::coord::GroupError;
use crate::meta::MetaError;
use crate::shard::message::PartitionError;
use crate::wire::error_code::ErrorCode;
use crate::wire::produce::RecordError;

/// What a partition answered.
pub fn partition_error(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::Unknown => ErrorCode::UnknownTopicOrPartition,
        // A full disk is a storage error to clients: they retry, and writing resumes when there is room.
        PartitionError::Storage | PartitionError::NoSpace => ErrorCode::KafkaStorageError,
        PartitionError::FencedEpoch => ErrorCode::FencedLeaderEpoch,
        PartitionError::UnknownEpoch => ErrorCode::UnknownLeaderEpoch,
        PartitionError::OffsetOutOfRange => ErrorCode::OffsetOutOfRange,
        PartitionError::OutOfOrderSequence => ErrorCode::OutOfOrderSequenceNumber,
        PartitionError::InvalidProducerEpoch => ErrorCode::InvalidProducerEpoch,
        PartitionError::InvalidTxnState => ErrorCode::InvalidTxnState,
        PartitionError::TooLargeForSegment => ErrorCode::RecordListTooLarge,
        // Nothing was appended; time-outs are what every producer retries.
        PartitionError::Busy => ErrorCode::RequestTimedOut,
        PartitionError::CorruptOnDisk => ErrorCode::CorruptMessage,
        PartitionError::Loading => ErrorCode::CoordinatorLoadInProgress,
        // The outcome is unknown to the client, and a restarted node leads the partition again.
        PartitionError::Stopping => ErrorCode::NotLeaderOrFollower,
    }
}

/// What the core of a group coordinator answered instead of the coordinator.
pub fn coordinator_error(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::Loading => ErrorCode::CoordinatorLoadInProgress,
        PartitionError::Unknown | PartitionError::Stopping => ErrorCode::NotCoordinator,
        _ => ErrorCode::CoordinatorNotAvailable,
    }
}

/// Why a produced batch was refused: code, message and the records at fault.
pub fn refusal(refusal: Refusal) -> (ErrorCode, Option<String>, Vec<RecordError>) {
    let message = Some(refusal.to_string());
    match refusal {
        Refusal::Corrupt { .. } => (ErrorCode::CorruptMessage, message, Vec::new()),
        Refusal::InvalidRecord { record_errors, .. } => {
            let records = record_errors
                .into_iter()
                .map(|(index, reason)| RecordError { batch_index: index, message: Some(reason.to_string()) })
                .collect();
            (ErrorCode::InvalidRecord, message, records)
        }
        Refusal::InvalidTimestamp { .. } => (ErrorCode::InvalidTimestamp, message, Vec::new()),
        Refusal::TooLarge { .. } => (ErrorCode::MessageTooLarge, message, Vec::new()),
        Refusal::UnsupportedCompression { .. } => (ErrorCode::UnsupportedCompressionType, message, Vec::new()),
    }
}

/// What the controller answered; its errors are named after Kafka's codes.
pub fn meta_error(error: &MetaError) -> ErrorCode {
    match error {
        MetaError::TopicAlreadyExists => ErrorCode::TopicAlreadyExists,
        _ => ErrorCode::UnknownServerError,
    }
}

/// What a group coordinator answered; its errors are named after Kafka's codes.
pub fn group_error(error: GroupError) -> ErrorCode {
    match error {
        _ => ErrorCode::UnknownServerError,
    }
}
