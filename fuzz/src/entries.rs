//! One entry a decoder of foreign bytes: it must come back, whatever the bytes are, and keep what it promises. Each has
//! a fuzz target of its name in `fuzz_targets/`; `cargo test --test hostile` runs all of them over mutated bytes.

use std::fs;

use bytes::{Bytes, BytesMut};
use kataract::base::ids::NodeId;
use kataract::base::time::{Mono, Now};
use kataract::batch::build::BatchBuilder;
use kataract::batch::validate::{ClientRules, check_client_batch};
use kataract::batch::{Codec, compress, control, header::BatchHeader, patch, records, walk};
use kataract::coord::{Coordinator, GroupSettings};
use kataract::log::{checkpoint, epochs::EpochCache, foreign, producers::ProducerStates};
use kataract::meta::record::Record;
use kataract::node::config::{ConfigSource, NodeConfig};
use kataract::node::data_dir::DataDir;
use kataract::wire::frame::{self, Cut};
use kataract::wire::versions::{self, key};
use kataract::wire::{fetch, header, produce};

use crate::samples;

/// Feeds bytes to one decoder.
pub type Entry = fn(&[u8]);

/// Every entry, by the name of its target.
pub const ALL: [(&str, Entry); 16] = [
    ("frames", frames),
    ("request_header", request_header),
    ("produce_request", produce_request),
    ("fetch_request", fetch_request),
    ("cold_request", cold_request),
    ("client_batch", client_batch),
    ("batch_records", batch_records),
    ("decompress", decompress),
    ("segment_scan", segment_scan),
    ("indexes", indexes),
    ("producer_snapshot", producer_snapshot),
    ("checkpoints", checkpoints),
    ("metadata_record", metadata_record),
    ("group_records", group_records),
    ("properties", properties),
    ("meta_properties", meta_properties),
];

const NOW: Now = Now { mono: Mono(0), wall_ms: 1_700_000_000_000 };

/// A connection's bytes, arriving in two pieces.
pub fn frames(data: &[u8]) {
    let (first, second) = data.split_at(data.len() / 2);
    let mut pending = BytesMut::new();
    let mut cut = 0;
    for piece in [first, second] {
        pending.extend_from_slice(piece);
        loop {
            match frame::cut(&mut pending, 1 << 20) {
                Ok(Cut::Frame(whole)) => cut += whole.len() + frame::LENGTH_BYTES,
                Ok(Cut::Needs(missing)) => {
                    assert!(missing > 0 && frame::next_read_bytes(&pending) > 0);
                    break;
                }
                Err(_) => return,
            }
        }
    }
    assert_eq!(cut + pending.len(), data.len(), "bytes were lost or made up");
}

pub fn request_header(data: &[u8]) {
    if let Ok((head, body)) = header::parse_request(&Bytes::copy_from_slice(data)) {
        assert!(body.len() <= data.len() && versions::find(head.api_key).is_some());
    }
}

/// A version in the first byte, a body after it.
fn versioned(data: &[u8]) -> Option<(i16, Bytes)> {
    let (version, body) = data.split_first()?;
    Some((i16::from(*version % 32) - 1, Bytes::copy_from_slice(body)))
}

pub fn produce_request(data: &[u8]) {
    let Some((version, body)) = versioned(data) else { return };
    drop(produce::decode_request(version, &body));
}

pub fn fetch_request(data: &[u8]) {
    let Some((version, body)) = versioned(data) else { return };
    drop(fetch::decode_request(version, &body));
}

/// The guard, then the generated decoder: which API, which version, and the body.
pub fn cold_request(data: &[u8]) {
    let [api, version, body @ ..] = data else { return };
    let cold: Vec<_> = versions::APIS.iter().filter(|api| api.codec == versions::Codec::Cold).collect();
    let api = cold[usize::from(*api) % cold.len()];
    let version = api.min + i16::from(*version) % (api.max - api.min + 1);
    drop(samples::decode(api.key, version, Bytes::copy_from_slice(body)));
}

/// With its length, magic and CRC made right by two of three inputs: what lies behind them is reached.
fn sealed(data: &[u8]) -> Vec<u8> {
    let mut batch = data.to_vec();
    if batch.len() >= kataract::batch::HEADER_LEN && !batch[0].is_multiple_of(3) {
        batch[0] = 0;
        let length = (batch.len() - 12) as u32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        patch::seal_crc(&mut batch);
    }
    batch
}

/// What a producer sent: every check, and what is taken in must be readable.
pub fn client_batch(data: &[u8]) {
    let batch = sealed(data);
    for strict in [false, true] {
        let rules = ClientRules {
            max_batch_bytes: 1 << 20,
            compacted: strict,
            timestamp_type_log_append: false,
            timestamp_before_max_ms: if strict { 3_600_000 } else { i64::MAX },
            timestamp_after_max_ms: if strict { 3_600_000 } else { i64::MAX },
            now_ms: NOW.wall_ms,
            zstd_allowed: true,
        };
        if let Ok(head) = check_client_batch(&batch, &rules) {
            let read = records::decode(&Bytes::copy_from_slice(&batch));
            let read = read.expect("a batch that was taken in is readable");
            assert_eq!(read.len() as i32, head.record_count, "records");
            let _ = ProducerStates::new().check(&head);
        }
    }
}

