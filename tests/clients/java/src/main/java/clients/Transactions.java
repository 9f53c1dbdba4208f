package clients;

import static clients.Support.PARTITIONS;
import static clients.Support.check;

import java.util.List;
import java.util.Map;

import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;

/** Transactions: committed ones are seen whole, aborted ones never, offsets go with them, an older producer is fenced. */
final class Transactions {
    static String run(String bootstrap) throws Exception {
        String topic = Support.newTopic(bootstrap, "transactions", PARTITIONS);
        Map<String, Object> config = Produce.config(bootstrap);
        config.put("transactional.id", topic);
        TopicPartition source = new TopicPartition(topic, 0);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(config)) {
            producer.initTransactions();
            for (int round = 0; round < 6; round++) {
                boolean commit = round % 2 == 0;
                producer.beginTransaction();
                for (int n = 0; n < 60; n++) {
                    producer.send(new ProducerRecord<>(topic, n % PARTITIONS, null, round + "/" + commit));
                }
                producer.sendOffsetsToTransaction(Map.of(source, new OffsetAndMetadata(round)),
                    new ConsumerGroupMetadata(topic));
                if (commit) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
            int count = 0;
            for (List<ConsumerRecord<String, String>> rows : Support.readAll(bootstrap, topic, "read_committed")) {
                for (ConsumerRecord<String, String> record : rows) {
                    check(record.value().endsWith("/true"), "read_committed saw aborted " + record.value());
                    count++;
                }
            }
            check(count == 180, count + " committed records instead of 180");
            try (var admin = Support.admin(bootstrap)) {
                long offset = admin.listConsumerGroupOffsets(topic).partitionsToOffsetAndMetadata().get().get(source).offset();
                check(offset == 4, "the group is at " + offset + " instead of the last committed 4");
            }
            fence(config, producer, topic);
        }
        return "3 transactions committed, 3 aborted, an old producer fenced";
    }

    private static void fence(Map<String, Object> config, KafkaProducer<String, String> old, String topic) {
        try (KafkaProducer<String, String> young = new KafkaProducer<>(config)) {
            young.initTransactions();
            try {
                old.beginTransaction();
                old.send(new ProducerRecord<>(topic, 0, null, "fenced/false"));
                old.commitTransaction();
            } catch (ProducerFencedException | InvalidProducerEpochException expected) {
                // The leader of the partition notices first (second error) or the coordinator does.
                return;
            }
            throw new IllegalStateException("an older producer of the same transactional id was not fenced");
        }
    }

    private Transactions() {
    }
}
