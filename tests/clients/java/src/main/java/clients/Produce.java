package clients;

import static clients.Support.LIMIT_S;
import static clients.Support.PARTITIONS;
import static clients.Support.check;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.StringSerializer;

/** Producing: every codec, idempotence, and producing while somebody kills the broker. */
final class Produce {
    static Map<String, Object> config(String bootstrap) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("key.serializer", StringSerializer.class);
        config.put("value.serializer", StringSerializer.class);
        config.put("acks", "all");
        config.put("linger.ms", 5);
        config.put("delivery.timeout.ms", 120000);
        return config;
    }

    static String roundtrip(String bootstrap) throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = Support.newTopic(bootstrap, "roundtrip-" + codec, PARTITIONS);
            Map<String, Object> config = config(bootstrap);
            config.put("compression.type", codec);
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            long started = System.currentTimeMillis();
            try (KafkaProducer<String, String> producer = new KafkaProducer<>(config)) {
                for (int n = 0; n < 600; n++) {
                    ProducerRecord<String, String> record =
                        new ProducerRecord<>(topic, "key-" + n % 20, n + "/" + "x".repeat(100));
                    record.headers().add("n", String.valueOf(n).getBytes()).add("same", new byte[] {1})
                        .add("same", new byte[] {2}).add("none", null);
                    sent.add(producer.send(record));
                }
            }
            for (Future<RecordMetadata> one : sent) {
                one.get(LIMIT_S, TimeUnit.SECONDS);
            }
            verifyKeyed(codec, Support.readAll(bootstrap, topic, "read_uncommitted"), started);
        }
        return "3000 records in 5 codecs";
    }

    private static void verifyKeyed(String codec, List<List<ConsumerRecord<String, String>>> held, long started) {
        Map<String, Integer> last = new HashMap<>();
        Map<String, Integer> home = new HashMap<>();
        int count = 0;
        for (List<ConsumerRecord<String, String>> rows : held) {
            for (ConsumerRecord<String, String> record : rows) {
                int n = Integer.parseInt(record.value().split("/")[0]);
                check(record.key().equals("key-" + n % 20), codec + ": record " + n + " has key " + record.key());
                Header[] headers = record.headers().toArray();
                check(headers.length == 4 && new String(headers[0].value()).equals(String.valueOf(n))
                    && headers[1].value()[0] == 1 && headers[2].value()[0] == 2 && headers[3].value() == null,
                    codec + ": record " + n + " has headers " + record.headers());
                check(record.timestamp() >= started && record.timestamp() <= System.currentTimeMillis(),
                    codec + ": record " + n + " has time " + record.timestamp());
                check(last.getOrDefault(record.key(), -1) < n, codec + ": order of " + record.key());
                check(home.getOrDefault(record.key(), record.partition()) == record.partition(),
                    codec + ": " + record.key() + " moved");
                last.put(record.key(), n);
                home.put(record.key(), record.partition());
                count++;
            }
        }
        check(count == 600, codec + ": " + count + " records instead of 600");
    }

    /** Sends numbered records to chosen partitions and remembers where each was acknowledged. */
    private static final class Sender implements AutoCloseable {
        final String topic;
        final int[] sent = new int[PARTITIONS];
        final Map<String, Long> acked = new ConcurrentHashMap<>();
        final ConcurrentLinkedQueue<String> failed = new ConcurrentLinkedQueue<>();
        final KafkaProducer<String, String> producer;

        Sender(String bootstrap, String topic) {
            Map<String, Object> config = config(bootstrap);
            config.put("enable.idempotence", true);
            config.put("max.in.flight.requests.per.connection", 5);
            config.put("batch.size", 2000);
            config.put("max.block.ms", 120000);
            config.put("reconnect.backoff.max.ms", 500);
            this.topic = topic;
            this.producer = new KafkaProducer<>(config);
        }

        void send(int partition) {
            String value = partition + "/" + sent[partition]++;
            producer.send(new ProducerRecord<>(topic, partition, null, value), (metadata, error) -> {
                if (error == null) {
                    acked.put(value, metadata.offset());
                } else {
                    failed.add(value + ": " + error);
                }
            });
        }

        int outstanding() {
            int total = 0;
            for (int count : sent) {
                total += count;
            }
            return total - acked.size() - failed.size();
        }

        int verify(String bootstrap) {
            producer.flush();
            check(failed.isEmpty(), failed.size() + " records failed, the first: " + failed.peek());
            List<List<ConsumerRecord<String, String>>> held = Support.readAll(bootstrap, topic, "read_uncommitted");
            int total = 0;
            for (int p = 0; p < PARTITIONS; p++) {
                List<ConsumerRecord<String, String>> rows = held.get(p);
                check(rows.size() == sent[p], "partition " + p + " holds " + rows.size() + " records, sent were " + sent[p]);
                for (int n = 0; n < sent[p]; n++) {
                    String value = rows.get(n).value();
                    check(value.equals(p + "/" + n), value + " stands where " + p + "/" + n + " should");
                    check(acked.get(value) == rows.get(n).offset(), value + " is not where it was acknowledged");
                }
                total += sent[p];
            }
            return total;
        }

        @Override
        public void close() {
            producer.close(Duration.ofSeconds(5));
        }
    }

    static String idempotent(String bootstrap) throws Exception {
        String topic = Support.newTopic(bootstrap, "idempotent", PARTITIONS);
        try (Sender sender = new Sender(bootstrap, topic)) {
            for (int n = 0; n < 6000; n++) {
                sender.send(n % PARTITIONS);
            }
            return sender.verify(bootstrap) + " records exactly once";
        }
    }

    static String survive(String bootstrap) throws Exception {
        String topic = Support.newTopic(bootstrap, "survive", PARTITIONS);
        Thread input = new Thread(() -> {
            try {
                System.in.transferTo(java.io.OutputStream.nullOutputStream());
            } catch (IOException error) {
                error.printStackTrace();
            }
        });
        input.setDaemon(true);
        input.start();
        try (Sender sender = new Sender(bootstrap, topic)) {
            for (int round = 0; input.isAlive(); round++) {
                // A broker that is away must not make the backlog grow without end.
                for (int n = 0; n < 30 && sender.outstanding() < 5000; n++) {
                    sender.send(n % PARTITIONS);
                }
                Thread.sleep(20);
                if (round % 15 == 0) {
                    System.out.println("ACKED " + sender.acked.size());
                }
            }
            return sender.verify(bootstrap) + " acknowledged records are there once and in order";
        }
    }

    private Produce() {
    }
}
