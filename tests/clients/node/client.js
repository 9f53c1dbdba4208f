// kafkajs against one broker: `client.js <bootstrap> <scenario>`. See ../README.md for the contract.
"use strict";

const { CompressionCodecs, CompressionTypes, Kafka, logLevel, PartitionAssigners } = require("kafkajs");

CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");

const PARTITIONS = 3;
const LIMIT_MS = 60000;
const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));

function check(condition, message) {
  if (!condition) throw new Error(message);
}

function connect(bootstrap) {
  return new Kafka({
    clientId: "clients-node",
    brokers: [bootstrap],
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 100, maxRetryTime: 1000, retries: 100 },
  });
}

async function newTopic(kafka, name, numPartitions = PARTITIONS) {
  const topic = `node-${name}-${Date.now()}`;
  const admin = kafka.admin();
  await admin.connect();
  const made = await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1 }], waitForLeaders: true });
  check(made, `${topic} was there already`);
  await admin.disconnect();
  return topic;
}

async function until(what, holds) {
  for (const end = Date.now() + LIMIT_MS; Date.now() < end; await sleep(50)) {
    if (holds()) return;
  }
  throw new Error(`not in time: ${what}`);
}

/** Every record of every partition, from its start to its end as of now. */
async function readAll(kafka, topic) {
  const admin = kafka.admin();
  await admin.connect();
  const ends = await admin.fetchTopicOffsets(topic);
  await admin.disconnect();
  const missing = new Set(ends.filter((end) => Number(end.high) > 0).map((end) => end.partition));
  const consumer = kafka.consumer({ groupId: `read-${topic}` });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const held = new Map(ends.map((end) => [end.partition, []]));
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      held.get(partition).push(message);
      const end = ends.find((one) => one.partition === partition);
      if (Number(message.offset) + 1 >= Number(end.high)) missing.delete(partition);
    },
  });
  await until(`reading ${topic}`, () => missing.size === 0);
  await consumer.disconnect();
  return held;
}

async function roundtrip(bootstrap) {
  const kafka = connect(bootstrap);
  const codecs = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy };
  for (const [codec, compression] of Object.entries(codecs)) {
    const topic = await newTopic(kafka, `roundtrip-${codec}`);
    const producer = kafka.producer({ allowAutoTopicCreation: false });
    await producer.connect();
    for (let base = 0; base < 600; base += 100) {
      const messages = Array.from({ length: 100 }, (_, i) => ({
        key: `key-${(base + i) % 20}`,
        value: `${base + i}/${"x".repeat(100)}`,
        headers: { n: String(base + i), same: ["1", "2"] },
      }));
      await producer.send({ topic, compression, acks: -1, messages });
    }
    await producer.disconnect();
    verifyKeyed(codec, await readAll(kafka, topic));
  }
  return "1800 records in 3 codecs";
}

function verifyKeyed(codec, held) {
  const last = new Map();
  const home = new Map();
  let count = 0;
  for (const [partition, rows] of held) {
    for (const { key, value, headers } of rows) {
      const n = Number(value.toString().split("/")[0]);
      const name = key.toString();
      check(name === `key-${n % 20}`, `${codec}: record ${n} has key ${name}`);
      check(headers.n.toString() === String(n), `${codec}: record ${n} has header ${headers.n}`);
      check(headers.same.map(String).join() === "1,2", `${codec}: a repeated header came back as ${headers.same}`);
      check((last.get(name) ?? -1) < n, `${codec}: ${n} after ${last.get(name)} for ${name}`);
      check((home.get(name) ?? partition) === partition, `${codec}: ${name} moved`);
      last.set(name, n);
      home.set(name, partition);
      count += 1;
    }
  }
  check(count === 600, `${codec}: ${count} records instead of 600`);
}

/** Sends numbered batches, one partition each, and notes the base offset of each acknowledgement. */
class Sender {
  constructor(kafka, topic) {
    this.topic = topic;
    this.sent = new Array(PARTITIONS).fill(0);
    this.acked = [];
    this.count = 0;
    this.producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: false });
  }

  async send(partition, size) {
    const first = this.sent[partition];
    this.sent[partition] += size;
    const messages = Array.from({ length: size }, (_, i) => ({ partition, value: `${partition}/${first + i}` }));
    const [answer] = await this.producer.send({ topic: this.topic, acks: -1, messages });
    this.acked.push({ partition, first, offset: Number(answer.baseOffset) });
    this.count += size;
  }

  /** The partitions hold exactly what was sent, in order, where the acknowledgements said. */
  async verify(kafka) {
    await this.producer.disconnect();
    const held = await readAll(kafka, this.topic);
    for (const [partition, rows] of held) {
      const sent = this.sent[partition];
      check(rows.length === sent, `partition ${partition} holds ${rows.length} records, sent were ${sent}`);
      rows.forEach(({ value }, n) => {
        check(value.toString() === `${partition}/${n}`, `${value} stands where ${partition}/${n} should`);
      });
    }
    for (const { partition, first, offset } of this.acked) {
      const at = held.get(partition)[first].offset;
      check(Number(at) === offset, `${partition}/${first} is at ${at}, acknowledged at ${offset}`);
    }
    return this.count;
  }
}

