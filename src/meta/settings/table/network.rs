//! Broker settings: the node, its listeners, connections and requests.
//!
//! Unlike in Kafka, `process.roles`, `node.id` and `controller.listener.names` have defaults (a single node needs
//! none), and listeners change at a restart only.
//!
//! Names, types, defaults and ranges are those of Apache Kafka 4.3.1.

use super::settings;

settings! { NETWORK, "Node, listeners, network.";
    "process.roles" List "broker,controller" (ListOf(&["broker", "controller"])) ReadOnly yes []
        "Roles of this node; a node of this version is broker and controller in one.";
    "node.id" Int "0" (Min(0)) ReadOnly yes []
        "Number of this node in the cluster.";
    "broker.rack" String null Any ReadOnly yes []
        "Name of the rack the broker stands in, used to spread replicas.";
    "listeners" List "PLAINTEXT://:9092" Any ReadOnly yes []
        "Addresses this node listens on, as NAME://host:port; an empty host means all interfaces.";
    "advertised.listeners" List null Any ReadOnly yes []
        "Addresses clients are told to connect to; unset means the listeners themselves.";
    "listener.security.protocol.map" String
        "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"
        Any ReadOnly yes []
        "Which security protocol each listener name uses.";
    "inter.broker.listener.name" String null Any ReadOnly yes []
        "Listener that brokers use among themselves.";
    "security.inter.broker.protocol" String "PLAINTEXT" Any ReadOnly no []
        "Security protocol between brokers when no listener name is given for them.";
    "controller.listener.names" List "" Any ReadOnly yes []
        "Listeners that belong to the controller and are not advertised to clients.";
    "early.start.listeners" List null Any ReadOnly no []
        "Listeners opened before the authorizer has finished loading.";
    "num.network.threads" Int "3" (Min(1)) ClusterWide no []
        "Threads that read and write sockets in Kafka; cores do this here.";
    "num.io.threads" Int "8" (Min(1)) ClusterWide no []
        "Threads that process requests in Kafka; cores do this here.";
    "background.threads" Int "10" (Min(1)) ClusterWide no []
        "Threads for background work in Kafka; cores do this here.";
    "queued.max.requests" Int "500" (Min(1)) ReadOnly no []
        "Requests of clients that may wait before reading stops.";
    "queued.max.request.bytes" Long "-1" Any ReadOnly no []
        "Bytes of waiting requests before reading stops; -1 means no limit.";
    "socket.request.max.bytes" Int "104857600" (Min(1)) ReadOnly yes []
        "Largest request accepted, bytes; a larger one closes the connection.";
    "socket.send.buffer.bytes" Int "102400" Any ReadOnly no []
        "Send buffer of a socket, bytes; -1 leaves it to the system.";
    "socket.receive.buffer.bytes" Int "102400" Any ReadOnly no []
        "Receive buffer of a socket, bytes; -1 leaves it to the system.";
    "socket.listen.backlog.size" Int "50" (Min(1)) ReadOnly yes []
        "Connections that may wait to be accepted.";
    "socket.connection.setup.timeout.ms" Long "10000" Any ReadOnly no []
        "Time for an outgoing connection to come up, first try.";
    "socket.connection.setup.timeout.max.ms" Long "30000" Any ReadOnly no []
        "Longest time for an outgoing connection to come up after repeated failures.";
    "request.timeout.ms" Int "30000" Any ReadOnly no []
        "Time after which a request to another node counts as lost.";
    "connections.max.idle.ms" Long "600000" Any ReadOnly yes []
        "Silence after which a connection is closed; negative means never.";
    "connections.max.reauth.ms" Long "0" Any ReadOnly no []
        "Longest life of a SASL session before the client must authenticate again; 0 means for ever.";
    "connection.failed.authentication.delay.ms" Int "100" (Min(0)) ReadOnly no []
        "How long the answer to a failed authentication is held back.";
    "max.connections" Int "2147483647" (Min(0)) ClusterWide yes []
        "Connections this broker accepts at once; unless set, as many as the memory has room for, 2048 for 256 MiB.";
    "max.connections.per.ip" Int "2147483647" (Min(0)) ClusterWide no []
        "Connections accepted from one address.";
    "max.connections.per.ip.overrides" String "" Any ClusterWide no []
        "Exceptions from max.connections.per.ip, as host:count pairs.";
    "max.connection.creation.rate" Int "2147483647" (Min(0)) ClusterWide no []
        "New connections accepted per second.";
    "fetch.max.bytes" Int "57671680" (Min(1_024)) ReadOnly yes []
        "Most bytes a fetch is answered with, whatever the client asks for.";
    "max.incremental.fetch.session.cache.slots" Int "1000" (Min(0)) ReadOnly yes []
        "Incremental fetch sessions kept at the same time.";
    "max.request.partition.size.limit" Int "2000" (Min(1)) ReadOnly yes []
        "Partitions described in one answer of DescribeTopicPartitions.";
}
