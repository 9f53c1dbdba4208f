package clients;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/** What the scenarios share: topics with fresh names, reading everything back, waiting with a limit. */
final class Support {
    static final int PARTITIONS = 3;
    static final long LIMIT_S = 60;

    static void check(boolean condition, String message) {
        if (!condition) {
            throw new IllegalStateException(message);
        }
    }

    static void until(String what, BooleanSupplier holds) throws InterruptedException {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_S);
        while (!holds.getAsBoolean()) {
            check(System.nanoTime() < end, "not in time: " + what);
            Thread.sleep(50);
        }
    }

    static Admin admin(String bootstrap) {
        return Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    static String newTopic(String bootstrap, String name, int partitions) throws Exception {
        String topic = "java-" + name + "-" + System.currentTimeMillis();
        try (Admin admin = admin(bootstrap)) {
            NewTopic wanted = new NewTopic(topic, Optional.of(partitions), Optional.empty());
            admin.createTopics(List.of(wanted)).all().get(LIMIT_S, TimeUnit.SECONDS);
        }
        return topic;
    }

    /** Each partition's records, from its start to its end (as the isolation level sees it) as of now. */
    static List<List<ConsumerRecord<String, String>>> readAll(String bootstrap, String topic, String isolation) {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "isolation.level", isolation,
            "key.deserializer", StringDeserializer.class, "value.deserializer", StringDeserializer.class);
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config)) {
            List<TopicPartition> parts = new ArrayList<>();
            List<List<ConsumerRecord<String, String>>> held = new ArrayList<>();
            for (int p = 0; p < PARTITIONS; p++) {
                parts.add(new TopicPartition(topic, p));
                held.add(new ArrayList<>());
            }
            consumer.assign(parts);
            consumer.seekToBeginning(parts);
            Map<TopicPartition, Long> ends = consumer.endOffsets(parts);
            long limit = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_S);
            // The position passes control records too, which a poll does not hand out.
            while (parts.stream().anyMatch(part -> consumer.position(part) < ends.get(part))) {
                check(System.nanoTime() < limit, "reading " + topic + " took too long; ends are " + ends);
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    held.get(record.partition()).add(record);
                }
            }
            return held;
        }
    }

    private Support() {
    }
}
