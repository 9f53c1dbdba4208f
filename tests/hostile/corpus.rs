//! Well-formed requests of every served API and version, to be mutated: those of the guard's tests, those that real
//! clients sent (`golden/wire`), and Produce and Fetch with real batches under every codec.

use std::collections::BTreeSet;
use std::fs;

use bytes::Bytes;
use kataract::batch::Codec;
use kataract::wire::versions::{self, key};

use crate::requests::{self, FetchShape, Topic, batch, fetch_body, framed, produce_body};
use crate::samples;

/// One well-formed request.
#[derive(Clone, Debug)]
pub struct Seed {
    pub key: i16,
    pub version: i16,
    /// The whole frame, its length included.
    pub frame: Vec<u8>,
    /// Where the record batch of a Produce lies in the frame.
    pub batch: Option<(usize, usize)>,
}

/// Every seed. `topic` exists in the node.
pub fn seeds(topic: &Topic) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for size in [1, 2, 5] {
        for sample in samples::all(size) {
            let frame = requests::frame(sample.key, sample.version, &sample.body);
            seeds.push(Seed { key: sample.key, version: sample.version, frame, batch: None });
        }
    }
    seeds.extend(golden());
    for (api_key, version) in hot_versions(key::PRODUCE).chain(hot_versions(key::FETCH)) {
        seeds.extend(hot(topic, api_key, version));
    }
    let present: BTreeSet<(i16, i16)> = seeds.iter().map(|seed| (seed.key, seed.version)).collect();
    for api in versions::APIS {
        for version in api.min..=api.max {
            assert!(present.contains(&(api.key, version)), "no seed for {} {version}", api.name);
        }
    }
    seeds
}

fn hot_versions(api_key: i16) -> impl Iterator<Item = (i16, i16)> {
    let api = versions::find(api_key).expect("served");
    (api.min..=api.max).map(move |version| (api_key, version))
}

/// Produce under every codec, Fetch from several places.
fn hot(topic: &Topic, api_key: i16, version: i16) -> Vec<Seed> {
    let mut seeds = Vec::new();
    if api_key == key::FETCH {
        for (offset, max_bytes) in [(0, 1 << 20), (0, 1), (1_000_000, 1 << 20), (-1, 0)] {
            let shape = FetchShape { offset, max_wait_ms: 5, min_bytes: 1, max_bytes };
            let frame = requests::frame(api_key, version, &fetch_body(version, topic, 0, shape));
            seeds.push(Seed { key: api_key, version, frame, batch: None });
        }
        return seeds;
    }
    for (codec, count, acks) in Codec::ALL.into_iter().flat_map(|codec| [(codec, 1, -1), (codec, 20, 1), (codec, 3, 0)])
    {
        let batch = batch(codec, count);
        let frame = requests::frame(api_key, version, &produce_body(version, topic, 0, acks, &batch));
        let place = find(&frame, &batch);
        seeds.push(Seed { key: api_key, version, frame, batch: Some(place) });
    }
    seeds
}

fn find(frame: &[u8], batch: &Bytes) -> (usize, usize) {
    let start = frame.windows(batch.len()).position(|window| window == &batch[..]).expect("the batch in its frame");
    (start, start + batch.len())
}

/// The requests of the recorded pairs.
fn golden() -> Vec<Seed> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/wire");
    let mut seeds = Vec::new();
    for file in fs::read_dir(folder).expect("recorded frames") {
        let bytes = fs::read(file.expect("a file").path()).expect("recorded frames");
        let mut rest = &bytes[..];
        let mut is_request = true;
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (payload, next) = after.split_at(u32::from_be_bytes(*length) as usize);
            if is_request {
                let number = |at: usize| i16::from_be_bytes([payload[at], payload[at + 1]]);
                seeds.push(Seed { key: number(0), version: number(2), frame: framed(payload), batch: None });
            }
            (rest, is_request) = (next, !is_request);
        }
    }
    seeds
}
