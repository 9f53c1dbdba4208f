//! Hostile bytes: wrong counts at every array, and random changes anywhere.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::versions;
use super::samples::{self, Sample};
use super::schema::{Field, Kind};
use super::*;
use crate::base::prng::Prng;

/// Where the array counts of a request are, as ranges of its body.
struct Counts<'a> {
    body: &'a Bytes,
    reader: Reader<'a>,
    version: i16,
    found: Vec<std::ops::Range<usize>>,
}

impl Counts<'_> {
    fn of(sample: &Sample) -> Vec<std::ops::Range<usize>> {
        let api = versions::served(sample.key, sample.version).expect("served");
        let reader = Reader::new(&sample.body, api.is_flexible(sample.version));
        let mut counts = Counts { body: &sample.body, reader, version: sample.version, found: Vec::new() };
        counts.structure(schema::of(sample.key).expect("cold"));
        assert_eq!(counts.reader.remaining(), 0, "walked to the end");
        counts.found
    }

    fn at(&self) -> usize {
        self.body.len() - self.reader.remaining()
    }

    fn structure(&mut self, fields: &[Field]) {
        let version = self.version;
        for field in fields.iter().filter(|field| field.is_in(version)) {
            let start = self.at();
            match field.kind {
                Kind::Fixed(bytes) => drop(self.reader.take(bytes).expect("fixed")),
                Kind::String => drop(self.reader.nullable_str().expect("string")),
                Kind::Bytes => drop(self.reader.skip_nullable_bytes().expect("bytes")),
                Kind::Structure(fields) => {
                    if self.reader.i8().expect("presence") == 1 {
                        self.structure(fields);
                    }
                }
                Kind::Strings | Kind::Ints | Kind::Array(_) => {
                    let count = self.reader.nullable_count(1).expect("count").unwrap_or(0);
                    self.found.push(start..self.at());
                    (0..count).for_each(|_| match field.kind {
                        Kind::Ints => drop(self.reader.i32().expect("int")),
                        Kind::Strings => drop(self.reader.nullable_str().expect("string")),
                        Kind::Array(fields) => self.structure(fields),
                        _ => unreachable!("not an array"),
                    });
                }
            }
        }
        self.reader.skip_tags().expect("tags");
    }
}

#[test]
fn hostile_counts_at_every_array_of_every_request_are_refused() {
    let fixed: [&[u8]; 5] =
        [b"\x7f\xff\xff\xff", b"\xff\xff\xff\xfe", b"\x80\x00\x00\x00", b"\x00\x03\x0d\x41", b"\x00\x00\x10\x00"];
    let compact: [&[u8]; 5] = [
        b"\xff\xff\xff\xff\x0f",
        b"\xff\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\x07",
        b"\x80\x80\x80\x80\x10",
        b"\xff\x7f",
    ];
    let mut arrays = 0;
    for sample in samples::all(2) {
        let api = versions::served(sample.key, sample.version).expect("served");
        for range in Counts::of(&sample) {
            arrays += 1;
            for hostile in if api.is_flexible(sample.version) { compact } else { fixed } {
                let mut body = BytesMut::from(&sample.body[..range.start]);
                body.put_slice(hostile);
                body.put_slice(&sample.body[range.end..]);
                let refused = samples::decode(sample.key, sample.version, body.freeze());
                assert!(refused.is_err(), "{hostile:?} at {range:?} of {sample:?}");
            }
        }
    }
    assert!(arrays > 250, "{arrays} arrays tried");
}

#[test]
fn randomly_changed_requests_are_refused_or_decoded_but_never_panic() {
    let mut prng = Prng::new(0x6b61_7461_7261_6374);
    let mut accepted = 0u32;
    for sample in samples::all(2) {
        for _ in 0..400 {
            let mut body = sample.body.to_vec();
            for _ in 0..=prng.below(4) {
                mutate(&mut body, &mut prng);
            }
            accepted += u32::from(samples::decode(sample.key, sample.version, Bytes::from(body)).is_ok());
        }
    }
    assert!(accepted > 100, "{accepted} mutants still decode: the mutations are not all fatal");
}

/// Changes, removes, inserts or repeats a few bytes.
fn mutate(body: &mut Vec<u8>, prng: &mut Prng) {
    const NASTY: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, 0x10];
    if body.is_empty() {
        body.push(0);
    }
    let at = prng.below(body.len() as u64) as usize;
    match prng.below(6) {
        0 => body[at] = prng.next_u64() as u8,
        1 => body[at] = NASTY[prng.below(8) as usize],
        2 => body.truncate(at),
        3 => drop(body.remove(at)),
        4 => body.insert(at, NASTY[prng.below(8) as usize]),
        _ => {
            let end = (at + 1 + prng.below(8) as usize).min(body.len());
            let piece = body[at..end].to_vec();
            body.splice(at..at, piece);
        }
    }
}
