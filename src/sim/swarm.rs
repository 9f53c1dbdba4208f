//! What a seed turns on: sizes, features and faults. A run with few of them reaches corners that a run with all never
//! does.

use super::disk::DiskProfile;
use super::mutation::Mutation;
use super::net::NetProfile;
use crate::base::prng::Prng;

/// The settings of one run.
#[derive(Clone, Debug)]
pub struct Swarm {
    pub cores: u16,
    /// Topics made at the beginning, with their partitions.
    pub topics: Vec<i32>,
    pub producers: u32,
    pub consumers: u32,
    pub committers: u32,
    pub members: u32,
    /// Work of a client of each kind.
    pub batches: u32,
    pub commits: u32,
    pub admin_changes: u32,
    /// Changes of pins, each of which moves a partition or two from core to core.
    pub moves: u32,
    /// Nothing fails and nothing ends: whoever is told to try again has found something.
    pub calm: bool,
    pub records_per_batch_max: u64,
    pub value_max: u64,
    pub compression: bool,
    pub think_ms: u64,
    pub segment_bytes: u64,
    pub topic_configs: Vec<(String, String)>,
    pub broker_configs: Vec<(String, String)>,
    pub topic_removal: bool,
    pub delete_records: bool,
    pub retention: bool,
    pub retention_bytes: u64,
    pub files_max: u32,
    pub tail_cache_bytes: u64,
    /// 0: no journal; small ones wrap and fill.
    pub journal_bytes: u64,
    pub journal_partitions: u64,
    pub journal_lag_bytes: u64,
    pub sleepy: bool,
    pub slow_readers: bool,
    /// Clients put requests of all kinds behind one another.
    pub pipelines: bool,
    /// Logs are synced after the answer: no power is cut.
    pub page_cache: bool,
    /// The bounds of a core's connections: requests, bytes of requests, bytes of answers.
    pub in_work: (usize, usize, usize),
    /// Power cuts at random times.
    pub cuts: u32,
    /// Ends of the process alone, at random times: what it has written stays, synced or not.
    pub kills: u32,
    pub clean_restarts: u32,
    /// Mean time between resets of a connection, milliseconds; 0: none.
    pub reset_every_ms: u64,
    /// One bit of a log is flipped at each power cut.
    pub flips: bool,
    /// The wall clock jumps.
    pub clock_jumps: bool,
    /// The disk is full for a while.
    pub full_disk: bool,
    /// At most so many bytes are left when it begins.
    pub fill_room: u64,
    pub disk: DiskProfile,
    pub net: NetProfile,
    /// Clients work this long, then finish.
    pub work_ms: u64,
    pub mutation: Option<Mutation>,
}

impl Swarm {
    /// The settings of a seed in the general mode.
    pub fn of_seed(seed: u64) -> Swarm {
        let random = &mut Prng::new(seed ^ 0x5eed_0f5e_7715_c4a1);
        let mut swarm = Swarm::sizes(random);
        let one_in = |random: &mut Prng, denominator| random.chance(1, denominator);
        swarm.topic_removal = one_in(random, 2);
        swarm.delete_records = one_in(random, 2);
        swarm.retention = one_in(random, 4);
        swarm.sleepy = one_in(random, 2);
        swarm.slow_readers = one_in(random, 3);
        swarm.cuts = random.below(4) as u32;
        swarm.clean_restarts = random.below(3) as u32;
        swarm.reset_every_ms = if one_in(random, 2) { 20 + random.below(500) } else { 0 };
        swarm.flips = one_in(random, 6);
        swarm.clock_jumps = one_in(random, 4);
        swarm.full_disk = one_in(random, 8);
        if one_in(random, 6) {
            swarm.disk.write_error_one_in = 200 + random.below(2_000);
        }
        if one_in(random, 8) {
            swarm.disk.read_error_one_in = 50 + random.below(500);
        }
        if one_in(random, 3) {
            swarm.disk.stall_one_in = 20 + random.below(200);
        }
        swarm.pile_up(seed);
        swarm.kills = Prng::new(seed ^ 0x0dea_d0dd_0c0f_fee5).below(3) as u32;
        swarm.shift(seed);
        swarm.forgo_syncs(seed);
        swarm.fill_up(seed);
        swarm.finish(random)
    }

    /// A small run without faults of its own, to be cut at each of its writes.
    pub fn small(seed: u64) -> Swarm {
        let random = &mut Prng::new(seed ^ 0x5eed_0f5e_7715_c4a1);
        let mut swarm = Swarm::sizes(random);
        swarm.topics.truncate(2);
        swarm.producers = 2;
        swarm.consumers = 1;
        swarm.committers = 1;
        swarm.members = random.below(3) as u32;
        swarm.batches = 6;
        swarm.commits = 4;
        swarm.admin_changes = 4;
        swarm.topic_removal = random.chance(1, 2);
        swarm.delete_records = random.chance(1, 2);
        swarm.work_ms = 400;
        swarm.pile_up(seed);
        swarm.shift(seed);
        swarm.finish(random)
    }

