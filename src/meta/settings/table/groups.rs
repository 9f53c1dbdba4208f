//! Broker settings: group coordinator, offsets, share groups, transactions and idempotence.
//!
//! Names, types, defaults and ranges are those of Apache Kafka 4.3.1.

use super::settings;

settings! { GROUPS, "Group coordinator and offsets.";
    "group.coordinator.rebalance.protocols" List "classic,consumer,streams"
        (ListOf(&["classic", "consumer", "streams"])) ReadOnly no []
        "Group protocols that are offered to clients.";
    "group.coordinator.threads" Int "4" (Min(1)) ReadOnly no []
        "Threads of the group coordinator in Kafka; cores do this here.";
    "group.coordinator.background.threads" Int "2" (Min(1)) ReadOnly no []
        "Threads for background work of the group coordinator in Kafka; cores do this here.";
    "group.coordinator.append.linger.ms" Int "-1" (Min(-1)) ReadOnly no []
        "Time the coordinator gathers records before it writes them; -1 adapts to the load.";
    "group.coordinator.cached.buffer.max.bytes" Int "1048588" (Min(524_288)) ClusterWide no []
        "Largest buffer the coordinator keeps for reuse, bytes.";
    "group.initial.rebalance.delay.ms" Int "3000" Any ReadOnly yes []
        "How long the first rebalance of an empty group waits for more members.";
    "group.min.session.timeout.ms" Int "6000" Any ReadOnly yes []
        "Shortest session timeout a classic member may ask for.";
    "group.max.session.timeout.ms" Int "1800000" Any ReadOnly yes []
        "Longest session timeout a classic member may ask for.";
    "group.max.size" Int "2147483647" (Min(1)) ReadOnly yes []
        "Members a classic group may have.";
    "group.consumer.session.timeout.ms" Int "45000" (Min(1)) ReadOnly no []
        "Silence after which a member of a consumer group is removed.";
    "group.consumer.min.session.timeout.ms" Int "45000" (Min(1)) ReadOnly no []
        "Lowest session timeout a consumer group may be given.";
    "group.consumer.max.session.timeout.ms" Int "60000" (Min(1)) ReadOnly no []
        "Highest session timeout a consumer group may be given.";
    "group.consumer.heartbeat.interval.ms" Int "5000" (Min(1)) ReadOnly no []
        "Time between heartbeats told to the members of a consumer group.";
    "group.consumer.min.heartbeat.interval.ms" Int "5000" (Min(1)) ReadOnly no []
        "Lowest heartbeat interval a consumer group may be given.";
    "group.consumer.max.heartbeat.interval.ms" Int "15000" (Min(1)) ReadOnly no []
        "Highest heartbeat interval a consumer group may be given.";
    "group.consumer.max.size" Int "2147483647" (Min(1)) ReadOnly no []
        "Members a consumer group may have.";
    "group.consumer.assignors" List "uniform,range" Any ReadOnly no []
        "Assignors of consumer groups, the first one being the default.";
    "group.consumer.migration.policy" String "bidirectional"
        (OneOf(&["disabled", "downgrade", "upgrade", "bidirectional"])) ReadOnly no []
        "Whether groups move between the classic and the consumer protocol.";
    "group.consumer.assignment.interval.ms" Int "1000" (Min(0)) ClusterWide no []
        "Shortest time between two assignments of a consumer group.";
    "group.consumer.min.assignment.interval.ms" Int "0" (Min(0)) ReadOnly no []
        "Lowest assignment interval a consumer group may be given.";
    "group.consumer.max.assignment.interval.ms" Int "15000" (Min(0)) ReadOnly no []
        "Highest assignment interval a consumer group may be given.";
    "group.consumer.regex.refresh.interval.ms" Int "600000" (Min(10_000)) ReadOnly no []
        "Time between two evaluations of subscribed patterns.";
    "group.streams.session.timeout.ms" Int "45000" (Min(1)) ReadOnly no []
        "Silence after which a member of a streams group is removed.";
    "group.streams.min.session.timeout.ms" Int "45000" (Min(1)) ReadOnly no []
        "Lowest session timeout a streams group may be given.";
    "group.streams.max.session.timeout.ms" Int "60000" (Min(1)) ReadOnly no []
        "Highest session timeout a streams group may be given.";
    "group.streams.heartbeat.interval.ms" Int "5000" (Min(1)) ReadOnly no []
        "Time between heartbeats told to the members of a streams group.";
    "group.streams.min.heartbeat.interval.ms" Int "5000" (Min(1)) ReadOnly no []
        "Lowest heartbeat interval a streams group may be given.";
    "group.streams.max.heartbeat.interval.ms" Int "15000" (Min(1)) ReadOnly no []
        "Highest heartbeat interval a streams group may be given.";
    "group.streams.max.size" Int "2147483647" (Min(1)) ReadOnly no []
        "Members a streams group may have.";
    "group.streams.num.standby.replicas" Int "0" (Min(0)) ReadOnly no []
        "Standby copies of each stateful task.";
    "group.streams.max.standby.replicas" Int "2" (Min(0)) ReadOnly no []
        "Most standby copies a streams group may be given.";
    "group.streams.initial.rebalance.delay.ms" Int "3000" (Min(0)) ReadOnly no []
        "How long the first assignment of a streams group waits for more members.";
    "group.streams.assignment.interval.ms" Int "1000" (Min(0)) ClusterWide no []
        "Shortest time between two assignments of a streams group.";
    "offset.metadata.max.bytes" Int "4096" Any ReadOnly yes []
        "Longest note a client may store with a committed offset, bytes.";
    "offsets.commit.timeout.ms" Int "5000" (Min(1)) ReadOnly no []
        "Time after which a commit that is not yet replicated fails.";
    "offsets.load.buffer.size" Int "5242880" (Min(1)) ReadOnly no []
        "Bytes read at once when committed offsets are loaded.";
    "offsets.retention.minutes" Int "10080" (Min(1)) ReadOnly yes []
        "Time committed offsets are kept after their group became empty, minutes.";
    "offsets.retention.check.interval.ms" Long "600000" (Min(1)) ReadOnly yes []
        "Time between two looks for expired offsets.";
    "offsets.topic.num.partitions" Int "50" (Min(1)) ReadOnly yes []
        "Partitions of the topic of committed offsets; not to be changed once it exists.";
    "offsets.topic.replication.factor" Short "3" (Min(1)) ReadOnly yes []
        "Replicas of the topic of committed offsets.";
    "offsets.topic.segment.bytes" Int "104857600" (Min(1)) ReadOnly yes []
        "Segment size of the topic of committed offsets, bytes.";
    "offsets.topic.compression.codec" Int "0" (Range(0, 4)) ReadOnly no []
        "Codec of the topic of committed offsets: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.";
}