async function idempotent(bootstrap) {
  const kafka = connect(bootstrap);
  const sender = new Sender(kafka, await newTopic(kafka, "idempotent"));
  await sender.producer.connect();
  for (let n = 0; n < 60; n += 1) await sender.send(n % PARTITIONS, 100);
  return `${await sender.verify(kafka)} records exactly once`;
}

async function survive(bootstrap) {
  const kafka = connect(bootstrap);
  const sender = new Sender(kafka, await newTopic(kafka, "survive"));
  await sender.producer.connect();
  let ended = false;
  process.stdin.on("end", () => { ended = true; }).resume();
  const tell = setInterval(() => console.log(`ACKED ${sender.count}`), 300);
  for (let n = 0; !ended; n += 1) {
    await sender.send(n % PARTITIONS, 10);
    await sleep(5);
  }
  clearInterval(tell);
  return `${await sender.verify(kafka)} acknowledged records are there once and in order`;
}

async function join(kafka, groupId, topic) {
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: 10000,
    heartbeatInterval: 500,
    rebalanceTimeout: 10000,
    partitionAssigners: [PartitionAssigners.roundRobin],
  });
  const member = { consumer, owned: 0, seen: new Set(), error: null };
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    member.owned = (payload.memberAssignment[topic] ?? []).length;
  });
  consumer.on(consumer.events.REBALANCING, () => { member.owned = 0; });
  consumer.on(consumer.events.CRASH, ({ payload }) => { member.error = payload.error; });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    autoCommitInterval: 100,
    eachMessage: async ({ message }) => { member.seen.add(message.value.toString()); },
  });
  return member;
}

async function group(bootstrap) {
  const kafka = connect(bootstrap);
  const topic = await newTopic(kafka, "group", 6);
  const producer = kafka.producer({ allowAutoTopicCreation: false });
  await producer.connect();
  const members = [];
  let sent = 0;
  const produce = async (count) => {
    const messages = Array.from({ length: count }, (_, i) => ({ key: String(sent + i), value: String(sent + i) }));
    await producer.send({ topic, acks: -1, messages });
    sent += count;
  };
  const enter = async () => members.push(await join(kafka, topic, topic));
  const allSeen = () => new Set(members.flatMap((m) => [...m.seen])).size === sent;
  const wait = (what, holds) => until(what, () => {
    const broken = members.find((m) => m.error);
    check(!broken, `a member failed while ${what}: ${broken?.error}`);
    return holds();
  });
  await produce(600);
  await enter();
  await enter();
  await wait("two members share", () => members.every((m) => m.owned === 3));
  await enter();
  await wait("three members share", () => members.every((m) => m.owned === 2));
  await produce(600);
  await wait("three members see all", allSeen);
  await members[0].consumer.disconnect();
  await wait("two are left with all", () => members[1].owned + members[2].owned === 6);
  await produce(300);
  await wait("two members see all", allSeen);
  await members[1].consumer.disconnect();
  await members[2].consumer.disconnect();
  await produce(60);
  await enter();
  const next = members[3];
  await wait("the next member sees what is new", () => next.seen.has("1500") && next.seen.has("1559") && next.seen.size >= 60);
  await next.consumer.disconnect();
  await producer.disconnect();
  check(next.seen.size === 60, `a resumed group saw ${next.seen.size} records instead of 60: offsets were lost`);
  return "members came and went";
}

const scenarios = { roundtrip, idempotent, group, survive };
const [bootstrap, scenario] = process.argv.slice(2);
if (!bootstrap || !scenarios[scenario]) {
  console.log(`FAIL usage: client.js <bootstrap> ${Object.keys(scenarios).join("|")}`);
  process.exit(2);
}
scenarios[scenario](bootstrap).then(
  (done) => { console.log(`OK ${done}`); process.exit(0); },
  (error) => { console.log(`FAIL ${error.name}: ${error.message}`); process.exit(1); },
);
