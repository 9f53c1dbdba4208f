//! Settings of topics, with the broker settings that stand behind each, nearest first.
//!
//! Names, types, defaults and ranges are those of Apache Kafka 4.3.1.

use super::settings;

settings! { TOPIC, "Topic settings.";
    "cleanup.policy" List "delete" (ListOf(&["compact", "delete"])) ClusterWide yes [("log.cleanup.policy", Same)]
        "What happens to old segments: delete them by age and size, compact them by key, or both.";
    "compression.type" String "producer"
        (OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])) ClusterWide no
        [("compression.type", Same)]
        "Codec the records are stored with; producer keeps what the producer chose.";
    "compression.gzip.level" Int "-1" (RangeOrMinusOne(1, 9)) ClusterWide no [("compression.gzip.level", Same)]
        "Effort of gzip when this broker compresses; -1 is the codec's own default.";
    "compression.lz4.level" Int "9" (Range(1, 17)) ClusterWide no [("compression.lz4.level", Same)]
        "Effort of lz4 when this broker compresses.";
    "compression.zstd.level" Int "3" (Range(-131_072, 22)) ClusterWide no [("compression.zstd.level", Same)]
        "Effort of zstd when this broker compresses.";
    "delete.retention.ms" Long "86400000" (Min(0)) ClusterWide no [("log.cleaner.delete.retention.ms", Same)]
        "How long compaction keeps tombstones, so that a slow reader still sees the deletion.";
    "file.delete.delay.ms" Long "60000" (Min(0)) ClusterWide yes [("log.segment.delete.delay.ms", Same)]
        "Time between marking a segment's files as deleted and removing them.";
    "flush.messages" Long "9223372036854775807" (Min(1)) ClusterWide yes [("log.flush.interval.messages", Same)]
        "Records after which the log is synced; 1 syncs every append.";
    "flush.ms" Long "9223372036854775807" (Min(0)) ClusterWide yes
        [("log.flush.interval.ms", Same), ("log.flush.scheduler.interval.ms", Same)]
        "Longest time a record waits in the page cache before the log is synced.";
    "follower.replication.throttled.replicas" List "" ThrottledReplicas ClusterWide no []
        "Replicas whose follower side is throttled, as partition:broker pairs or * for all.";
    "leader.replication.throttled.replicas" List "" ThrottledReplicas ClusterWide no []
        "Replicas whose leader side is throttled, as partition:broker pairs or * for all.";
    "index.interval.bytes" Int "4096" (Min(0)) ClusterWide yes [("log.index.interval.bytes", Same)]
        "Bytes of log between two entries of the offset index.";
    "local.retention.bytes" Long "-2" (Min(-2)) ClusterWide no [("log.local.retention.bytes", Same)]
        "Bytes kept on local disk when segments are tiered; -2 means the same as retention.bytes.";
    "local.retention.ms" Long "-2" (Min(-2)) ClusterWide no [("log.local.retention.ms", Same)]
        "Time segments stay on local disk when they are tiered; -2 means the same as retention.ms.";
    "max.compaction.lag.ms" Long "9223372036854775807" (Min(1)) ClusterWide no
        [("log.cleaner.max.compaction.lag.ms", Same)]
        "Longest time a record may stay uncompacted.";
    "max.message.bytes" Int "1048588" (Min(0)) ClusterWide yes [("message.max.bytes", Same)]
        "Largest record batch accepted, after compression and with its header, bytes.";
    "message.timestamp.type" String "CreateTime"
        (OneOf(&["CreateTime", "LogAppendTime"])) ClusterWide yes [("log.message.timestamp.type", Same)]
        "Whether records carry the producer's time or the time of the append.";
    "message.timestamp.before.max.ms" Long "9223372036854775807" (Min(0)) ClusterWide yes
        [("log.message.timestamp.before.max.ms", Same)]
        "How far a record's timestamp may lie in the past.";
    "message.timestamp.after.max.ms" Long "3600000" (Min(0)) ClusterWide yes
        [("log.message.timestamp.after.max.ms", Same)]
        "How far a record's timestamp may lie in the future.";
    "min.cleanable.dirty.ratio" Double "0.5" Ratio ClusterWide no [("log.cleaner.min.cleanable.ratio", Same)]
        "Share of uncompacted bytes at which a log is compacted.";
    "min.compaction.lag.ms" Long "0" (Min(0)) ClusterWide no [("log.cleaner.min.compaction.lag.ms", Same)]
        "Shortest time a record stays uncompacted.";
    "min.insync.replicas" Int "1" (Min(1)) ClusterWide yes [("min.insync.replicas", Same)]
        "In-sync replicas needed to accept a write with acks=all.";
    "preallocate" Boolean "false" Any ClusterWide no [("log.preallocate", Same)]
        "Whether the whole file of a new segment is allocated at once.";
    "remote.storage.enable" Boolean "false" Any ClusterWide no []
        "Whether segments are copied to tiered storage.";
    "remote.log.copy.disable" Boolean "false" Any ClusterWide no []
        "Whether a tiered topic stops copying and only reads what is remote.";
    "remote.log.delete.on.disable" Boolean "false" Any ClusterWide no []
        "Whether the remote data is deleted when tiering is switched off.";
    "retention.bytes" Long "-1" Any ClusterWide yes [("log.retention.bytes", Same)]
        "Bytes a partition may keep before old segments are deleted; -1 means no limit.";
    "retention.ms" Long "604800000" (Min(-1)) ClusterWide yes
        [("log.retention.ms", Same), ("log.retention.minutes", Minutes), ("log.retention.hours", Hours)]
        "Age at which segments are deleted; -1 means never.";
    "segment.bytes" Int "1073741824" (Min(1_048_576)) ClusterWide yes [("log.segment.bytes", Same)]
        "Size at which a segment is closed and a new one started, bytes.";
    "segment.index.bytes" Int "10485760" (Min(4)) ClusterWide yes [("log.index.size.max.bytes", Same)]
        "Largest size of the offset index of one segment, bytes.";
    "segment.jitter.ms" Long "0" (Min(0)) ClusterWide yes
        [("log.roll.jitter.ms", Same), ("log.roll.jitter.hours", Hours)]
        "Random time by which rolling of segments is spread.";
    "segment.ms" Long "604800000" (Min(1)) ClusterWide yes [("log.roll.ms", Same), ("log.roll.hours", Hours)]
        "Age at which a segment is closed even if it is not full.";
    "unclean.leader.election.enable" Boolean "false" Any ClusterWide no [("unclean.leader.election.enable", Same)]
        "Whether a replica outside the in-sync set may lead, at the price of losing records.";
}

