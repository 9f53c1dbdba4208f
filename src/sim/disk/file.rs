//! The bytes of one made-up file, and what of them a power cut may take back.
//!
//! ```text
//!   pages    what a read sees now
//!   older    for each 512-byte sector that is not on stable storage: what it held before, the durable content first
//! ```
//! A sync forgets `older`, as far as it was written before the sync was asked for. A cut picks, for every sector in it,
//! one of the contents it ever had since the last sync (or a mix of two: a torn sector), so bytes that were written
//! again unchanged survive whatever is picked.

use std::collections::BTreeMap;

use crate::base::prng::Prng;

/// Unit of atomicity that a device promises, more or less.
pub const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// How a cut treats what is not on stable storage. Drawn anew for each file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Survives,
    Vanishes,
    /// Each sector on its own.
    Mixed,
}

/// One file. Pages that are not there are zeros.
#[derive(Clone, Debug, Default)]
pub struct SimFile {
    pages: BTreeMap<u64, Box<[u8]>>,
    len: u64,
    durable_len: u64,
    older: BTreeMap<u64, Vec<Older>>,
    /// Writes so far that were not durable.
    writes: u64,
    /// What was in `older` when a sync failed: no later sync makes those sectors durable (as Linux drops dirty pages),
    /// only a later write of them does.
    stuck: BTreeMap<u64, Vec<Vec<u8>>>,
}

/// What a sector held before a write that is not on stable storage.
#[derive(Clone, Debug)]
struct Older {
    /// Number of the write.
    write: u64,
    content: Vec<u8>,
}

/// What a file was when a sync was asked for: no more than that is what the sync promises.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyncMark {
    writes: u64,
    len: u64,
}

impl SimFile {
    #[expect(clippy::len_without_is_empty, reason = "a length in the sense of stat(2), not of a container")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that count against the size of the disk.
    pub fn used(&self) -> u64 {
        self.len.next_multiple_of(PAGE as u64)
    }

    /// Copies what lies at `position` into `target`; shorter at the end of the file.
    pub fn read(&self, position: u64, len: usize) -> Vec<u8> {
        let end = position.saturating_add(len as u64).min(self.len);
        let mut bytes = vec![0; end.saturating_sub(position) as usize];
        self.copy_out(position, &mut bytes);
        bytes
    }

    fn copy_out(&self, position: u64, target: &mut [u8]) {
        let mut done = 0;
        while done < target.len() {
            let at = position + done as u64;
            let inside = (at % PAGE as u64) as usize;
            let count = (PAGE - inside).min(target.len() - done);
            match self.pages.get(&(at / PAGE as u64)) {
                Some(page) => target[done..done + count].copy_from_slice(&page[inside..inside + count]),
                None => target[done..done + count].fill(0),
            }
            done += count;
        }
    }

    fn copy_in(&mut self, position: u64, source: &[u8]) {
        let mut done = 0;
        while done < source.len() {
            let at = position + done as u64;
            let inside = (at % PAGE as u64) as usize;
            let count = (PAGE - inside).min(source.len() - done);
            let page = self.pages.entry(at / PAGE as u64).or_insert_with(|| vec![0; PAGE].into_boxed_slice());
            page[inside..inside + count].copy_from_slice(&source[done..done + count]);
            done += count;
        }
    }

    fn sector(&self, sector: u64) -> Vec<u8> {
        let mut bytes = vec![0; SECTOR];
        self.copy_out(sector * SECTOR as u64, &mut bytes);
        bytes
    }

