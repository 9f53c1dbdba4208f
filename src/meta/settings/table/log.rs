//! Broker settings: log storage, and the defaults behind topic settings.
//!
//! Names, types, defaults and ranges are those of Apache Kafka 4.3.1.

use super::settings;

settings! { LOG, "Log storage.";
    "log.dir" List "/tmp/kafka-logs" Any ReadOnly yes []
        "Folder of the logs when log.dirs is not set.";
    "log.dirs" List null Any ReadOnly yes []
        "Folders of the logs, separated by commas.";
    "cordoned.log.dirs" List "" Any PerBroker no []
        "Log folders that get no new replicas.";
    "log.dir.failure.timeout.ms" Long "30000" (Min(1)) ReadOnly no []
        "Time after which a broker that cannot report a failed log folder stops.";
    "num.partitions" Int "1" (Min(1)) ReadOnly yes []
        "Partitions of a topic created without a number.";
    "default.replication.factor" Int "1" Any ReadOnly yes []
        "Replicas of a topic created without a number.";
    "auto.create.topics.enable" Boolean "true" Any ReadOnly yes []
        "Whether asking for an unknown topic creates it.";
    "delete.topic.enable" Boolean "true" Any ReadOnly yes []
        "Whether topics may be deleted.";
    "create.topic.policy.class.name" Class null Any ReadOnly no []
        "Java class that judges new topics; not supported here.";
    "alter.config.policy.class.name" Class null Any ReadOnly no []
        "Java class that judges config changes; not supported here.";
    "num.recovery.threads.per.data.dir" Int "2" (Min(1)) ClusterWide no []
        "Threads per log folder for recovery in Kafka; cores do this here.";
    "num.replica.alter.log.dirs.threads" Int null Any ReadOnly no []
        "Threads that move replicas between log folders.";
    "message.max.bytes" Int "1048588" (Min(0)) ClusterWide yes []
        "Largest record batch accepted, after compression and with its header, bytes.";
    "compression.type" String "producer"
        (OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])) ClusterWide no []
        "Codec the records are stored with; producer keeps what the producer chose.";
    "compression.gzip.level" Int "-1" (RangeOrMinusOne(1, 9)) ClusterWide no []
        "Effort of gzip when this broker compresses; -1 is the codec's own default.";
    "compression.lz4.level" Int "9" (Range(1, 17)) ClusterWide no []
        "Effort of lz4 when this broker compresses.";
    "compression.zstd.level" Int "3" (Range(-131_072, 22)) ClusterWide no []
        "Effort of zstd when this broker compresses.";
    "min.insync.replicas" Int "1" (Min(1)) ClusterWide yes []
        "In-sync replicas needed to accept a write with acks=all.";
    "unclean.leader.election.enable" Boolean "false" Any ClusterWide no []
        "Whether a replica outside the in-sync set may lead, at the price of losing records.";
    "log.segment.bytes" Int "1073741824" (Min(1_048_576)) ClusterWide yes []
        "Size at which a segment is closed and a new one started, bytes.";
    "log.roll.ms" Long null Any ClusterWide yes []
        "Age at which a segment is closed; unset means log.roll.hours.";
    "log.roll.hours" Int "168" (Min(1)) ReadOnly yes []
        "Age at which a segment is closed, hours.";
    "log.roll.jitter.ms" Long null Any ClusterWide yes []
        "Random time by which rolling of segments is spread; unset means log.roll.jitter.hours.";
    "log.roll.jitter.hours" Int "0" (Min(0)) ReadOnly yes []
        "Random time by which rolling of segments is spread, hours.";
    "log.retention.ms" Long null Any ClusterWide yes []
        "Age at which segments are deleted; -1 means never; unset means log.retention.minutes.";
    "log.retention.minutes" Int null Any ReadOnly yes []
        "Age at which segments are deleted, minutes; unset means log.retention.hours.";
    "log.retention.hours" Int "168" Any ReadOnly yes []
        "Age at which segments are deleted, hours.";
    "log.retention.bytes" Long "-1" Any ClusterWide yes []
        "Bytes a partition may keep before old segments are deleted; -1 means no limit.";
    "log.retention.check.interval.ms" Long "300000" (Min(1)) ReadOnly yes []
        "Time between two looks for segments to delete.";
    "log.cleanup.policy" List "delete" (ListOf(&["compact", "delete"])) ClusterWide yes []
        "What happens to old segments: delete, compact, or both.";
    "log.segment.delete.delay.ms" Long "60000" (Min(0)) ClusterWide yes []
        "Time between marking a segment's files as deleted and removing them.";
    "log.index.interval.bytes" Int "4096" (Min(0)) ClusterWide yes []
        "Bytes of log between two entries of the offset index.";
    "log.index.size.max.bytes" Int "10485760" (Min(4)) ClusterWide yes []
        "Largest size of the offset index of one segment, bytes.";
    "log.preallocate" Boolean "false" Any ClusterWide no []
        "Whether the whole file of a new segment is allocated at once.";
    "log.flush.interval.messages" Long "9223372036854775807" (Min(1)) ClusterWide yes []
        "Records after which a log is synced; 1 syncs every append.";
    "log.flush.interval.ms" Long null Any ClusterWide yes []
        "Longest time a record waits unsynced; unset means log.flush.scheduler.interval.ms.";
    "log.flush.scheduler.interval.ms" Long "9223372036854775807" Any ReadOnly yes []
        "Time between two looks for logs to sync.";
    "log.flush.offset.checkpoint.interval.ms" Int "60000" (Min(0)) ReadOnly no []
        "Time between two writes of the recovery point.";
    "log.flush.start.offset.checkpoint.interval.ms" Int "60000" (Min(0)) ReadOnly no []
        "Time between two writes of the log start offsets.";
    "log.message.timestamp.type" String "CreateTime" (OneOf(&["CreateTime", "LogAppendTime"])) ClusterWide yes []
        "Whether records carry the producer's time or the time of the append.";
    "log.message.timestamp.before.max.ms" Long "9223372036854775807" (Min(0)) ClusterWide yes []
        "How far a record's timestamp may lie in the past.";
    "log.message.timestamp.after.max.ms" Long "3600000" (Min(0)) ClusterWide yes []
        "How far a record's timestamp may lie in the future.";
}

