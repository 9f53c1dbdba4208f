//! Broker settings: quotas, security, metrics and tiered storage; none of them acted upon yet.
//!
//! Names, types, defaults and ranges are those of Apache Kafka 4.3.1.

use super::settings;

settings! { QUOTAS, "Quotas.";
    "quota.window.num" Int "11" (Min(1)) ReadOnly no []
        "Samples kept for client quotas.";
    "quota.window.size.seconds" Int "1" (Min(1)) ReadOnly no []
        "Length of one sample for client quotas, seconds.";
    "replication.quota.window.num" Int "11" (Min(1)) ReadOnly no []
        "Samples kept for the replication throttle.";
    "replication.quota.window.size.seconds" Int "1" (Min(1)) ReadOnly no []
        "Length of one sample for the replication throttle, seconds.";
    "alter.log.dirs.replication.quota.window.num" Int "11" (Min(1)) ReadOnly no []
        "Samples kept for the throttle of moves between log folders.";
    "alter.log.dirs.replication.quota.window.size.seconds" Int "1" (Min(1)) ReadOnly no []
        "Length of one sample for the throttle of moves between log folders, seconds.";
    "controller.quota.window.num" Int "11" (Min(1)) ReadOnly no []
        "Samples kept for the quota of topic changes.";
    "controller.quota.window.size.seconds" Int "1" (Min(1)) ReadOnly no []
        "Length of one sample for the quota of topic changes, seconds.";
    "client.quota.callback.class" Class null Any ReadOnly no []
        "Java class that decides client quotas; not supported here.";
    "leader.replication.throttled.rate" Long "9223372036854775807" (Min(0)) ClusterWide no []
        "Bandwidth of throttled replicas on the leader's side, bytes per second.";
    "follower.replication.throttled.rate" Long "9223372036854775807" (Min(0)) ClusterWide no []
        "Bandwidth of throttled replicas on the follower's side, bytes per second.";
    "replica.alter.log.dirs.io.max.bytes.per.second" Long "9223372036854775807" (Min(0)) ClusterWide no []
        "Bandwidth of moves between log folders, bytes per second.";
}

settings! { SECURITY, "Security, metrics, tiered storage.";
    "authorizer.class.name" String "" Any ReadOnly no []
        "Java class that decides permissions; not supported here.";
    "principal.builder.class" Class "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"
        Any PerBroker no []
        "Java class that names the user of a connection; not supported here.";
    "sasl.enabled.mechanisms" List "GSSAPI" Any PerBroker no []
        "SASL mechanisms offered to clients.";
    "sasl.mechanism.inter.broker.protocol" String "GSSAPI" Any PerBroker no []
        "SASL mechanism between brokers.";
    "sasl.server.max.receive.size" Int "524288" Any ReadOnly no []
        "Largest SASL message accepted before authentication, bytes.";
    "ssl.client.auth" String "none" (OneOf(&["required", "requested", "none"])) PerBroker no []
        "Whether TLS clients must show a certificate.";
    "ssl.enabled.protocols" List "TLSv1.2,TLSv1.3" Any PerBroker no []
        "TLS versions that may be used.";
    "ssl.protocol" String "TLSv1.3" Any PerBroker no []
        "TLS version that contexts are made with.";
    "ssl.keystore.type" String "JKS" Any PerBroker no []
        "File format of the key store.";
    "ssl.endpoint.identification.algorithm" String "https" Any PerBroker no []
        "How a TLS server's name is checked.";
    "delegation.token.secret.key" Password null Any ReadOnly no []
        "Secret that delegation tokens are signed with.";
    "delegation.token.max.lifetime.ms" Long "604800000" (Min(1)) ReadOnly no []
        "Longest life of a delegation token, renewals included.";
    "delegation.token.expiry.time.ms" Long "86400000" (Min(1)) ReadOnly no []
        "Life of a delegation token unless it is renewed.";
    "delegation.token.expiry.check.interval.ms" Long "3600000" (Min(1)) ReadOnly no []
        "Time between two looks for expired delegation tokens.";
    "metric.reporters" List "org.apache.kafka.common.metrics.JmxReporter" Any ClusterWide no []
        "Java classes that report metrics; not supported here.";
    "metrics.num.samples" Int "2" (Min(1)) ReadOnly no []
        "Samples kept for metrics.";
    "metrics.sample.window.ms" Long "30000" (Min(1)) ReadOnly no []
        "Length of one sample of a metric.";
    "metrics.recording.level" String "INFO" (OneOf(&["INFO", "DEBUG", "TRACE"])) ReadOnly no []
        "How many metrics are recorded: INFO, DEBUG or TRACE.";
    "telemetry.max.bytes" Int "1048576" (Min(1)) ReadOnly no []
        "Largest push of client metrics accepted, bytes.";
    "remote.log.storage.system.enable" Boolean "false" Any ReadOnly no []
        "Whether tiered storage is available on this broker.";
    "log.local.retention.ms" Long "-2" (Min(-2)) ClusterWide no []
        "Time segments stay on local disk when they are tiered; -2 means the same as the total retention.";
    "log.local.retention.bytes" Long "-2" (Min(-2)) ClusterWide no []
        "Bytes kept on local disk when segments are tiered; -2 means the same as the total retention.";
    "remote.fetch.max.wait.ms" Int "500" (Min(1)) ClusterWide no []
        "Longest time a fetch waits for tiered storage.";
    "remote.log.index.file.cache.total.size.bytes" Long "1073741824" (Min(1)) ClusterWide no []
        "Local space for the indexes of tiered segments, bytes.";
    "remote.log.manager.task.interval.ms" Long "30000" (Min(1)) ReadOnly no []
        "Time between two rounds of copying segments to tiered storage.";
    "remote.log.reader.threads" Int "10" (Min(1)) ClusterWide no []
        "Threads that read tiered storage.";
    "remote.log.reader.max.pending.tasks" Int "100" (Min(1)) ReadOnly no []
        "Reads of tiered storage that may wait.";
}
