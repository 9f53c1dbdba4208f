//! The layouts of cold requests, all versions in one row a field (Kafka 4.3.1's message definitions).
//!
//! Only what the guard needs: how long a field is, in which versions it is there, from which version on it may be null.
//! Whether lengths are compact follows from [`super::versions`]. No served cold request defines tagged fields of its
//! own.

use super::super::versions::key;

/// How a field is laid out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// So many bytes: numbers, booleans, ids.
    Fixed(usize),
    String,
    Bytes,
    /// An array of strings.
    Strings,
    /// An array of 4-byte numbers.
    Ints,
    /// An array of structures.
    Array(&'static [Field]),
    /// A structure behind a presence byte.
    Structure(&'static [Field]),
}

/// A field and the versions it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) kind: Kind,
    from: i16,
    until: i16,
    nullable_from: i16,
}

impl Field {
    const fn new(kind: Kind) -> Field {
        Field { kind, from: 0, until: i16::MAX, nullable_from: i16::MAX }
    }

    /// In this version and later ones only.
    const fn from(self, version: i16) -> Field {
        Field { from: version, ..self }
    }

    /// In this version and earlier ones only.
    const fn until(self, version: i16) -> Field {
        Field { until: version, ..self }
    }

    /// May be null in this version and later ones.
    const fn nullable_from(self, version: i16) -> Field {
        Field { nullable_from: version, ..self }
    }

    /// May be null wherever it is.
    const fn nullable(self) -> Field {
        self.nullable_from(0)
    }

    pub(super) fn is_in(&self, version: i16) -> bool {
        self.from <= version && version <= self.until
    }

    pub(super) fn is_nullable_in(&self, version: i16) -> bool {
        self.nullable_from <= version
    }
}

const INT8: Field = Field::new(Kind::Fixed(1));
const INT16: Field = Field::new(Kind::Fixed(2));
const INT32: Field = Field::new(Kind::Fixed(4));
const INT64: Field = Field::new(Kind::Fixed(8));
const BOOL: Field = Field::new(Kind::Fixed(1));
const UUID: Field = Field::new(Kind::Fixed(16));
const STRING: Field = Field::new(Kind::String);
const BYTES: Field = Field::new(Kind::Bytes);
const STRINGS: Field = Field::new(Kind::Strings);
const INTS: Field = Field::new(Kind::Ints);

const fn array(fields: &'static [Field]) -> Field {
    Field::new(Kind::Array(fields))
}

/// The request layout of a cold API, `None` for any other.
pub(super) fn of(api_key: i16) -> Option<&'static [Field]> {
    let fields = match api_key {
        key::LIST_OFFSETS => LIST_OFFSETS,
        key::METADATA => METADATA,
        key::OFFSET_COMMIT => OFFSET_COMMIT,
        key::OFFSET_FETCH => OFFSET_FETCH,
        key::FIND_COORDINATOR => FIND_COORDINATOR,
        key::JOIN_GROUP => JOIN_GROUP,
        key::HEARTBEAT => HEARTBEAT,
        key::LEAVE_GROUP => LEAVE_GROUP,
        key::SYNC_GROUP => SYNC_GROUP,
        key::DESCRIBE_GROUPS => DESCRIBE_GROUPS,
        key::LIST_GROUPS => LIST_GROUPS,
        key::API_VERSIONS => API_VERSIONS,
        key::CREATE_TOPICS => CREATE_TOPICS,
        key::DELETE_TOPICS => DELETE_TOPICS,
        key::DELETE_RECORDS => DELETE_RECORDS,
        key::INIT_PRODUCER_ID => INIT_PRODUCER_ID,
        key::OFFSET_FOR_LEADER_EPOCH => OFFSET_FOR_LEADER_EPOCH,
        key::DESCRIBE_CONFIGS => DESCRIBE_CONFIGS,
        key::ALTER_CONFIGS => ALTER_CONFIGS,
        key::CREATE_PARTITIONS => CREATE_PARTITIONS,
        key::DELETE_GROUPS => DELETE_GROUPS,
        key::INCREMENTAL_ALTER_CONFIGS => INCREMENTAL_ALTER_CONFIGS,
        key::OFFSET_DELETE => OFFSET_DELETE,
        key::DESCRIBE_CLUSTER => DESCRIBE_CLUSTER,
        key::DESCRIBE_TOPIC_PARTITIONS => DESCRIBE_TOPIC_PARTITIONS,
        _ => return None,
    };
    Some(fields)
}

/// replica id, isolation level, topics (name, partitions (index, leader epoch, timestamp)), timeout.
const LIST_OFFSETS: &[Field] =
    &[INT32, INT8.from(2), array(&[STRING, array(&[INT32, INT32.from(4), INT64])]), INT32.from(10)];

/// topics (id, name), allow auto creation, include cluster operations, include topic operations.
const METADATA: &[Field] = &[
    array(&[UUID.from(10), STRING.nullable_from(10)]).nullable_from(1),
    BOOL.from(4),
    BOOL.from(8).until(10),
    BOOL.from(8),
];