settings! { SHARE, "Share groups.";
    "group.share.session.timeout.ms" Int "45000" (Min(1)) ReadOnly no []
        "Silence after which a member of a share group is removed.";
    "group.share.min.session.timeout.ms" Int "45000" (Min(1)) ReadOnly no []
        "Lowest session timeout a share group may be given.";
    "group.share.max.session.timeout.ms" Int "60000" (Min(1)) ReadOnly no []
        "Highest session timeout a share group may be given.";
    "group.share.heartbeat.interval.ms" Int "5000" (Min(1)) ReadOnly no []
        "Time between heartbeats told to the members of a share group.";
    "group.share.min.heartbeat.interval.ms" Int "5000" (Min(1)) ReadOnly no []
        "Lowest heartbeat interval a share group may be given.";
    "group.share.max.heartbeat.interval.ms" Int "15000" (Min(1)) ReadOnly no []
        "Highest heartbeat interval a share group may be given.";
    "group.share.max.size" Int "200" (Range(1, 1_000)) ReadOnly no []
        "Members a share group may have.";
    "group.share.max.share.sessions" Int "2000" (Min(1)) ReadOnly no []
        "Share sessions kept at the same time.";
    "group.share.assignors" List "simple" Any ReadOnly no []
        "Assignors of share groups, the first one being the default.";
    "group.share.delivery.count.limit" Int "5" (Range(2, 10)) ReadOnly no []
        "Deliveries after which a record is given up.";
    "group.share.min.delivery.count.limit" Int "2" (Range(2, 5)) ReadOnly no []
        "Lowest delivery limit a share group may be given.";
    "group.share.max.delivery.count.limit" Int "10" (Range(5, 25)) ReadOnly no []
        "Highest delivery limit a share group may be given.";
    "group.share.record.lock.duration.ms" Int "30000" (Range(1_000, 3_600_000)) ReadOnly no []
        "How long a delivered record stays locked for its consumer.";
    "group.share.min.record.lock.duration.ms" Int "15000" (Range(1_000, 30_000)) ReadOnly no []
        "Lowest lock duration a share group may be given.";
    "group.share.max.record.lock.duration.ms" Int "60000" (Range(30_000, 3_600_000)) ReadOnly no []
        "Highest lock duration a share group may be given.";
    "group.share.partition.max.record.locks" Int "2000" (Range(100, 10_000)) ReadOnly no []
        "Records of one partition that may be locked at the same time.";
    "group.share.min.partition.max.record.locks" Int "100" (Range(100, 2_000)) ReadOnly no []
        "Lowest number of locked records a share group may be given.";
    "group.share.max.partition.max.record.locks" Int "4000" (Range(2_000, 10_000)) ReadOnly no []
        "Highest number of locked records a share group may be given.";
    "group.share.assignment.interval.ms" Int "1000" (Min(0)) ClusterWide no []
        "Shortest time between two assignments of a share group.";
    "share.fetch.purgatory.purge.interval.requests" Int "1000" Any ReadOnly no []
        "Finished share fetches kept before Kafka cleans its waiting list.";
    "share.coordinator.threads" Int "1" (Min(1)) ReadOnly no []
        "Threads of the share coordinator in Kafka; cores do this here.";
    "share.coordinator.append.linger.ms" Int "-1" (Min(-1)) ReadOnly no []
        "Time the share coordinator gathers records before it writes them; -1 adapts to the load.";
    "share.coordinator.write.timeout.ms" Int "5000" (Min(1)) ReadOnly no []
        "Time after which a write of share state that is not yet replicated fails.";
    "share.coordinator.load.buffer.size" Int "5242880" (Min(1)) ReadOnly no []
        "Bytes read at once when share state is loaded.";
    "share.coordinator.snapshot.update.records.per.snapshot" Int "500" (Range(0, 500)) ReadOnly no []
        "Updates of share state between two snapshots of it.";
    "share.coordinator.state.topic.num.partitions" Int "50" (Min(1)) ReadOnly no []
        "Partitions of the topic of share state.";
    "share.coordinator.state.topic.replication.factor" Short "3" (Min(1)) ReadOnly no []
        "Replicas of the topic of share state.";
    "share.coordinator.state.topic.min.isr" Short "2" (Min(1)) ReadOnly no []
        "In-sync replicas needed to write share state.";
    "share.coordinator.state.topic.segment.bytes" Int "104857600" (Min(1)) ReadOnly no []
        "Segment size of the topic of share state, bytes.";
    "share.coordinator.state.topic.compression.codec" Int "0" (Range(0, 4)) ReadOnly no []
        "Codec of the topic of share state: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.";
}