settings! { CLEANER, "Compaction.";
    "log.cleaner.enable" Boolean "true" Any ReadOnly no []
        "Whether compaction runs at all.";
    "log.cleaner.threads" Int "1" (Min(0)) ClusterWide no []
        "Threads of compaction in Kafka; cores do this here.";
    "log.cleaner.dedupe.buffer.size" Long "134217728" Any ClusterWide no []
        "Memory for the key maps of compaction, bytes.";
    "log.cleaner.io.buffer.size" Int "524288" (Min(0)) ClusterWide no []
        "Memory for reading and writing during compaction, bytes.";
    "log.cleaner.io.buffer.load.factor" Double "0.9" Any ClusterWide no []
        "How full the key map of compaction may get.";
    "log.cleaner.io.max.bytes.per.second" Double "1.7976931348623157E308" Any ClusterWide no []
        "Disk bandwidth that compaction may use, bytes per second.";
    "log.cleaner.backoff.ms" Long "15000" (Min(0)) ClusterWide no []
        "Pause of compaction when there is nothing to clean.";
    "log.cleaner.min.cleanable.ratio" Double "0.5" Ratio ClusterWide no []
        "Share of uncompacted bytes at which a log is compacted.";
    "log.cleaner.delete.retention.ms" Long "86400000" (Min(0)) ClusterWide no []
        "How long compaction keeps tombstones.";
    "log.cleaner.min.compaction.lag.ms" Long "0" (Min(0)) ClusterWide no []
        "Shortest time a record stays uncompacted.";
    "log.cleaner.max.compaction.lag.ms" Long "9223372036854775807" (Min(1)) ClusterWide no []
        "Longest time a record may stay uncompacted.";
}