/// group, generation or member epoch, member, instance, retention, topics (name or id, partitions (index, offset,
/// leader epoch, metadata)).
const OFFSET_COMMIT: &[Field] = &[
    STRING,
    INT32,
    STRING,
    STRING.from(7).nullable(),
    INT64.until(4),
    array(&[STRING.until(9), UUID.from(10), array(&[INT32, INT64, INT32.from(6), STRING.nullable()])]),
];

/// group and topics (name, partitions) up to 7; groups (group, member, member epoch, topics (name or id, partitions))
/// from 8; require stable.
const OFFSET_FETCH: &[Field] = &[
    STRING.until(7),
    array(&[STRING, INTS]).until(7).nullable_from(2),
    array(&[
        STRING,
        STRING.from(9).nullable(),
        INT32.from(9),
        array(&[STRING.until(9), UUID.from(10), INTS]).nullable(),
    ])
    .from(8),
    BOOL.from(7),
];

/// key, key type, keys.
const FIND_COORDINATOR: &[Field] = &[STRING.until(3), INT8.from(1), STRINGS.from(4)];

/// group, session timeout, rebalance timeout, member, instance, protocol type, protocols (name, metadata), reason.
const JOIN_GROUP: &[Field] = &[
    STRING,
    INT32,
    INT32.from(1),
    STRING,
    STRING.from(5).nullable(),
    STRING,
    array(&[STRING, BYTES]),
    STRING.from(8).nullable(),
];

/// group, generation, member, instance.
const HEARTBEAT: &[Field] = &[STRING, INT32, STRING, STRING.from(3).nullable()];

/// group, member, members (member, instance, reason).
const LEAVE_GROUP: &[Field] =
    &[STRING, STRING.until(2), array(&[STRING, STRING.nullable(), STRING.from(5).nullable()]).from(3)];

/// group, generation, member, instance, protocol type, protocol name, assignments (member, assignment).
const SYNC_GROUP: &[Field] = &[
    STRING,
    INT32,
    STRING,
    STRING.from(3).nullable(),
    STRING.from(5).nullable(),
    STRING.from(5).nullable(),
    array(&[STRING, BYTES]),
];

/// groups, include authorized operations.
const DESCRIBE_GROUPS: &[Field] = &[STRINGS, BOOL.from(3)];

/// states filter, types filter.
const LIST_GROUPS: &[Field] = &[STRINGS.from(4), STRINGS.from(5)];

/// client software name, client software version.
const API_VERSIONS: &[Field] = &[STRING.from(3), STRING.from(3)];

/// topics (name, partition count, replication factor, assignments (index, brokers), configs (name, value)), timeout,
/// validate only.
const CREATE_TOPICS: &[Field] =
    &[array(&[STRING, INT32, INT16, array(&[INT32, INTS]), array(&[STRING, STRING.nullable()])]), INT32, BOOL];

/// topics (name, id) from 6, topic names up to 5, timeout.
const DELETE_TOPICS: &[Field] = &[array(&[STRING.nullable(), UUID]).from(6), STRINGS.until(5), INT32];

/// topics (name, partitions (index, offset)), timeout.
const DELETE_RECORDS: &[Field] = &[array(&[STRING, array(&[INT32, INT64])]), INT32];

/// transactional id, transaction timeout, producer id, producer epoch.
const INIT_PRODUCER_ID: &[Field] = &[STRING.nullable(), INT32, INT64.from(3), INT16.from(3)];

/// replica id, topics (name, partitions (index, current leader epoch, leader epoch)).
const OFFSET_FOR_LEADER_EPOCH: &[Field] = &[INT32.from(3), array(&[STRING, array(&[INT32, INT32, INT32])])];

/// resources (type, name, keys), include synonyms, include documentation.
const DESCRIBE_CONFIGS: &[Field] = &[array(&[INT8, STRING, STRINGS.nullable()]), BOOL, BOOL.from(3)];

/// resources (type, name, configs (name, value)), validate only.
const ALTER_CONFIGS: &[Field] = &[array(&[INT8, STRING, array(&[STRING, STRING.nullable()])]), BOOL];

/// topics (name, count, assignments (brokers)), timeout, validate only.
const CREATE_PARTITIONS: &[Field] = &[array(&[STRING, INT32, array(&[INTS]).nullable()]), INT32, BOOL];

/// groups.
const DELETE_GROUPS: &[Field] = &[STRINGS];

/// resources (type, name, configs (name, operation, value)), validate only.
const INCREMENTAL_ALTER_CONFIGS: &[Field] = &[array(&[INT8, STRING, array(&[STRING, INT8, STRING.nullable()])]), BOOL];

/// group, topics (name, partitions (index)).
const OFFSET_DELETE: &[Field] = &[STRING, array(&[STRING, array(&[INT32])])];

/// include authorized operations, endpoint type, include fenced brokers.
const DESCRIBE_CLUSTER: &[Field] = &[BOOL, INT8.from(1), BOOL.from(2)];

/// topics (name), response partition limit, cursor (topic, partition).
const DESCRIBE_TOPIC_PARTITIONS: &[Field] =
    &[array(&[STRING]), INT32, Field::new(Kind::Structure(&[STRING, INT32])).nullable()];