settings! { GROUP, "Group settings, with the broker settings behind them.";
    "consumer.assignment.interval.ms" Int "1000" (Min(0)) ClusterWide no
        [("group.consumer.assignment.interval.ms", Same)]
        "Shortest time between two assignments of a consumer group.";
    "consumer.heartbeat.interval.ms" Int "5000" (Min(1)) ClusterWide no
        [("group.consumer.heartbeat.interval.ms", Same)]
        "Time between heartbeats told to the members of a consumer group.";
    "consumer.session.timeout.ms" Int "45000" (Min(1)) ClusterWide no [("group.consumer.session.timeout.ms", Same)]
        "Silence after which a member of a consumer group is removed.";
    "share.assignment.interval.ms" Int "1000" (Min(0)) ClusterWide no [("group.share.assignment.interval.ms", Same)]
        "Shortest time between two assignments of a share group.";
    "share.auto.offset.reset" String "latest" OffsetReset ClusterWide no []
        "Where a share group starts reading a partition it has no state for.";
    "share.delivery.count.limit" Int "5" (Min(2)) ClusterWide no [("group.share.delivery.count.limit", Same)]
        "Deliveries after which a record is given up.";
    "share.heartbeat.interval.ms" Int "5000" (Min(1)) ClusterWide no [("group.share.heartbeat.interval.ms", Same)]
        "Time between heartbeats told to the members of a share group.";
    "share.isolation.level" String "read_uncommitted"
        (OneOf(&["read_committed", "read_uncommitted"])) ClusterWide no []
        "Whether a share group sees records of open and aborted transactions.";
    "share.partition.max.record.locks" Int "2000" (Min(100)) ClusterWide no
        [("group.share.partition.max.record.locks", Same)]
        "Records of one partition that may be locked at the same time.";
    "share.record.lock.duration.ms" Int "30000" (Min(1_000)) ClusterWide no
        [("group.share.record.lock.duration.ms", Same)]
        "How long a delivered record stays locked for its consumer.";
    "share.renew.acknowledge.enable" Boolean "true" Any ClusterWide no []
        "Whether consumers may extend the lock of a record.";
    "share.session.timeout.ms" Int "45000" (Min(1)) ClusterWide no [("group.share.session.timeout.ms", Same)]
        "Silence after which a member of a share group is removed.";
    "streams.assignment.interval.ms" Int "1000" (Min(0)) ClusterWide no
        [("group.streams.assignment.interval.ms", Same)]
        "Shortest time between two assignments of a streams group.";
    "streams.heartbeat.interval.ms" Int "5000" (Min(1)) ClusterWide no [("group.streams.heartbeat.interval.ms", Same)]
        "Time between heartbeats told to the members of a streams group.";
    "streams.initial.rebalance.delay.ms" Int "3000" (Min(0)) ClusterWide no
        [("group.streams.initial.rebalance.delay.ms", Same)]
        "How long the first assignment of a streams group waits for more members.";
    "streams.num.standby.replicas" Int "0" (Min(0)) ClusterWide no [("group.streams.num.standby.replicas", Same)]
        "Standby copies of each stateful task.";
    "streams.session.timeout.ms" Int "45000" (Min(1)) ClusterWide no [("group.streams.session.timeout.ms", Same)]
        "Silence after which a member of a streams group is removed.";
}
