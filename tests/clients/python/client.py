"""confluent-kafka against one broker: `client.py <bootstrap> <scenario>`. See ../README.md for the contract."""

import sys
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 3
LIMIT_S = 60


class Failed(Exception):
    """What the broker did was not what the scenario demands."""


def check(condition, message):
    if not condition:
        raise Failed(message)


def topic(bootstrap, name, partitions=PARTITIONS):
    name = f"python-{name}-{int(time.time() * 1000)}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        future.result(LIMIT_S)
    return name


class Sender:
    """A producer that remembers what was acknowledged: (partition, value) -> offset."""

    def __init__(self, bootstrap, **settings):
        self.acked = {}
        self.failed = []
        config = {"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 5, "message.timeout.ms": 120000}
        self.producer = Producer({**config, **settings})

    def done(self, error, message):
        if error is not None:
            self.failed.append(f"{message.value()}: {error}")
        else:
            self.acked[(message.partition(), message.value().decode())] = message.offset()

    def send(self, topic, value, **more):
        while True:
            try:
                self.producer.produce(topic, value=value.encode(), on_delivery=self.done, **more)
                self.producer.poll(0)
                return
            except BufferError:
                self.producer.poll(0.1)

    def finish(self):
        left = self.producer.flush(LIMIT_S * 2)
        check(left == 0, f"{left} records still not delivered")
        check(not self.failed, f"{len(self.failed)} records failed, the first: {self.failed[:1]}")


def read_all(bootstrap, topic, partitions=PARTITIONS):
    """Every record from the start of each partition to its end as of now."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False, "check.crcs": True}
    )
    parts = [TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)]
    ends = {p.partition: consumer.get_watermark_offsets(p, LIMIT_S)[1] for p in parts}
    consumer.assign(parts)
    left = {p for p, end in ends.items() if end > 0}
    records, deadline = [], time.monotonic() + LIMIT_S
    while left:
        check(time.monotonic() < deadline, f"only {len(records)} records of {topic} arrived; ends are {ends}")
        for message in consumer.consume(500, 1.0):
            if message.error():
                raise KafkaException(message.error())
            records.append(message)
            if message.offset() + 1 >= ends[message.partition()]:
                left.discard(message.partition())
    consumer.close()
    return records


def roundtrip(bootstrap):
    total = 0
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        name = topic(bootstrap, f"roundtrip-{codec}")
        sender = Sender(bootstrap, **{"compression.type": codec})
        for n in range(600):
            headers = [("n", str(n).encode()), ("same", b"1"), ("same", b"2"), ("none", None)]
            sender.send(name, f"{n}/" + "x" * 100, key=f"key-{n % 20}".encode(), headers=headers)
        sender.finish()
        records = read_all(bootstrap, name)
        check(len(records) == 600, f"{codec}: {len(records)} records instead of 600")
        last, home = {}, {}
        for record in records:
            n = int(record.value().decode().split("/")[0])
            key = record.key().decode()
            check(key == f"key-{n % 20}", f"{codec}: record {n} has key {key}")
            wanted = [("n", str(n).encode()), ("same", b"1"), ("same", b"2"), ("none", None)]
            check(record.headers() == wanted, f"{codec}: record {n} has headers {record.headers()}")
            check(last.get(key, -1) < n, f"{codec}: {n} after {last.get(key)} for {key}")
            check(home.setdefault(key, record.partition()) == record.partition(), f"{codec}: {key} moved")
            last[key] = n
        total += len(records)
    return f"{total} records in 5 codecs"


def verify_exact(bootstrap, name, sender, sent):
    """The partitions hold exactly what was sent, in order, where the acknowledgements said."""
    held = {p: [] for p in range(PARTITIONS)}
    for record in read_all(bootstrap, name):
        held[record.partition()].append((record.value().decode(), record.offset()))
    for p, rows in held.items():
        check(len(rows) == sent[p], f"partition {p} holds {len(rows)} records, sent were {sent[p]}")
        for n, (value, offset) in enumerate(rows):
            check(value == f"{p}/{n}", f"partition {p}: {value} stands where {p}/{n} should")
            check(sender.acked.get((p, value)) == offset, f"{value} is at {offset}, acknowledged elsewhere")


def idempotent(bootstrap):
    name = topic(bootstrap, "idempotent")
    sender = Sender(bootstrap, **{"enable.idempotence": True, "batch.num.messages": 50})
    sent = [0] * PARTITIONS
    for n in range(6000):
        p = n % PARTITIONS
        sender.send(name, f"{p}/{sent[p]}", partition=p)
        sent[p] += 1
    sender.finish()
    verify_exact(bootstrap, name, sender, sent)
    return "6000 records exactly once"


class Member(threading.Thread):
    """One consumer of a group, in a thread until `leave`; notes what it saw, commits what it noted."""

    def __init__(self, bootstrap, group, name, assignor, instance=None):
        super().__init__(daemon=True)
        config = {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 10000,
            "heartbeat.interval.ms": 500,
            "partition.assignment.strategy": assignor,
        }
        if instance:
            config["group.instance.id"] = instance
        self.consumer = Consumer(config)
        self.consumer.subscribe([name])
        self.seen, self.error, self.stop, self.owned = [], None, False, 0
        self.start()

    def run(self):
        try:
            while not self.stop:
                batch = self.consumer.consume(100, 0.2)
                for message in batch:
                    if message.error():
                        raise KafkaException(message.error())
                    self.seen.append(message.value().decode())
                if batch:
                    try:
                        self.consumer.commit(asynchronous=False)
                    except KafkaException as error:
                        # A rebalance in between: the records come again, to whoever owns them then.
                        if not error.args[0].code() in (22, 25, 27, -168, -172):
                            raise
                self.owned = len(self.consumer.assignment())
        except Exception as error:  # noqa: BLE001 - reported by the main thread
            self.error = error
        finally:
            self.consumer.close()

    def leave(self):
        self.stop = True
        self.join(LIMIT_S)
        check(not self.is_alive(), "a member did not leave in time")
        check(self.error is None, f"a member failed: {self.error}")


def until(what, condition, members):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        for member in members:
            check(member.error is None, f"a member failed: {member.error}")
        check(time.monotonic() < deadline, f"not in time: {what}")
        time.sleep(0.05)


def group_run(bootstrap, assignor):
    name, group = topic(bootstrap, f"group-{assignor}", 6), f"python-{assignor}-{int(time.time() * 1000)}"
    sender, sent = Sender(bootstrap), set()

    def produce(count):
        for _ in range(count):
            value = str(len(sent))
            sent.add(value)
            sender.send(name, value, key=value.encode())
        sender.finish()

    def seen(members):
        return set().union(*(m.seen for m in members))

    produce(600)
    a = Member(bootstrap, group, name, assignor)
    b = Member(bootstrap, group, name, assignor)
    until("two members share", lambda: a.owned == 3 and b.owned == 3, [a, b])
    c = Member(bootstrap, group, name, assignor, "static-1")
    until("three members share", lambda: (a.owned, b.owned, c.owned) == (2, 2, 2), [a, b, c])
    produce(600)
    until("three members see all", lambda: seen([a, b, c]) == sent, [a, b, c])
    a.leave()
    until("two are left with all", lambda: b.owned + c.owned == 6, [b, c])
    produce(300)
    until("two members see all", lambda: seen([a, b, c]) == sent, [b, c])
    b.leave()
    c.leave()
    produce(60)
    d = Member(bootstrap, group, name, assignor, "static-1")
    new = {str(n) for n in range(1500, 1560)}
    until("the next member sees what is new", lambda: new <= set(d.seen), [d])
    d.leave()
    check(set(d.seen) == new, f"a resumed group saw {len(d.seen)} records instead of {len(new)}: offsets were lost")


def group(bootstrap):
    for assignor in ["range", "roundrobin", "cooperative-sticky"]:
        group_run(bootstrap, assignor)
    return "3 assignors"


def survive(bootstrap):
    name = topic(bootstrap, "survive")
    sender = Sender(bootstrap, **{"enable.idempotence": True, "retry.backoff.ms": 50, "reconnect.backoff.max.ms": 500})
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    sent, told = [0] * PARTITIONS, 0.0
    while not ended.is_set():
        for p in range(PARTITIONS):
            for _ in range(10):
                sender.send(name, f"{p}/{sent[p]}", partition=p)
                sent[p] += 1
        sender.producer.poll(0.02)
        if time.monotonic() - told > 0.3:
            told = time.monotonic()
            print(f"ACKED {len(sender.acked)}", flush=True)
        while len(sender.producer) > 5000 and not ended.is_set():
            sender.producer.poll(0.1)
            print(f"ACKED {len(sender.acked)}", flush=True)
    sender.finish()
    verify_exact(bootstrap, name, sender, sent)
    return f"{sum(sent)} acknowledged records are there once and in order"


def main():
    scenarios = {"roundtrip": roundtrip, "idempotent": idempotent, "group": group, "survive": survive}
    if len(sys.argv) != 3 or sys.argv[2] not in scenarios:
        print(f"FAIL usage: client.py <bootstrap> {'|'.join(scenarios)}")
        return 2
    try:
        print(f"OK {scenarios[sys.argv[2]](sys.argv[1])}")
        return 0
    except Exception as error:  # noqa: BLE001 - every way to fail ends in one line
        print(f"FAIL {type(error).__name__}: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