    /// A run in which nothing happens but that partitions move.
    pub fn moving(seed: u64) -> Swarm {
        let random = &mut Prng::new(seed ^ 0x5eed_0f5e_7715_c4a1);
        let mut swarm = Swarm::sizes(random);
        swarm.cores = 2 + (seed % 3) as u16;
        (swarm.calm, swarm.moves) = (true, 200);
        swarm.committers += 1;
        swarm.slow_readers = random.chance(1, 3);
        swarm.pile_up(seed);
        swarm.finish(random)
    }

    /// A run on a disk that is full for a while, with nothing else wrong.
    pub fn full(seed: u64) -> Swarm {
        let random = &mut Prng::new(seed ^ 0x5eed_0f5e_7715_c4a1);
        let mut swarm = Swarm::sizes(random);
        swarm.full_disk = true;
        swarm.clean_restarts = random.below(2) as u32;
        swarm.work_ms = 4_000;
        swarm.pile_up(seed);
        swarm.fill_up(seed);
        swarm.finish(random)
    }

    /// A run in which a mutation has its chance.
    pub fn for_mutation(seed: u64, mutation: Mutation) -> Swarm {
        let random = &mut Prng::new(seed ^ 0x5eed_0f5e_7715_c4a1);
        let mut swarm = Swarm::sizes(random);
        swarm.mutation = Some(mutation);
        swarm.disk.mutation = Some(mutation);
        swarm.net.mutation = Some(mutation);
        swarm.work_ms = 3_000;
        match mutation {
            Mutation::AckBeforeSync => swarm.cuts = 3,
            Mutation::SkipCrc => {
                swarm.cuts = 3;
                swarm.flips = true;
                swarm.compression = false;
                // A replay would heal what is flipped.
                swarm.journal_bytes = 0;
            }
            Mutation::ForgetSnapshots => {
                swarm.sleepy = true;
                swarm.delete_records = true;
                swarm.admin_changes = 200;
                swarm.batches = 200;
                swarm.clean_restarts = 6;
                swarm.reset_every_ms = 10;
                swarm.topics = vec![1];
                swarm.think_ms = 2;
                swarm.work_ms = 6_000;
            }
            Mutation::SwapAnswers => {}
            Mutation::JournalBeforeSync | Mutation::JournalReuse | Mutation::JournalSkipped => {
                swarm.cuts = 3;
                swarm.journal_bytes = 1 << 20;
                swarm.journal_partitions = 1;
                swarm.journal_lag_bytes = 1 << 20;
            }
        }
        swarm.finish(random)
    }

    /// Half of all runs have clients that do not wait, and some of them little room for what they ask. Numbers of its
    /// own: the other half is what it was before.
    fn pile_up(&mut self, seed: u64) {
        let random = &mut Prng::new(seed ^ 0x71be_1175_0f0f_77e3);
        self.pipelines = random.chance(1, 2);
        if self.pipelines {
            let mut pick = |values: [usize; 3]| values[random.below(3) as usize];
            self.in_work = (pick([1, 2, 8]), pick([20_000, 200_000, 4 << 20]), pick([10_000, 200_000, 8 << 20]));
            self.retention_bytes = [1_000, 50_000, 3 << 20][random.below(3) as usize];
        }
    }

    /// In half of the runs with several cores partitions move between them. Numbers of its own, too.
    fn shift(&mut self, seed: u64) {
        let random = &mut Prng::new(seed ^ 0x4d0f_e5a1_10ca_70e5);
        if self.cores > 1 && random.chance(1, 2) {
            self.moves = 5 + random.below(40) as u32;
        }
    }

    /// Few runs sync after they answer. Nothing may take from such a node what it has not synced.
    fn forgo_syncs(&mut self, seed: u64) {
        let random = &mut Prng::new(seed ^ 0x0a11_0f17_1a7e_2222);
        self.page_cache = random.chance(1, 10);
        if !self.page_cache {
            return;
        }
        (self.cuts, self.flips, self.full_disk) = (0, false, false);
        self.clean_restarts += 1;
        (self.disk.write_error_one_in, self.disk.read_error_one_in) = (0, 0);
        self.broker_configs.push(("kataract.log.durability".to_owned(), "page-cache".to_owned()));
        self.topic_configs.push(("flush.messages".to_owned(), (1 + random.below(200)).to_string()));
        self.topic_configs.push(("flush.ms".to_owned(), (1 + random.below(500)).to_string()));
    }

