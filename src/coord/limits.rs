//! The bounds of this floor for which Kafka has no setting, with the reason for each number.

/// Longest group id, bytes. Kafka stops at 32767; every tombstone repeats the id, so a long one makes batches of
/// thousands of records unbounded.
pub const GROUP_ID_BYTES_MAX: usize = 4096;
/// Longest member id, instance id, protocol type and protocol name, bytes.
pub const NAME_BYTES_MAX: usize = 1024;
/// Client ids and hosts are cut to this for storing, bytes; they only inform people.
pub const CLIENT_TEXT_BYTES_MAX: usize = 255;
/// Longest topic name, bytes (Kafka).
pub const TOPIC_BYTES_MAX: usize = crate::base::limits::TOPIC_NAME_LEN_MAX;
/// Members (pending ones included) of one group, whatever `group.max.size` says (its default is 2^31 - 1).
pub const MEMBERS_PER_GROUP_MAX: usize = 20_000;
/// Protocols one member may offer. Clients offer one to four.
pub const PROTOCOLS_PER_MEMBER_MAX: usize = 64;
/// Member metadata and assignments one group may hold in memory, in batches of `batch_bytes_max`: the metadata of the
/// chosen protocol must fit into one record, and members offer a few protocols with about the same metadata.
pub const GROUP_BATCHES_MAX: usize = 16;
/// Groups of one coordinator.
pub const GROUPS_MAX: usize = 200_000;
/// Committed offsets of one coordinator.
pub const OFFSETS_MAX: usize = 4_000_000;
/// Topic names remembered from the subscriptions of one group.
pub const SUBSCRIBED_TOPICS_MAX: usize = 100_000;
/// Records that background work (expiry, deletion) puts into one outcome; the rest follows at the next wake.
pub const RECORDS_PER_STEP_MAX: usize = 1_000;
/// Groups that background work looks at, and whose timers run, in one wake.
pub const GROUPS_PER_STEP_MAX: usize = 1_000;
/// Shortest time that members get for their sync, and shortest pause between two tries to finish a rebalance in which
/// nobody has rejoined yet, milliseconds. A client may send a rebalance timeout of 0, which must not make the machine
/// spin or throw out members that had no time to answer.
pub const ROUND_MS_MIN: u64 = 1_000;
/// Most that a tombstone or the record of an Empty group can take, bytes: two texts of 32767 (stored by another broker)
/// and the fixed fields.
pub const STEP_RECORD_BYTES_MAX: usize = 2 * 32_767 + 256;
/// Least that `batch_bytes_max` is taken to be, bytes, so that a step of background work always gets on.
pub const BATCH_BYTES_MIN: usize = 131_072;

const _: () = assert!(STEP_RECORD_BYTES_MAX < BATCH_BYTES_MIN);
const _: () = assert!(NAME_BYTES_MAX <= i16::MAX as usize);
const _: () = assert!(GROUP_ID_BYTES_MAX <= i16::MAX as usize);