    /// Writes; `durable`: as with RWF_DSYNC, these bytes (and no others) are on stable storage at once.
    pub fn write(&mut self, position: u64, data: &[u8], durable: bool) {
        if data.is_empty() {
            return;
        }
        let end = position + data.len() as u64;
        self.writes += u64::from(!durable);
        for sector in sectors(position, end) {
            let whole = sector * SECTOR as u64 >= position && (sector + 1) * (SECTOR as u64) <= end;
            if durable && whole {
                self.older.remove(&sector);
                self.stuck.remove(&sector);
            } else if !durable {
                let content = self.sector(sector);
                self.older.entry(sector).or_default().push(Older { write: self.writes, content });
            }
        }
        self.copy_in(position, data);
        if durable {
            // Sectors written in part: their pages are written back whole.
            for sector in [position / SECTOR as u64, (end - 1) / SECTOR as u64] {
                self.older.remove(&sector);
                self.stuck.remove(&sector);
            }
            self.durable_len = self.durable_len.max(end);
        }
        self.len = self.len.max(end);
    }

    /// What a sync that is asked for now will promise.
    pub fn mark(&self) -> SyncMark {
        SyncMark { writes: self.writes, len: self.len }
    }

    /// Everything so far is on stable storage.
    pub fn sync(&mut self) {
        self.sync_to(self.mark());
    }

    /// What was written before the mark is on stable storage.
    pub fn sync_to(&mut self, mark: SyncMark) {
        let stuck = &mut self.stuck;
        self.older.retain(|sector, older| {
            let before = older.len();
            older.retain(|older| older.write > mark.writes);
            if older.len() < before {
                stuck.remove(sector);
            }
            !older.is_empty()
        });
        self.durable_len = self.durable_len.max(mark.len.min(self.len));
    }

    /// A read past the page cache after a failed sync: what the device has there is what stays, whatever the page cache
    /// held.
    pub fn settle(&mut self, position: u64, len: u64, random: &mut Prng) {
        if self.stuck.is_empty() {
            return;
        }
        let fate = fate(random);
        for sector in sectors(position, position.saturating_add(len)) {
            // One that was written again since is in the page cache for good reason: it is written out first.
            if !self.older.contains_key(&sector)
                && let Some(versions) = self.stuck.remove(&sector)
            {
                let (content, _) = self.pick(sector, versions, fate, random);
                self.copy_in(sector * SECTOR as u64, &content);
            }
        }
    }

    /// A sync that failed.
    pub fn fail_sync(&mut self) {
        for (sector, versions) in std::mem::take(&mut self.older) {
            self.stuck.entry(sector).or_default().extend(versions.into_iter().map(|older| older.content));
        }
    }

    /// Cuts or extends, size and all on stable storage.
    pub fn set_len(&mut self, len: u64) {
        self.resize(len);
        self.sync();
    }

    fn resize(&mut self, len: u64) {
        if len < self.len {
            self.forget(len, u64::MAX);
            let inside = (len % PAGE as u64) as usize;
            if inside > 0
                && let Some(page) = self.pages.get_mut(&(len / PAGE as u64))
            {
                page[inside..].fill(0);
            }
        }
        self.len = len;
        self.durable_len = self.durable_len.min(len);
    }

    /// Grows to `to` unless it is longer; the length is not on stable storage.
    pub fn reserve(&mut self, to: u64) {
        self.len = self.len.max(to);
    }

    /// Zeros over a range, on stable storage.
    pub fn zero(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let aligned = from.is_multiple_of(PAGE as u64) && to.is_multiple_of(PAGE as u64);
        if aligned {
            self.forget(from, to);
        } else {
            self.copy_in(from, &vec![0; (to - from) as usize]);
            let sectors: Vec<u64> = sectors(from, to).collect();
            for sector in sectors {
                self.older.remove(&sector);
                self.stuck.remove(&sector);
            }
        }
        self.len = self.len.max(to);
        self.durable_len = self.durable_len.max(to);
    }

    /// Drops whole pages in a range, and what their sectors held before.
    fn forget(&mut self, from: u64, to: u64) {
        let first = from.div_ceil(PAGE as u64);
        let last = to / PAGE as u64;
        let pages: Vec<u64> = self.pages.range(first..last.max(first)).map(|(at, _)| *at).collect();
        for page in pages {
            self.pages.remove(&page);
        }
        let first = from.div_ceil(SECTOR as u64);
        let last = (to / SECTOR as u64).max(first);
        let range = first..last;
        self.older.retain(|at, _| !range.contains(at));
        self.stuck.retain(|at, _| !range.contains(at));
    }