/// Batches as a reader of a log meets them, without the checks of a produce.
pub fn batch_records(data: &[u8]) {
    let (batches, _) = walk(data).fold((0, ()), |(count, ()), _| (count + 1, ()));
    assert!(batches <= data.len() / kataract::batch::HEADER_LEN);
    let _ = BatchHeader::parse(data);
    let batch = Bytes::from(sealed(data));
    drop(records::decode(&batch));
    let _ = records::first_at_or_after(&batch, NOW.wall_ms);
    let _ = records::max_timestamp_offset(&batch);
    drop(control::parse(&batch));
    let _ = control::parse_end_txn(&batch);
    let _ = ProducerStates::new().replay(&batch);
}

/// A codec in the first byte, compressed bytes after it.
pub fn decompress(data: &[u8]) {
    let Some((codec, compressed)) = data.split_first() else { return };
    let Ok(codec) = Codec::from_id((*codec % 6) as i8) else { return };
    if let Ok(bytes) = compress::decompress(codec, compressed, 1 << 20) {
        assert!(bytes.len() <= 1 << 20, "{} bytes", bytes.len());
    }
}

pub fn segment_scan(data: &[u8]) {
    for gaps_allowed in [false, true] {
        let (batches, end, next) = foreign::scan_segment(data, 0, gaps_allowed);
        assert!(next >= 0 && (batches == 0) == (end == 0), "{batches} batches end at {end}, offset {next}");
    }
}

pub fn indexes(data: &[u8]) {
    let found = foreign::offset_index(data, 1 << 30);
    assert!(found.is_none_or(|position| position < 1 << 30));
    foreign::time_index(data);
}

/// The file as it is, and with a right checksum.
pub fn producer_snapshot(data: &[u8]) {
    let mut file = data.to_vec();
    drop(ProducerStates::decode_snapshot(&file));
    if file.len() > 6 {
        let sum = crc32c(&file[6..]);
        file[2..6].copy_from_slice(&sum.to_be_bytes());
        if let Ok(states) = ProducerStates::decode_snapshot(&file) {
            let again = ProducerStates::decode_snapshot(&states.encode_snapshot()).expect("its own snapshot");
            assert_eq!(again.len(), states.len());
        }
    }
}

/// CRC-32C bit by bit: this crate has no other use for one.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(sum & 1)))
    })
}

/// The text files of a data folder.
pub fn checkpoints(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(offsets) = checkpoint::decode_offsets(&text) {
        assert_eq!(checkpoint::decode_offsets(&checkpoint::encode_offsets(&offsets)).as_ref(), Ok(&offsets));
    }
    if let Ok(epochs) = EpochCache::decode(&text) {
        let again = EpochCache::decode(&epochs.encode()).expect("its own file");
        assert_eq!(again.entries(), epochs.entries());
    }
    if let Ok(id) = checkpoint::decode_partition_metadata(&text) {
        assert_eq!(checkpoint::decode_partition_metadata(&checkpoint::encode_partition_metadata(id)), Ok(id));
    }
    drop(checkpoint::decode_clean_shutdown(&text));
    drop(checkpoint::decode_quorum_state(&text));
}

pub fn metadata_record(data: &[u8]) {
    if let Ok(record) = Record::decode(data) {
        assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(&record), "its own bytes");
    }
}

/// Records of `__consumer_offsets`: the length of a key, the key, its value; again until the end.
pub fn group_records(data: &[u8]) {
    let mut coordinator = Coordinator::new(GroupSettings::default(), 1);
    let mut rest = data;
    while let [key_len, value_len, more @ ..] = rest {
        let (key, more) = more.split_at(more.len().min(usize::from(*key_len)));
        let (value, more) = more.split_at(more.len().min(usize::from(*value_len)));
        let _ = coordinator.replay(key, (*value_len != 255).then_some(value), NOW);
        rest = more;
    }
    coordinator.loaded(NOW);
    drop(coordinator.wake(Now { mono: Mono(u64::MAX / 2), wall_ms: i64::MAX / 2 }));
}

/// `server.properties`.
pub fn properties(data: &[u8]) {
    in_folder("properties", |folder| {
        let file = folder.join("server.properties");
        fs::write(&file, data).expect("a file of our own");
        drop(NodeConfig::load(&ConfigSource { file: Some(&file), ..ConfigSource::default() }));
    });
}

/// `meta.properties` of a data folder: a start reads it, or refuses it.
pub fn meta_properties(data: &[u8]) {
    in_folder("meta", |folder| {
        fs::write(folder.join("meta.properties"), data).expect("a file of our own");
        drop(DataDir::open(folder, NodeId(1)));
    });
}

