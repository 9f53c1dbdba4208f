package clients;

import static clients.Support.LIMIT_S;
import static clients.Support.check;
import static clients.Support.until;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Groups: members, one of them static, come and go; every record is seen; offsets are committed and resumed. */
final class Groups {
    /** One consumer in a thread of its own; notes what it saw and commits what it noted. */
    private static final class Member extends Thread {
        final Set<String> seen = ConcurrentHashMap.newKeySet();
        volatile int owned;
        volatile Throwable error;
        private volatile boolean stop;
        private final KafkaConsumer<String, String> consumer;

        Member(Map<String, Object> config, String topic, String instance) {
            Map<String, Object> own = new HashMap<>(config);
            if (instance != null) {
                own.put("group.instance.id", instance);
            }
            consumer = new KafkaConsumer<>(own);
            consumer.subscribe(List.of(topic));
            setDaemon(true);
            start();
        }

        @Override
        public void run() {
            try (consumer) {
                while (!stop) {
                    for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                        seen.add(record.value());
                    }
                    try {
                        consumer.commitSync();
                    } catch (CommitFailedException | RebalanceInProgressException between) {
                        // The records come again, to whoever owns them after the rebalance.
                    }
                    owned = consumer.assignment().size();
                }
            } catch (Throwable thrown) {
                error = thrown;
            }
        }

        void leave() throws InterruptedException {
            stop = true;
            join(TimeUnit.SECONDS.toMillis(LIMIT_S));
            check(!isAlive(), "a member did not leave in time");
            check(error == null, "a member failed: " + error);
        }
    }

    static String classic(String bootstrap) throws Exception {
        List<Class<?>> assignors = List.of(RangeAssignor.class, RoundRobinAssignor.class, StickyAssignor.class,
            CooperativeStickyAssignor.class);
        for (Class<?> assignor : assignors) {
            Map<String, Object> config = new HashMap<>();
            config.put("group.protocol", "classic");
            config.put("session.timeout.ms", 10000);
            config.put("heartbeat.interval.ms", 500);
            config.put("partition.assignment.strategy", assignor.getName());
            new Run(bootstrap, assignor.getSimpleName(), config).play();
        }
        return assignors.size() + " assignors";
    }

    static String server(String bootstrap) throws Exception {
        for (String assignor : List.of("uniform", "range")) {
            Map<String, Object> config = new HashMap<>();
            config.put("group.protocol", "consumer");
            config.put("group.remote.assignor", assignor);
            new Run(bootstrap, "848-" + assignor, config).play();
        }
        return "2 assignors of the server";
    }

    /** The story of one group. */
    private static final class Run {
        final String bootstrap;
        final String topic;
        final Map<String, Object> config;
        final List<Member> members = new ArrayList<>();
        int sent;

        Run(String bootstrap, String name, Map<String, Object> more) throws Exception {
            this.bootstrap = bootstrap;
            topic = Support.newTopic(bootstrap, "group-" + name, 6);
            config = new HashMap<>(more);
            config.put("bootstrap.servers", bootstrap);
            config.put("group.id", topic);
            config.put("auto.offset.reset", "earliest");
            config.put("enable.auto.commit", false);
            config.put("key.deserializer", StringDeserializer.class);
            config.put("value.deserializer", StringDeserializer.class);
        }

        void produce(int count) {
            try (KafkaProducer<String, String> producer = new KafkaProducer<>(Produce.config(bootstrap))) {
                for (int n = 0; n < count; n++) {
                    String value = String.valueOf(sent++);
                    producer.send(new ProducerRecord<>(topic, value, value));
                }
            }
        }

        Member enter(String instance) {
            Member member = new Member(config, topic, instance);
            members.add(member);
            return member;
        }

        void owned(int... counts) throws InterruptedException {
            List<Member> active = members.stream().filter(Thread::isAlive).toList();
            until("ownership of " + Arrays.toString(counts), () -> {
                healthy();
                return Arrays.equals(active.stream().mapToInt(m -> m.owned).sorted().toArray(), counts);
            });
        }

        void allSeen() throws InterruptedException {
            until("all " + sent + " records seen", () -> {
                healthy();
                Set<String> all = new HashSet<>();
                members.forEach(m -> all.addAll(m.seen));
                return all.size() == sent;
            });
        }

        void healthy() {
            members.forEach(m -> check(m.error == null, "a member of " + topic + " failed: " + m.error));
        }

        void play() throws Exception {
            produce(600);
            Member first = enter(null);
            Member second = enter(null);
            owned(3, 3);
            Member fixed = enter("static-1");
            owned(2, 2, 2);
            produce(600);
            allSeen();
            first.leave();
            owned(3, 3);
            produce(300);
            allSeen();
            // A static member that goes keeps its partitions until its session ends: it is back before that.
            fixed.leave();
            produce(60);
            fixed = enter("static-1");
            allSeen();
            owned(3, 3);
            second.leave();
            owned(6);
            fixed.leave();
            produce(60);
            Member next = enter("static-1");
            until("the next member sees what is new", () -> {
                healthy();
                return next.seen.contains(String.valueOf(sent - 1)) && next.seen.size() >= 60;
            });
            next.leave();
            check(next.seen.size() == 60, "a resumed group saw " + next.seen.size() + " records instead of 60");
        }
    }

    private Groups() {
    }
}