    /// A write that the power cut (or an error) caught: some of its sectors arrive, one of them perhaps torn.
    /// `durable`: on stable storage, as far as they do.
    pub fn write_in_part(&mut self, position: u64, data: &[u8], durable: bool, random: &mut Prng) {
        let count = sectors(position, position + data.len() as u64).count() as u64;
        let fate = fate(random);
        // In order of the sectors up to a point, or any of them.
        let prefix = random.chance(1, 2).then(|| random.below(count + 1));
        let old_len = self.len;
        for (number, sector) in sectors(position, position + data.len() as u64).enumerate() {
            let arrives = match (fate, prefix) {
                (Fate::Survives, _) => true,
                (Fate::Vanishes, _) => false,
                (Fate::Mixed, Some(prefix)) => (number as u64) < prefix,
                (Fate::Mixed, None) => random.chance(1, 2),
            };
            let from = (sector * SECTOR as u64).max(position);
            let to = ((sector + 1) * SECTOR as u64).min(position + data.len() as u64);
            let torn = fate == Fate::Mixed && random.chance(1, 16);
            let part = &data[(from - position) as usize..(to - position) as usize];
            let part = if torn { &part[..random.below(part.len() as u64 + 1) as usize] } else { part };
            if arrives && !part.is_empty() {
                self.write(from, part, durable);
            }
        }
        if durable && self.len > old_len && random.chance(1, 4) {
            // The size is written after the data, or not any more.
            self.resize(old_len);
        }
    }

    /// The power is gone: decides what of the unsynced bytes and of the length is left.
    pub fn power_cut(&mut self, random: &mut Prng) {
        let fate = fate(random);
        let mut reach = self.durable_len;
        for (sector, newer) in std::mem::take(&mut self.older) {
            self.stuck.entry(sector).or_default().extend(newer.into_iter().map(|older| older.content));
        }
        for (sector, versions) in std::mem::take(&mut self.stuck) {
            let (content, changed) = self.pick(sector, versions, fate, random);
            if changed {
                reach = reach.max(((sector + 1) * SECTOR as u64).min(self.len));
            }
            self.copy_in(sector * SECTOR as u64, &content);
        }
        let len = if self.len > reach && random.chance(1, 2) { self.len } else { reach };
        self.set_len(len.min(self.len));
    }

    /// What is left of a sector, one of the `versions` before or the present one, and whether it is not the oldest.
    fn pick(&self, sector: u64, mut versions: Vec<Vec<u8>>, fate: Fate, random: &mut Prng) -> (Vec<u8>, bool) {
        versions.push(self.sector(sector));
        let newest = versions.len() - 1;
        let pick = match fate {
            Fate::Survives => newest,
            Fate::Vanishes => 0,
            Fate::Mixed => random.below(versions.len() as u64) as usize,
        };
        let mut content = versions[pick].clone();
        if fate == Fate::Mixed && random.chance(1, 16) {
            let other = &versions[random.below(versions.len() as u64) as usize];
            let cut = random.below(SECTOR as u64 + 1) as usize;
            content[cut..].copy_from_slice(&other[cut..]);
        }
        (content, pick > 0)
    }

    /// Turns over one bit, as a bad sector does.
    pub fn flip(&mut self, position: u64, bit: u8) {
        let mut byte = [0];
        self.copy_out(position, &mut byte);
        byte[0] ^= 1 << bit;
        self.copy_in(position, &byte);
    }
}

fn sectors(from: u64, to: u64) -> impl Iterator<Item = u64> {
    from / SECTOR as u64..to.div_ceil(SECTOR as u64)
}

