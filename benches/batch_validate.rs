//! What does it cost to check a client's batch? CRC, header, every record's frame; beside it the floor below which no
//! broker can go: the CRC alone, and one copy of the bytes.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod kit;

use kataract::base::chunk::Chunk;
use kataract::batch::validate::{ClientRules, check_client_batch, crc_ok};

fn main() {
    let rules = ClientRules {
        max_batch_bytes: 8 << 20,
        compacted: false,
        timestamp_type_log_append: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        now_ms: kit::now(0).wall_ms,
        zstd_allowed: true,
    };
    for (name, records, bytes) in
        [("1 x 100 B", 1, 100), ("150 x 100 B", 150, 100), ("15 x 1 KiB", 15, 1024), ("1000 x 1 KiB", 1000, 1024)]
    {
        let batch = kit::batch(records, bytes);
        kit::ask(&format!("validate, {name}"), batch.len(), || check_client_batch(&batch, &rules).is_ok());
        kit::ask(&format!("CRC alone, {name}"), batch.len(), || crc_ok(&batch));
        let mut chunk = Chunk::with_capacity(batch.len());
        kit::ask(&format!("one copy, {name}"), batch.len(), || {
            chunk.truncate(0);
            chunk.fill(&batch)
        });
    }
}
