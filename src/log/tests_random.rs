//! Random runs by seed: append, flush, read, roll, retain, cut, crash, stop and start, compared with a model.

use super::Durability;
use super::tests_rig::{Rig, small_config};
use super::types::{LoadHints, LogConfig, LogEvent};

fn random_run(seed: u64, config: LogConfig, steps: u32) {
    let mut rig = Rig::new(seed, config);
    rig.sends = seed % 2 == 1;
    for _ in 0..steps {
        let pick = rig.prng.below(100);
        if rig.disk.capacity.is_some() && (pick > 92 || rig.prng.chance(1, 20)) {
            // Room again, at the latest before a step that may need it to succeed.
            rig.disk.capacity = None;
            rig.flush();
            rig.settle();
            rig.advance(3000);
            rig.settle();
            assert_eq!(rig.durable, rig.log.end_offset(), "what was pending is written");
        }
        if pick <= 92 && rig.prng.chance(1, 100) {
            rig.disk.capacity = Some(rig.disk.used() + rig.prng.below(60_000));
        }
        match pick {
            0..=29 => {
                for _ in 0..1 + rig.prng.below(6) {
                    let _ = rig.append_some();
                }
            }
            30..=44 => rig.flush(),
            45..=74 => {
                for _ in 0..1 + rig.prng.below(8) {
                    rig.step();
                }
            }
            75..=86 => {
                let span = (rig.log.end_offset() - rig.log_start + 2) as u64;
                let from = rig.log_start - 1 + rig.prng.below(span) as i64;
                let max_bytes = rig.prng.below(40_000) as u32;
                let at_least_one = rig.prng.chance(2, 3);
                rig.read(from, max_bytes, at_least_one);
            }
            87 => {
                let timestamp = rig.now.wall_ms - rig.prng.below(20_000) as i64;
                rig.find_time(timestamp);
            }
            88 => {
                let bytes = rig.prng.below(100_000) as usize;
                rig.log.evict(bytes);
                rig.log.evict_indexes(bytes, -1);
            }
            89..=92 => {
                let ms = rig.prng.below(2000);
                rig.advance(ms);
            }
            93 => rig.epoch += rig.prng.below(2) as i32,
            94..=97 => rare_step(&mut rig, pick),
            _ => {
                rig.crash();
                if rig.prng.chance(1, 4) {
                    rig.check_all();
                }
            }
        }
    }
    rig.disk.capacity = None;
    rig.flush();
    rig.settle();
    rig.advance(3000);
    rig.settle();
    assert_eq!(rig.durable, rig.log.end_offset(), "everything becomes durable in the end");
    rig.check_all();
    rig.close();
}

/// Deleting, retaining, cutting, stopping.
fn rare_step(rig: &mut Rig, pick: u64) {
    match pick {
        94 => delete_some(rig),
        95 => {
            let keep = rig.prng.below(400 << 10) as i64;
            rig.config.retention_bytes = keep;
            rig.log.set_config(rig.config.clone());
            let high = rig.durable;
            rig.with(|log, now, out, events| log.retain(now, high, out, events));
        }
        96 => cut_some(rig),
        97 if rig.prng.chance(1, 3) => {
            // The power goes in the middle of a clean stop.
            rig.with(|log, now, out, _| log.close(now, out));
            for _ in 0..rig.prng.below(40) {
                rig.step();
            }
            rig.crash();
        }
        _ => {
            rig.close();
            let log_start = Some(rig.log_start);
            rig.load(LoadHints { clean: true, recovery_point: None, log_start });
            let end = rig.durable;
            assert_eq!(rig.log.end_offset(), end, "a clean stop loses nothing");
            rig.adopt_end(end);
        }
    }
}

fn delete_some(rig: &mut Rig) {
    let span = (rig.durable - rig.log_start + 1) as u64;
    let before = rig.log_start + (rig.prng.below(span) as i64).min(20);
    let start = rig.with(|log, now, out, _| log.delete_records(before, now, out)).unwrap();
    assert_eq!(start, before.max(rig.log_start));
    rig.log_start = start;
}

fn cut_some(rig: &mut Rig) {
    let end = rig.log.end_offset();
    let to = rig.log_start.max(end - rig.prng.below(60) as i64);
    rig.events.clear();
    rig.with(|log, now, out, _| log.truncate(to, now, out)).unwrap();
    let durable = rig.durable;
    let cut = rig.model.iter().find(|expected| expected.last >= to).map_or(to, |expected| expected.base);
    if rig.prng.chance(1, 3) {
        // The power goes in the middle of it: a longer log is fine, a torn one is not.
        for _ in 0..rig.prng.below(40) {
            rig.step();
        }
        rig.durable = durable.min(cut).max(rig.log_start.min(durable));
        rig.crash();
        rig.epoch += 1;
        return;
    }
    rig.settle();
    assert!(rig.events.contains(&LogEvent::Truncated(rig.log.end_offset())), "{:?}", rig.events);
    assert!(rig.log.end_offset() <= to.max(cut));
    if rig.log.end_offset() == end {
        return;
    }
    rig.durable = durable.min(cut);
    rig.adopt_end(durable.min(cut));
    // A new leader is a new epoch; without it what was cut and what comes now could not be told apart.
    rig.epoch += 1;
}

#[test]
fn random_runs_keep_everything_durable_once_and_in_order() {
    for seed in seeds(80) {
        println!("seed {seed}");
        random_run(seed, small_config(), 400);
    }
}

#[test]
fn random_runs_in_page_cache_mode_lose_nothing_without_a_power_cut_and_nothing_synced_with_one() {
    for seed in seeds(40) {
        println!("seed {seed}");
        let durability = Durability::PageCache { messages: 50, ms: 500 };
        page_cache_run(1000 + seed, LogConfig { durability, ..small_config() });
    }
}

fn page_cache_run(seed: u64, config: LogConfig) {
    let mut rig = Rig::new(seed, config);
    rig.sends = seed % 2 == 1;
    for _ in 0..200 {
        let pick = rig.prng.below(20);
        match pick {
            0..=6 => drop(rig.append_some()),
            7..=10 => rig.flush(),
            11..=16 => drop(rig.step()),
            17 => rig.advance(300),
            18 => {
                let from = rig.log_start + rig.prng.below(rig.durable as u64 + 1) as i64;
                rig.read(from.min(rig.log.end_offset()), 5000, true);
            }
            _ => {
                let synced = rig.log.stable_storage_offset();
                assert!(synced <= rig.durable);
                let power = rig.prng.chance(1, 2);
                let at_least = if power { synced } else { rig.durable };
                if power {
                    rig.disk.power_cut(&mut rig.prng)
                } else {
                    rig.disk.process_dies(&mut rig.prng)
                }
                rig.load(LoadHints { clean: false, recovery_point: None, log_start: Some(rig.log_start) });
                rig.adopt_end(at_least);
                if rig.prng.chance(1, 4) {
                    rig.check_all();
                }
            }
        }
    }
    rig.flush();
    rig.check_all();
    rig.close();
}

/// `LOG_SEEDS=from..to` at compile time replaces the usual number of seeds, for long runs and to repeat one.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let range = option_env!("LOG_SEEDS").and_then(|text| text.split_once(".."));
    match range.map(|(from, to)| (from.parse(), to.parse())) {
        Some((Ok(from), Ok(to))) => from..to,
        _ => 0..count,
    }
}