fn fate(random: &mut Prng) -> Fate {
    match random.below(4) {
        0 => Fate::Survives,
        1 => Fate::Vanishes,
        _ => Fate::Mixed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_bytes_survive_every_cut_and_unsynced_ones_are_old_or_new() {
        let (mut vanished, mut survived) = (0, 0);
        for seed in 0..200 {
            let mut random = Prng::new(seed);
            let mut file = SimFile::default();
            file.write(0, &[1; 2 * SECTOR], true);
            file.write(SECTOR as u64, &[2; 3 * SECTOR], false);
            assert_eq!(file.read(0, 9000).len(), 4 * SECTOR);
            file.power_cut(&mut random);
            assert_eq!(file.read(0, SECTOR), [1; SECTOR], "seed {seed}");
            assert!(file.read(SECTOR as u64, SECTOR).iter().all(|&b| b == 1 || b == 2));
            assert!(file.len() >= 2 * SECTOR as u64 && file.len() <= 4 * SECTOR as u64);
            let rest = file.read(2 * SECTOR as u64, 2 * SECTOR);
            assert!(rest.iter().all(|&b| b == 0 || b == 2));
            survived += u32::from(rest.len() == 2 * SECTOR && rest.iter().all(|&b| b == 2));
            vanished += u32::from(rest.is_empty());
        }
        assert!(vanished > 10 && survived > 10, "{vanished} {survived}");
    }

    #[test]
    fn rewriting_the_same_bytes_cannot_lose_them() {
        for seed in 0..200 {
            let mut random = Prng::new(seed);
            let mut file = SimFile::default();
            file.write(0, &[1; 700], true);
            file.write_in_part(0, &[&[1; 700][..], &[2; 300]].concat(), true, &mut random);
            assert_eq!(file.read(0, 700), [1; 700], "seed {seed}");
            file.write(0, &[&[1; 700][..], &[3; 300]].concat(), false);
            file.power_cut(&mut random);
            assert_eq!(file.read(0, 700), [1; 700], "seed {seed}");
        }
    }

    #[test]
    fn a_sync_makes_everything_durable_unless_an_earlier_one_failed() {
        let mut random = Prng::new(1);
        let mut file = SimFile::default();
        file.write(0, &[1; SECTOR], false);
        file.sync();
        file.power_cut(&mut random);
        assert_eq!(file.read(0, SECTOR), [1; SECTOR]);
        let mut lost = false;
        for seed in 0..50 {
            let mut file = file.clone();
            file.write(0, &[2; SECTOR], false);
            file.fail_sync();
            file.sync();
            file.power_cut(&mut Prng::new(seed));
            lost |= file.read(0, SECTOR) == [1; SECTOR];
        }
        assert!(lost, "a second sync does not bring back what the first one lost");
    }

    #[test]
    fn a_sync_promises_nothing_for_what_was_written_after_it_was_asked_for() {
        let mut lost = false;
        for seed in 0..50 {
            let mut file = SimFile::default();
            file.write(0, &[1; 2 * SECTOR], false);
            let mark = file.mark();
            file.write(SECTOR as u64, &[2; 2 * SECTOR], false);
            file.sync_to(mark);
            file.power_cut(&mut Prng::new(seed));
            assert_eq!(file.read(0, SECTOR), [1; SECTOR], "seed {seed}");
            assert!(file.len() >= 2 * SECTOR as u64);
            lost |= file.read(SECTOR as u64, SECTOR) == [1; SECTOR];
        }
        assert!(lost, "it may vanish");
    }

    #[test]
    fn what_was_read_past_the_page_cache_after_a_failed_sync_stays() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut random = Prng::new(seed);
            let mut file = SimFile::default();
            file.write(0, &[1; SECTOR], true);
            file.write(0, &[2; SECTOR], false);
            file.fail_sync();
            file.settle(0, SECTOR as u64, &mut random);
            let read = file.read(0, SECTOR);
            file.sync();
            file.power_cut(&mut random);
            assert_eq!(file.read(0, SECTOR), read, "seed {seed}");
            seen.insert(read[0]);
        }
        assert_eq!(seen.len(), 2, "old and new");
    }
}
