//! What a coordinator is told at its start; the names are those of Kafka's settings.

/// Settings of a coordinator. Times are milliseconds, sizes bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long the first join of an empty group waits for others.
    pub initial_rebalance_delay_ms: u64,
    /// How long a new member's parked JoinGroup keeps it in the group. It does not know its id yet, so it cannot
    /// heartbeat, and a vanished one must not stay for ever (Kafka: fixed 5 minutes).
    pub new_member_join_timeout_ms: u64,
    /// `group.max.size`; `limits::MEMBERS_PER_GROUP_MAX` bounds it.
    pub group_max_size: usize,
    /// `offset.metadata.max.bytes`; at most 32767 is stored.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: u64,
    /// Largest record batch the partition accepts (`max.message.bytes` of `__consumer_offsets`). No outcome is larger.
    /// At least `limits::BATCH_BYTES_MIN` is assumed.
    pub batch_bytes_max: usize,
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        GroupSettings {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            new_member_join_timeout_ms: 300_000,
            group_max_size: i32::MAX as usize,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            offsets_retention_check_interval_ms: 600_000,
            batch_bytes_max: 1_048_588,
        }
    }
}