settings! { TRANSACTIONS, "Transactions and idempotence.";
    "transaction.state.log.num.partitions" Int "50" (Min(1)) ReadOnly no []
        "Partitions of the topic of transaction state; not to be changed once it exists.";
    "transaction.state.log.replication.factor" Short "3" (Min(1)) ReadOnly no []
        "Replicas of the topic of transaction state.";
    "transaction.state.log.min.isr" Int "2" (Min(1)) ReadOnly no []
        "In-sync replicas needed to write transaction state.";
    "transaction.state.log.segment.bytes" Int "104857600" (Min(1)) ReadOnly no []
        "Segment size of the topic of transaction state, bytes.";
    "transaction.state.log.load.buffer.size" Int "5242880" (Min(1)) ReadOnly no []
        "Bytes read at once when transaction state is loaded.";
    "transaction.max.timeout.ms" Int "900000" (Min(1)) ReadOnly no []
        "Longest transaction timeout a client may ask for.";
    "transactional.id.expiration.ms" Int "604800000" (Min(1)) ReadOnly no []
        "Silence after which a transactional id is forgotten.";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms" Int "10000" (Min(1)) ReadOnly no []
        "Time between two looks for transactions that timed out.";
    "transaction.remove.expired.transaction.cleanup.interval.ms" Int "3600000" (Min(1)) ReadOnly no []
        "Time between two looks for expired transactional ids.";
    "transaction.partition.verification.enable" Boolean "true" Any ClusterWide no []
        "Whether a partition leader checks with the coordinator that a transaction is open.";
    "transaction.two.phase.commit.enable" Boolean "false" Any ReadOnly no []
        "Whether clients may take part in a two-phase commit.";
    "producer.id.expiration.ms" Int "86400000" (Min(1)) ClusterWide yes []
        "Silence after which the sequence numbers of a producer are forgotten.";
    "producer.id.expiration.check.interval.ms" Int "600000" (Min(1)) ReadOnly yes []
        "Time between two looks for expired producers.";
    "add.partitions.to.txn.retry.backoff.ms" Int "20" (Min(1)) ReadOnly no []
        "Pause before a partition is added to a transaction again.";
    "add.partitions.to.txn.retry.backoff.max.ms" Int "100" (Min(0)) ReadOnly no []
        "Longest time a broker itself repeats adding a partition to a transaction.";
}
