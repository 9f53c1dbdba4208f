package clients;

import static clients.Support.LIMIT_S;
import static clients.Support.check;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Administration: topics, configurations, offsets, groups, and the errors that tools rely on. */
final class Admins {
    static String run(String bootstrap) throws Exception {
        String topic = "java-admin-" + System.currentTimeMillis();
        try (Admin admin = Support.admin(bootstrap)) {
            check(!get(admin.describeCluster().clusterId()).isEmpty(), "the cluster has no id");
            check(get(admin.describeCluster().nodes()).size() >= 1, "the cluster has no nodes");
            Uuid id = topics(admin, topic);
            configs(admin, topic);
            records(bootstrap, admin, topic);
            groups(admin, topic);
            get(admin.deleteTopics(List.of(topic)).all());
            fails(admin.describeTopics(List.of(topic)).allTopicNames(), UnknownTopicOrPartitionException.class);
            get(admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all());
            check(!id.equals(describe(admin, topic).topicId()), "a topic that was made anew kept its old id");
            get(admin.deleteTopics(List.of(topic)).all());
        }
        return "topics, configurations, records, groups";
    }

    private static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(LIMIT_S, TimeUnit.SECONDS);
    }

    private static void fails(KafkaFuture<?> future, Class<?> wanted) throws Exception {
        try {
            get(future);
        } catch (ExecutionException error) {
            check(wanted.isInstance(error.getCause()), "expected " + wanted.getSimpleName() + ", got " + error.getCause());
            return;
        }
        throw new IllegalStateException("expected " + wanted.getSimpleName() + ", got success");
    }

    private static TopicDescription describe(Admin admin, String topic) throws Exception {
        return get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
    }

    private static Uuid topics(Admin admin, String topic) throws Exception {
        NewTopic wanted = new NewTopic(topic, 2, (short) 1).configs(Map.of("retention.ms", "86400000"));
        var made = admin.createTopics(List.of(wanted));
        check(get(made.numPartitions(topic)) == 2, "partitions in the answer");
        check(get(made.config(topic)).get("retention.ms").value().equals("86400000"), "configuration in the answer");
        fails(admin.createTopics(List.of(wanted)).all(), TopicExistsException.class);
        fails(admin.createTopics(List.of(new NewTopic("no spaces", 1, (short) 1))).all(), InvalidTopicException.class);
        NewTopic wrong = new NewTopic(topic + "-x", 1, (short) 1).configs(Map.of("retention.ms", "soon"));
        fails(admin.createTopics(List.of(wrong)).all(), InvalidConfigurationException.class);
        check(get(admin.listTopics().names()).contains(topic), "the topic is not listed");
        check(describe(admin, topic).topicId().equals(get(made.topicId(topic))), "the topic has two ids");
        get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all());
        fails(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all(), InvalidPartitionsException.class);
        TopicDescription description = describe(admin, topic);
        check(description.partitions().size() == 4, "the topic did not grow");
        description.partitions().forEach(p -> {
            check(p.leader() != null && !p.leader().isEmpty(), "partition " + p.partition() + " has no leader");
            check(p.isr().size() == 1 && p.replicas().size() == 1, "partition " + p.partition() + " has odd replicas");
        });
        return description.topicId();
    }

    private static ConfigEntry entry(Admin admin, ConfigResource resource, String name) throws Exception {
        return get(admin.describeConfigs(List.of(resource)).all()).get(resource).get(name);
    }

    private static void alter(Admin admin, ConfigResource resource, String name, String value, AlterConfigOp.OpType type)
        throws Exception {
        Collection<AlterConfigOp> ops = List.of(new AlterConfigOp(new ConfigEntry(name, value), type));
        get(admin.incrementalAlterConfigs(Map.of(resource, ops)).all());
    }

    private static void configs(Admin admin, String topic) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        check(entry(admin, resource, "cleanup.policy").isDefault(), "cleanup.policy is not a default");
        alter(admin, resource, "max.message.bytes", "2000000", AlterConfigOp.OpType.SET);
        ConfigEntry set = entry(admin, resource, "max.message.bytes");
        check(set.value().equals("2000000"), "max.message.bytes is " + set.value());
        check(set.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "source is " + set.source());
        check(entry(admin, resource, "retention.ms").value().equals("86400000"), "an increment lost another setting");
        alter(admin, resource, "max.message.bytes", null, AlterConfigOp.OpType.DELETE);
        check(entry(admin, resource, "max.message.bytes").isDefault(), "a removed setting is still set");
        alter(admin, resource, "cleanup.policy", "compact", AlterConfigOp.OpType.APPEND);
        check(entry(admin, resource, "cleanup.policy").value().equals("delete,compact"), "append to a list");
        alter(admin, resource, "cleanup.policy", "compact", AlterConfigOp.OpType.SUBTRACT);
        String node = get(admin.describeCluster().nodes()).iterator().next().idString();
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, node);
        check(entry(admin, broker, "num.partitions") != null, "the broker does not tell num.partitions");
    }

    private static void records(String bootstrap, Admin admin, String topic) throws Exception {
        TopicPartition part = new TopicPartition(topic, 0);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(Produce.config(bootstrap))) {
            for (int n = 0; n < 100; n++) {
                producer.send(new ProducerRecord<>(topic, 0, 1000L + n, "k" + n, "v" + n)).get(LIMIT_S, TimeUnit.SECONDS);
            }
        }
        check(offset(admin, part, OffsetSpec.latest()) == 100, "latest offset");
        check(offset(admin, part, OffsetSpec.earliest()) == 0, "earliest offset");
        check(offset(admin, part, OffsetSpec.forTimestamp(1050)) == 50, "offset by time");
        check(offset(admin, part, OffsetSpec.maxTimestamp()) == 99, "offset of the largest time");
        check(offset(admin, part, OffsetSpec.forTimestamp(5000)) == -1, "no offset is later than all records");
        var deleted = admin.deleteRecords(Map.of(part, RecordsToDelete.beforeOffset(10)));
        check(get(deleted.lowWatermarks().get(part)).lowWatermark() == 10, "low watermark");
        check(offset(admin, part, OffsetSpec.earliest()) == 10, "earliest offset after a delete");
    }

    private static long offset(Admin admin, TopicPartition part, OffsetSpec spec) throws Exception {
        return get(admin.listOffsets(Map.of(part, spec)).partitionResult(part)).offset();
    }

    private static void groups(Admin admin, String group) throws Exception {
        TopicPartition part = new TopicPartition(group, 0);
        get(admin.alterConsumerGroupOffsets(group, Map.of(part, new OffsetAndMetadata(42, "by hand"))).all());
        var offsets = get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        check(offsets.get(part).offset() == 42 && offsets.get(part).metadata().equals("by hand"), "offsets: " + offsets);
        check(get(admin.listGroups().all()).stream().anyMatch(g -> g.groupId().equals(group)), "the group is not listed");
        var described = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
        check(described.members().isEmpty(), "a group nobody joined has members");
        get(admin.deleteConsumerGroupOffsets(group, java.util.Set.of(part)).all());
        check(get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).get(part) == null, "offset kept");
        get(admin.alterConsumerGroupOffsets(group, Map.of(part, new OffsetAndMetadata(1))).all());
        get(admin.deleteConsumerGroups(List.of(group)).all());
        check(get(admin.listGroups().all()).stream().noneMatch(g -> g.groupId().equals(group)), "a deleted group is listed");
    }

    private Admins() {
    }
}
