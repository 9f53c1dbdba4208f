//! The bytes of records: values of a chosen compressibility, keys of a chosen distribution. Seeded, so that two runs
//! send the same.

use serde::{Deserialize, Serialize};

use crate::base::prng::Prng;

/// Values are slices of one block of this size: larger than any batch, so that a codec does not find them again.
const POOL_BYTES: usize = 8 << 20;
/// Random and constant bytes alternate within this many: every record is as compressible as the next.
const UNIT: usize = 64;
/// Digits of a key.
const KEY_DIGITS: usize = 16;

/// Which keys the records get.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    None,
    /// Each of so many keys with the same chance.
    Uniform(u64),
    /// So many keys, the k-th with a chance like 1 / k^exponent.
    Zipf {
        count: u64,
        exponent: f64,
    },
    /// So many keys in turn.
    Fixed(u64),
}

impl Keys {
    /// `none`, `uniform:1000`, `zipf:1000` or `zipf:1000:1.2`, `fixed:10`.
    pub fn parse(text: &str) -> Result<Keys, String> {
        let hint = || format!("'{text}' is none of none, uniform:COUNT, zipf:COUNT[:EXPONENT], fixed:COUNT");
        let mut parts = text.split(':');
        let kind = parts.next().unwrap_or_default();
        if kind == "none" {
            return if parts.next().is_none() { Ok(Keys::None) } else { Err(hint()) };
        }
        let count: u64 = parts.next().and_then(|count| count.parse().ok()).ok_or_else(hint)?;
        let exponent = parts.next().map(|text| text.parse::<f64>().map_err(|_| hint())).transpose()?;
        if count == 0 || parts.next().is_some() || (exponent.is_some() && kind != "zipf") {
            return Err(hint());
        }
        match kind {
            "uniform" => Ok(Keys::Uniform(count)),
            "fixed" => Ok(Keys::Fixed(count)),
            // The table of a zipf distribution is kept in memory.
            "zipf" if count <= 10_000_000 && exponent.is_none_or(|e| e.is_finite() && e >= 0.0) => {
                Ok(Keys::Zipf { count, exponent: exponent.unwrap_or(1.0) })
            }
            _ => Err(hint()),
        }
    }

    /// Bytes of one key.
    pub fn bytes(&self) -> usize {
        if *self == Keys::None { 0 } else { KEY_DIGITS }
    }
}

/// Makes the records of one producer.
#[derive(Debug)]
pub struct Payload {
    pool: std::sync::Arc<Vec<u8>>,
    record_bytes: usize,
    keys: Keys,
    /// Zipf: the chance of this key or one before it.
    cumulative: Vec<f64>,
    prng: Prng,
    sent: u64,
    key: [u8; KEY_DIGITS],
}

impl Payload {
    pub fn new(record_bytes: usize, compressibility: f64, keys: Keys, seed: u64) -> Payload {
        let mut prng = Prng::new(seed);
        let random = (UNIT as f64 * (1.0 - compressibility.clamp(0.0, 1.0))).round() as usize;
        let mut pool = vec![b'k'; POOL_BYTES.max(record_bytes * 2).next_multiple_of(UNIT)];
        for unit in pool.chunks_exact_mut(UNIT) {
            for word in unit[..random].chunks_mut(8) {
                word.copy_from_slice(&prng.next_u64().to_be_bytes()[..word.len()]);
            }
        }
        let mut cumulative = Vec::new();
        if let Keys::Zipf { count, exponent } = keys {
            let mut sum = 0.0;
            cumulative.extend((1..=count).map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            }));
            cumulative.iter_mut().for_each(|chance| *chance /= sum);
        }
        let pool = std::sync::Arc::new(pool);
        Payload { pool, record_bytes, keys, cumulative, prng, sent: 0, key: [b'0'; KEY_DIGITS] }
    }

    /// Key and value of the next record.
    pub fn record(&mut self) -> (Option<&[u8]>, &[u8]) {
        self.sent += 1;
        let starts = (self.pool.len() - self.record_bytes) as u64;
        let at = self.prng.below(starts) as usize;
        let number = match self.keys {
            Keys::None => None,
            Keys::Uniform(count) => Some(self.prng.below(count)),
            Keys::Fixed(count) => Some((self.sent - 1) % count),
            Keys::Zipf { .. } => {
                let chance = self.prng.next_u64() as f64 / u64::MAX as f64;
                Some(self.cumulative.partition_point(|&upto| upto < chance) as u64)
            }
        };
        let key = number.map(|mut number| {
            for digit in self.key.iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
            &self.key[..]
        });
        (key, &self.pool[at..at + self.record_bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::compress::{Codec, compress};

    #[test]
    fn values_compress_as_asked() {
        for asked in [0.0, 0.5, 0.9] {
            let mut payload = Payload::new(1000, asked, Keys::None, 7);
            let data: Vec<u8> = (0..500).flat_map(|_| payload.record().1.to_vec()).collect();
            let left = compress(Codec::Zstd, None, &data).len() as f64 / data.len() as f64;
            assert!((left - (1.0 - asked)).abs() < 0.1, "asked for {asked}, {left} are left");
        }
    }

    #[test]
    fn keys_follow_their_distribution() {
        let counts = |keys: Keys| {
            let mut payload = Payload::new(10, 0.0, keys, 3);
            let mut counts = std::collections::BTreeMap::<Vec<u8>, u32>::new();
            for _ in 0..10_000 {
                *counts.entry(payload.record().0.unwrap().to_vec()).or_default() += 1;
            }
            counts.into_values().collect::<Vec<u32>>()
        };
        assert_eq!(counts(Keys::Fixed(4)), [2500; 4]);
        assert!(counts(Keys::Uniform(10)).iter().all(|&count| (850..1150).contains(&count)));
        let zipf = counts(Keys::Zipf { count: 100, exponent: 1.0 });
        // The first of a hundred keys gets 1 / H(100) = 19 %, the second half of that.
        assert!((1700..2200).contains(&zipf[0]) && (800..1150).contains(&zipf[1]), "{zipf:?}");
        assert!(Payload::new(10, 0.0, Keys::None, 3).record().0.is_none());
    }

    #[test]
    fn distributions_have_names() {
        assert_eq!(Keys::parse("zipf:10:1.2"), Ok(Keys::Zipf { count: 10, exponent: 1.2 }));
        assert_eq!(Keys::parse("none"), Ok(Keys::None));
        for wrong in ["", "uniform", "uniform:0", "fixed:3:4", "zipf:9:x", "none:1", "normal:5"] {
            assert!(Keys::parse(wrong).is_err(), "{wrong}");
        }
    }
}
