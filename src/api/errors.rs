//! The only place that turns our errors into protocol codes. A comment stands wherever the mapping is not obvious.

use crate::batch::validate::Refusal;
use crate::coord::GroupError;
use crate::meta::controller::MetaError;
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
        PartitionError::Rejected => ErrorCode::UnknownServerError,
        PartitionError::Loading => ErrorCode::CoordinatorLoadInProgress,
        // The outcome is unknown to the client, and a restarted node leads the partition again.
        PartitionError::Stopping => ErrorCode::NotLeaderOrFollower,
    }
}

/// Why a produced batch was refused: code, message and the records at fault.
pub fn refusal(refusal: Refusal) -> (ErrorCode, Option<String>, Vec<RecordError>) {
    let message = Some(refusal.to_string());
    match refusal {
        Refusal::Corrupt | Refusal::DecompressedTooLarge { .. } => (ErrorCode::CorruptMessage, message, Vec::new()),
        Refusal::InvalidRecord { record_errors, .. } => {
            (ErrorCode::InvalidRecord, message, records_at_fault(record_errors))
        }
        Refusal::InvalidTimestamp { record_errors, .. } => {
            (ErrorCode::InvalidTimestamp, message, records_at_fault(record_errors))
        }
        Refusal::TooLarge { .. } => (ErrorCode::MessageTooLarge, message, Vec::new()),
        Refusal::UnsupportedCompression => (ErrorCode::UnsupportedCompressionType, message, Vec::new()),
    }
}

fn records_at_fault(errors: Vec<(i32, &'static str)>) -> Vec<RecordError> {
    errors
        .into_iter()
        .map(|(batch_index, reason)| RecordError { batch_index, message: Some(reason.to_string()) })
        .collect()
}

/// What the controller answered; its errors are named after Kafka's codes.
pub fn meta_error(error: MetaError) -> ErrorCode {
    match error {
        MetaError::UnknownServerError => ErrorCode::UnknownServerError,
        MetaError::UnknownTopicOrPartition => ErrorCode::UnknownTopicOrPartition,
        MetaError::InvalidTopicException => ErrorCode::InvalidTopicException,
        MetaError::TopicAlreadyExists => ErrorCode::TopicAlreadyExists,
        MetaError::InvalidPartitions => ErrorCode::InvalidPartitions,
        MetaError::InvalidReplicationFactor => ErrorCode::InvalidReplicationFactor,
        MetaError::InvalidReplicaAssignment => ErrorCode::InvalidReplicaAssignment,
        MetaError::InvalidConfig => ErrorCode::InvalidConfig,
        MetaError::InvalidRequest => ErrorCode::InvalidRequest,
        MetaError::PolicyViolation => ErrorCode::PolicyViolation,
        MetaError::TopicDeletionDisabled => ErrorCode::TopicDeletionDisabled,
        MetaError::StaleBrokerEpoch => ErrorCode::StaleBrokerEpoch,
        MetaError::UnknownTopicId => ErrorCode::UnknownTopicId,
        MetaError::BrokerIdNotRegistered => ErrorCode::BrokerIdNotRegistered,
    }
}

/// What a group coordinator answered; its errors are named after Kafka's codes.
pub fn group_error(error: GroupError) -> ErrorCode {
    match error {
        GroupError::UnknownServerError => ErrorCode::UnknownServerError,
        GroupError::UnknownTopicOrPartition => ErrorCode::UnknownTopicOrPartition,
        GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        GroupError::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
        GroupError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        GroupError::NotCoordinator => ErrorCode::NotCoordinator,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::UnknownMemberId => ErrorCode::UnknownMemberId,
        GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::InvalidCommitOffsetSize => ErrorCode::InvalidCommitOffsetSize,
        GroupError::InvalidRequest => ErrorCode::InvalidRequest,
        GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        GroupError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
        GroupError::FencedInstanceId => ErrorCode::FencedInstanceId,
        GroupError::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        GroupError::UnstableOffsetCommit => ErrorCode::UnstableOffsetCommit,
    }
}