    /// A full disk is met by those who change things, not by producers only: topics are made and removed, records
    /// deleted, offsets committed. Numbers of its own.
    fn fill_up(&mut self, seed: u64) {
        if !self.full_disk {
            return;
        }
        let random = &mut Prng::new(seed ^ 0x0f11_d15c_0f11_d15c);
        self.fill_room = [1, 8 << 10, 128 << 10, 1 << 20][random.below(4) as usize];
        self.admin_changes += 20 + random.below(40) as u32;
        self.disk.copies_on_write = Prng::new(seed ^ 0xc0b1_e50a_3a17_e000).chance(1, 3);
        self.delete_records |= random.chance(1, 2);
        self.topic_removal |= random.chance(1, 2);
        self.committers = self.committers.max(1);
        self.commits += 40;
        self.think_ms = self.think_ms.min(5);
    }

    fn sizes(random: &mut Prng) -> Swarm {
        let pick = |random: &mut Prng, values: &[u64]| values[random.below(values.len() as u64) as usize];
        let topics = (0..1 + random.below(3)).map(|_| 1 + random.below(4) as i32).collect();
        let value_max = pick(random, &[10, 100, 1_000, 5_000]);
        let latency = pick(random, &[20_000, 200_000, 2_000_000]);
        Swarm {
            cores: pick(random, &[1, 2, 4]) as u16,
            topics,
            producers: 1 + random.below(4) as u32,
            consumers: 1 + random.below(2) as u32,
            committers: random.below(3) as u32,
            members: random.below(4) as u32,
            batches: 20 + random.below(60) as u32,
            commits: 10 + random.below(30) as u32,
            admin_changes: random.below(20) as u32,
            moves: 0,
            calm: false,
            records_per_batch_max: 1 + random.below(8),
            value_max,
            compression: random.chance(1, 2),
            think_ms: pick(random, &[1, 5, 20]),
            segment_bytes: 1 << 20,
            topic_configs: Vec::new(),
            broker_configs: Vec::new(),
            topic_removal: false,
            delete_records: false,
            retention: false,
            retention_bytes: 3 << 20,
            files_max: pick(random, &[64, 200, 10_000]) as u32,
            tail_cache_bytes: pick(random, &[0, 65_536, 1 << 20, 16 << 20]),
            journal_bytes: pick(random, &[0, 128 << 10, 160 << 10, 1 << 20]),
            journal_partitions: 1 + random.below(3),
            journal_lag_bytes: pick(random, &[0, 32 << 10, 1 << 20]),
            sleepy: false,
            slow_readers: false,
            pipelines: false,
            page_cache: false,
            in_work: (8, 4 << 20, 8 << 20),
            cuts: 0,
            kills: 0,
            clean_restarts: 0,
            reset_every_ms: 0,
            flips: false,
            clock_jumps: false,
            full_disk: false,
            fill_room: 1 << 20,
            disk: DiskProfile { latency_ns: (latency / 10, latency), ..DiskProfile::default() },
            net: NetProfile {
                segment_max: pick(random, &[1, 100, 2_000, 65_536]).max(20),
                window: pick(random, &[1_000, 65_536]) as usize,
                ..NetProfile::default()
            },
            work_ms: 500 + random.below(3_000),
            mutation: None,
        }
    }

    fn finish(mut self, random: &mut Prng) -> Swarm {
        self.topic_configs.push(("segment.bytes".to_owned(), self.segment_bytes.to_string()));
        if random.chance(2, 3) {
            self.topic_configs.push(("segment.ms".to_owned(), (20 + random.below(1_000)).to_string()));
        }
        if self.retention {
            self.topic_configs.push(("retention.bytes".to_owned(), self.retention_bytes.to_string()));
            if random.chance(1, 2) {
                self.topic_configs.push(("retention.ms".to_owned(), (500 + random.below(5_000)).to_string()));
            }
        }
        self.broker_configs.push(("kataract.journal.bytes".to_owned(), self.journal_bytes.to_string()));
        let partitions = self.journal_partitions.to_string();
        self.broker_configs.push(("kataract.journal.partitions".to_owned(), partitions));
        let check_ms = 50 + random.below(1_000);
        self.broker_configs.push(("log.retention.check.interval.ms".to_owned(), check_ms.to_string()));
        self.broker_configs.push(("log.segment.delete.delay.ms".to_owned(), random.below(2_000).to_string()));
        self.broker_configs.push(("offsets.topic.num.partitions".to_owned(), (1 + random.below(4)).to_string()));
        self.broker_configs.push(("offsets.topic.segment.bytes".to_owned(), "1048576".to_owned()));
        self.broker_configs.push(("group.initial.rebalance.delay.ms".to_owned(), random.below(300).to_string()));
        // Fetches through the page cache: from which size on, and how far from the end of a segment that grows.
        let mut pick = |values: [u64; 3]| values[random.below(3) as usize];
        let size = pick([1, 5_000, 65_536]);
        self.broker_configs.push(("kataract.fetch.cache.min.bytes".to_owned(), size.to_string()));
        let distance = pick([0, 20_000, 32 << 20]);
        self.broker_configs.push(("kataract.fetch.cache.distance.bytes".to_owned(), distance.to_string()));
        self
    }
}
