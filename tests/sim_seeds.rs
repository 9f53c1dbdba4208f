//! The simulator on fixed seeds: every seed that ever found something, the same seed twice, a power cut at every write
//! of small runs, and the mistakes that must be caught.
#![allow(clippy::disallowed_methods, reason = "a test of the outermost floors: clocks, files, processes")]

use kataract::sim::mutation::Mutation;
use kataract::sim::run::{Options, run};

/// Seeds of the general mode that once had a finding.
const SEEDS: [u64; 66] = [
    4, 7, 10, 12, 13, 14, 20, 27, 40, 42, 46, 50, 53, 57, 60, 65, 79, 88, 96, 98, 161, 185, 215, 355, 665, 854, 856,
    858, 892, 971, 1130, 1177, 1258, 1272, 1321, 1412, 1639, 1698, 1737, 1893, 2188, 2202, 2308, 2327, 2329, 3374,
    4768, 5148, 6066, 6470, 8419, 8759, 8974, 9003, 9135, 9196, 9707, 1004209, 1008929, 7304795, 246752357, 667938319,
    70004465, 70008365, 80002441, 80015198,
];

/// Seeds of runs on a disk that is full for a while.
const FULL_SEEDS: [u64; 17] = [0, 2, 4, 6, 7, 8, 10, 11, 12, 15, 16, 30, 32, 628, 21427, 700000022, 700000205];

/// Seeds of small runs whose every write is cut in each test run; in the last two partitions move.
const CUT_SEEDS: [u64; 5] = [0, 1, 2, 4, 9];
/// At most so many cuts of one small run: the others are left to `kataract sim run --every-write`.
const CUTS_MAX: u64 = 60;

#[test]
fn seeds_that_once_found_something_find_nothing_any_more() {
    for seed in SEEDS {
        let outcome = run(&Options::of_seed(seed));
        assert_eq!(outcome.finding, None, "seed {seed}");
        assert!(outcome.acked + outcome.read > 0, "seed {seed} did nothing");
    }
}

#[test]
fn some_readers_are_sent_what_lies_in_files() {
    let outcomes = (0..40).map(|seed| run(&Options::of_seed(seed)));
    let staged: u64 = outcomes.map(|outcome| outcome.staged).sum();
    assert!(staged > 20, "{staged} pieces in 40 runs");
}

#[test]
fn a_full_disk_fails_nothing_and_everything_goes_on_when_there_is_room() {
    for seed in FULL_SEEDS {
        let outcome = run(&Options::full(seed));
        assert_eq!(outcome.finding, None, "seed {seed} on a full disk");
        assert!(outcome.acked > 0, "seed {seed} did nothing");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 100..112 {
        let (first, second) = (run(&Options::of_seed(seed)), run(&Options::of_seed(seed)));
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}: {} and {} events", first.events, second.events);
        assert_ne!(first.trace_hash, run(&Options::of_seed(seed + 1_000)).trace_hash);
    }
}

#[test]
fn a_power_cut_at_any_write_loses_nothing_that_was_acknowledged() {
    assert!([4, 9].iter().all(|seed| Options::small(*seed, None).swarm.moves > 0));
    for seed in CUT_SEEDS {
        let whole = run(&Options::small(seed, None));
        assert_eq!(whole.finding, None, "seed {seed} without a cut");
        let step = whole.writes.div_ceil(CUTS_MAX).max(1) as usize;
        for write in (0..whole.writes).step_by(step) {
            let outcome = run(&Options::small(seed, Some(write)));
            assert_eq!(outcome.finding, None, "seed {seed} cut at write {write}");
        }
    }
}

#[test]
fn partitions_that_move_tell_no_client_an_error() {
    // 172: an ask that had waited went behind a later one.
    for seed in (0..12).chain([172]) {
        let outcome = run(&Options::moving(seed));
        assert_eq!(outcome.finding, None, "seed {seed}");
        assert!(outcome.acked > 0 && outcome.read > 0, "seed {seed} did nothing");
    }
}

/// One of the first seeds must notice the mistake.
fn is_caught(mutation: Mutation) {
    const SEEDS_MAX: u64 = 40;
    for seed in 0..3 {
        let finding = run(&Options::control(seed, mutation)).finding;
        assert_eq!(finding, None, "seed {seed} without {}", mutation.name());
    }
    for seed in 0..SEEDS_MAX {
        if let Some(finding) = run(&Options::with_mutation(seed, mutation)).finding {
            println!("{}: seed {seed}: {finding}", mutation.name());
            return;
        }
    }
    panic!("{} went unnoticed in {SEEDS_MAX} seeds", mutation.name());
}

#[test]
fn acknowledging_before_the_sync_is_caught() {
    is_caught(Mutation::AckBeforeSync);
}

#[test]
fn skipping_the_crc_at_recovery_is_caught() {
    is_caught(Mutation::SkipCrc);
}

#[test]
fn forgetting_the_producer_snapshot_is_caught() {
    is_caught(Mutation::ForgetSnapshots);
}

#[test]
fn answering_out_of_order_is_caught() {
    is_caught(Mutation::SwapAnswers);
}

#[test]
fn answering_before_the_journal_is_synced_is_caught() {
    is_caught(Mutation::JournalBeforeSync);
}

#[test]
fn reusing_a_journal_block_before_its_segments_are_synced_is_caught() {
    is_caught(Mutation::JournalReuse);
}

#[test]
fn skipping_the_journal_at_recovery_is_caught() {
    is_caught(Mutation::JournalSkipped);
}
