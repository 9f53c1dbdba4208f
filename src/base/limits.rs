//! Every upper bound that is not a Kafka setting, in one place, with compile-time checks of how they relate.

/// Block of direct I/O, bytes. Every direct write starts, ends and lies in memory at a multiple of it.
pub const BLOCK: usize = 4096;
/// Largest request frame when `socket.request.max.bytes` does not say less, bytes (Kafka's default).
pub const FRAME_BYTES_MAX: usize = 104_857_600;
/// Longest topic name, bytes (Kafka).
pub const TOPIC_NAME_LEN_MAX: usize = 249;
/// Partitions one topic may have, and one request may create in all.
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;
/// Array elements that all arrays of one cold request may hold together: a tool that asks for every partition of a
/// large cluster at once stays below it.
pub const COLD_REQUEST_ELEMENTS_MAX: usize = 100_000;
/// Inputs of one kind that one turn takes in before it goes on.
pub const INPUTS_PER_TURN_MAX: usize = 1024;
/// Engines (cores) in one process.
pub const CORES_MAX: usize = 128;

const _: () = assert!(BLOCK.is_power_of_two());
const _: () = assert!(TOPIC_NAME_LEN_MAX < 255, "a partition folder must fit a file name");