fn in_folder(name: &str, act: impl FnOnce(&std::path::Path)) {
    let thread = std::thread::current().id();
    let folder = std::env::temp_dir().join(format!("kataract-fuzz-{name}-{}-{thread:?}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder of our own");
    act(&folder);
    fs::remove_dir_all(&folder).expect("it is still there");
}

/// Well-formed input of an entry, to start from.
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    let text = |lines: &[&str]| lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    match name {
        "frames" => vec![b"\0\0\0\x02hi\0\0\0\0\0\0\0\x01x".to_vec()],
        "request_header" => vec![b"\0\x12\0\x03\0\0\0\x01\0\x01a\0\x02b\x02c\0".to_vec()],
        "produce_request" => vec![
            b"\x0a\0\xff\xff\0\0\x75\x30\x02\x02a\x02\0\0\0\0\x02x\0\0\0".to_vec(),
            b"\x04\xff\xff\xff\xff\0\0\0\x01\0\0\0\x01\0\x01a\0\0\0\x01\0\0\0\0\0\0\0\x01x".to_vec(),
        ],
        "fetch_request" => vec![[&b"\x0d"[..], &[0; 21], b"\x02\x02a\x02", &[0; 33], b"\0\x01\x01\0"].concat()],
        "cold_request" => cold_seeds(),
        "client_batch" | "batch_records" | "segment_scan" => batches(),
        "decompress" => [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]
            .map(|codec| [&[codec.id() as u8][..], &compress::compress(codec, None, &[7; 3_000])].concat())
            .to_vec(),
        "indexes" => vec![[[0, 0, 0, 5, 0, 0, 1, 0], [0, 0, 0, 9, 0, 0, 2, 0], [0, 0, 1, 5, 0, 0, 3, 0]].concat()],
        "producer_snapshot" => vec![snapshot()],
        "checkpoints" => text(&[
            "0\n2\norders 0 17\norders 1 99\n",
            "0\n2\n0 0\n3 170\n",
            "version: 0\ntopic_id: 4H7YbZ2lQJqU3zZ0V9y1Aw\n",
            "{\"version\":0,\"brokerEpoch\":7}",
        ]),
        "metadata_record" => {
            vec![b"\x01\x02\0\x02a\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\0".to_vec()]
        }
        "group_records" => vec![
            [&[14, 24][..], b"\0\x01\0\x01g\0\x01t\0\0\0\0", b"\0\x03\0\0\0\0\0\0\0\x07\0\0\0\x01\0\0", &[0; 8]]
                .concat(),
            [&[5, 30][..], b"\0\x02\0\x01g", b"\0\x03\0\x08consumer\0\0\0\x01\xff\xff\xff\xff", &[0; 12]].concat(),
        ],
        "properties" => text(&["node.id=1\nlisteners=PLAINTEXT://127.0.0.1:0\nlog.dirs=/nowhere\nnum.partitions=3\n"]),
        "meta_properties" => text(&["version=1\nnode.id=1\ncluster.id=4H7YbZ2lQJqU3zZ0V9y1Aw\n"]),
        other => panic!("no entry is named {other}"),
    }
}

fn cold_seeds() -> Vec<Vec<u8>> {
    let cold: Vec<_> = versions::APIS.iter().filter(|api| api.codec == versions::Codec::Cold).collect();
    let place = |key: i16| cold.iter().position(|api| api.key == key).expect("a served API");
    let seed = |sample: samples::Sample| {
        let at = place(sample.key);
        [&[at as u8, (sample.version - cold[at].min) as u8][..], &sample.body].concat()
    };
    assert!(cold.iter().all(|api| api.key != key::PRODUCE));
    samples::all(2).into_iter().map(seed).collect()
}

fn batches() -> Vec<Vec<u8>> {
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    let batch = |codec: Codec| {
        let mut builder = BatchBuilder::new(0).codec(codec, None);
        for index in 0..5 {
            builder.push(NOW.wall_ms + index, Some(b"key"), Some(&[index as u8; 60]));
        }
        let mut bytes = builder.finish().to_vec();
        // Sealed again after it was changed, see `sealed`.
        bytes[0] = 1;
        bytes
    };
    let mut all: Vec<Vec<u8>> = codecs.into_iter().map(batch).collect();
    let mut plain = all[0].clone();
    plain[0] = 0;
    let marker = control::end_txn_marker(7, 1, control::EndTxn { commit: true, coordinator_epoch: 3 }, NOW.wall_ms);
    all.push(marker.to_vec());
    all.push(plain);
    all
}

fn snapshot() -> Vec<u8> {
    let mut states = ProducerStates::new();
    for producer in 0..5 {
        let mut header = BatchHeader::parse(&batches()[0]).expect("a batch");
        (header.producer_id, header.producer_epoch, header.base_sequence) = (producer, 2, 10);
        states.record(&header, 100, 104);
    }
    states.encode_snapshot().to_vec()
}
