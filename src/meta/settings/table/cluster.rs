//! Broker settings: replication, leadership and the controller quorum.
//!
//! Names, types, defaults and ranges are those of Apache Kafka 4.3.1.

use super::settings;

settings! { REPLICATION, "Replication and leadership.";
    "replica.lag.time.max.ms" Long "30000" Any ReadOnly no []
        "Time a follower may be behind before it leaves the in-sync set.";
    "replica.fetch.min.bytes" Int "1" Any ReadOnly no []
        "Bytes a follower waits for in one fetch.";
    "replica.fetch.max.bytes" Int "1048576" (Min(0)) ReadOnly no []
        "Bytes a follower asks for per partition.";
    "replica.fetch.response.max.bytes" Int "10485760" (Min(0)) ReadOnly no []
        "Bytes a follower asks for in one fetch.";
    "replica.fetch.wait.max.ms" Int "500" Any ReadOnly no []
        "Longest time a follower's fetch waits at the leader.";
    "replica.fetch.backoff.ms" Int "1000" (Min(0)) ReadOnly no []
        "Pause of a follower after a failed fetch.";
    "replica.socket.timeout.ms" Int "30000" Any ReadOnly no []
        "Time after which a follower's request counts as lost.";
    "replica.socket.receive.buffer.bytes" Int "65536" Any ReadOnly no []
        "Receive buffer of a follower's socket, bytes.";
    "replica.high.watermark.checkpoint.interval.ms" Long "5000" Any ReadOnly no []
        "Time between two writes of the high watermarks.";
    "replica.selector.class" String null Any ReadOnly no []
        "Java class that chooses the replica a consumer reads from.";
    "num.replica.fetchers" Int "1" (Min(1)) ClusterWide no []
        "Threads per leader that replicate in Kafka; cores do this here.";
    "auto.leader.rebalance.enable" Boolean "true" Any ReadOnly no []
        "Whether leadership moves back to the preferred replica by itself.";
    "leader.imbalance.check.interval.seconds" Long "300" (Min(1)) ReadOnly no []
        "Time between two looks at leaders away from their preferred replica, seconds.";
    "unclean.leader.election.interval.ms" Long "300000" (Min(1)) ReadOnly no []
        "Time between two looks for partitions that wait for an unclean election.";
    "controlled.shutdown.enable" Boolean "true" Any ReadOnly no []
        "Whether a stopping broker first hands its leadership over.";
    "controller.socket.timeout.ms" Int "30000" Any ReadOnly no []
        "Time after which a request to the controller counts as lost.";
    "fetch.purgatory.purge.interval.requests" Int "1000" Any ReadOnly no []
        "Finished fetches kept before Kafka cleans its waiting list.";
    "producer.purgatory.purge.interval.requests" Int "1000" Any ReadOnly no []
        "Finished produce requests kept before Kafka cleans its waiting list.";
    "delete.records.purgatory.purge.interval.requests" Int "1" Any ReadOnly no []
        "Finished record deletions kept before Kafka cleans its waiting list.";
    "follower.fetch.last.tiered.offset.enable" Boolean "false" Any ClusterWide no []
        "Whether a new follower of a tiered topic starts at the last tiered offset.";
}

settings! { KRAFT, "The controller quorum.";
    "broker.heartbeat.interval.ms" Int "2000" Any ReadOnly no []
        "Time between a broker's heartbeats to the controller.";
    "broker.session.timeout.ms" Int "9000" Any ReadOnly no []
        "Silence after which the controller fences a broker.";
    "initial.broker.registration.timeout.ms" Int "60000" Any ReadOnly no []
        "Time a starting broker tries to register before it stops.";
    "controller.quorum.bootstrap.servers" List "" Any ReadOnly no []
        "Addresses at which a node finds the controllers.";
    "controller.quorum.voters" List "" Any ReadOnly yes []
        "The controllers of a fixed quorum, as id@host:port.";
    "controller.quorum.auto.join.enable" Boolean "false" Any ReadOnly no []
        "Whether a controller joins the voters by itself.";
    "controller.quorum.election.timeout.ms" Int "1000" (Min(0)) ReadOnly no []
        "Time a candidate waits for votes.";
    "controller.quorum.election.backoff.max.ms" Int "1000" (Min(0)) ReadOnly no []
        "Longest pause between two elections.";
    "controller.quorum.fetch.timeout.ms" Int "2000" (Min(0)) ReadOnly no []
        "Silence of the leader after which a voter starts an election.";
    "controller.quorum.fetch.max.bytes" Int "1048576" (Min(1)) ReadOnly no []
        "Most bytes of one fetch of the metadata log.";
    "controller.quorum.fetch.snapshot.max.bytes" Int "1048576" (Min(1)) ReadOnly no []
        "Most bytes of one fetch of a metadata snapshot.";
    "controller.quorum.append.linger.ms" Int "25" (Min(0)) ReadOnly no []
        "Time the leader gathers metadata records before it writes them.";
    "controller.quorum.request.timeout.ms" Int "2000" (Min(0)) ReadOnly no []
        "Time after which a request within the quorum counts as lost.";
    "controller.quorum.retry.backoff.ms" Int "20" (Min(0)) ReadOnly no []
        "Pause before a request within the quorum is repeated.";
    "metadata.log.dir" String null Any ReadOnly yes []
        "Folder of the metadata log; unset means the first log folder.";
    "metadata.log.segment.bytes" Int "1073741824" (Min(8_388_608)) ReadOnly yes []
        "Size at which a segment of the metadata log is closed, bytes.";
    "metadata.log.segment.ms" Long "604800000" Any ReadOnly yes []
        "Age at which a segment of the metadata log is closed.";
    "metadata.log.max.record.bytes.between.snapshots" Long "20971520" (Min(1)) ReadOnly no []
        "Bytes of metadata records after which a snapshot is taken.";
    "metadata.log.max.snapshot.interval.ms" Long "3600000" (Min(0)) ReadOnly no []
        "Age of the last snapshot at which a new one is taken; 0 switches this off.";
    "metadata.max.retention.bytes" Long "104857600" Any ReadOnly no []
        "Size of metadata log and snapshots above which old ones are deleted.";
    "metadata.max.retention.ms" Long "604800000" Any ReadOnly no []
        "Age at which metadata log segments and snapshots are deleted.";
    "metadata.max.idle.interval.ms" Int "500" (Min(0)) ReadOnly no []
        "Time after which an idle controller writes an empty record; 0 switches this off.";
    "sasl.mechanism.controller.protocol" String "GSSAPI" Any ReadOnly no []
        "SASL mechanism towards the controllers.";
}
