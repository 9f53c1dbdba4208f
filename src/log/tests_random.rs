//! Random runs by seed: append, flush, read, roll, retain, cut, crash, stop and start, compared with a model.

use super::Durability;
use super::tests_rig::{Rig, small_config};
use super::types::{LoadHints, LogConfig, LogEvent};

fn random_run(seed: u64, config: LogConfig, steps: u32) {
    let mut rig = Rig::new(seed, config);
    for step in 0..steps {
        let pick = rig.prng.below(100);
        if std::env::var("TRACE").is_ok() {
            let (start, durable, end) = (rig.log.start_offset(), rig.log.durable_offset(), rig.log.end_offset());
            println!(
                "seed {seed} step {step} pick {pick}: {start} {durable} {end}, epoch {}, model durable {}",
                rig.epoch, rig.durable
            );
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
            87..=88 => {
                let bytes = rig.prng.below(100_000) as usize;
                rig.log.evict(bytes);
                rig.log.evict_indexes(bytes);
            }
            89..=92 => {
                let ms = rig.prng.below(2000);
                rig.advance(ms);
            }
            93 => rig.epoch += rig.prng.below(2) as i32,
            94 => delete_some(&mut rig),
            95 => {
                let keep = rig.prng.below(400 << 10) as i64;
                rig.config.retention_bytes = keep;
                rig.log.set_config(rig.config.clone());
                let high = rig.durable;
                rig.with(|log, now, out, events| log.retain(now, high, out, events));
            }
            96 => cut_some(&mut rig),
            97 => {
                rig.close();
                let log_start = Some(rig.log_start);
                rig.load(LoadHints { clean: true, recovery_point: None, log_start });
                let end = rig.durable;
                assert_eq!(rig.log.end_offset(), end, "a clean stop loses nothing");
                rig.adopt_end(end);
            }
            _ => {
                rig.crash();
                if rig.prng.chance(1, 4) {
                    rig.check_all();
                }
            }
        }
    }
    rig.flush();
    rig.settle();
    assert_eq!(rig.durable, rig.log.end_offset(), "everything becomes durable in the end");
    rig.check_all();
    rig.close();
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
    rig.settle();
    let durable = rig.durable;
    let cut = rig.model.iter().find(|expected| expected.last >= to).map_or(to, |expected| expected.base);
    assert!(rig.events.contains(&LogEvent::Truncated(rig.log.end_offset())), "{:?}", rig.events);
    assert!(rig.log.end_offset() <= to.max(cut));
    rig.durable = durable.min(cut);
    if rig.log.end_offset() == end {
        return;
    }
    let at_least = rig.durable.min(cut);
    rig.adopt_end(at_least);
    // A new leader is a new epoch; without it what was cut and what comes now could not be told apart.
    rig.epoch += 1;
}

#[test]
fn random_runs_keep_everything_durable_once_and_in_order() {
    for seed in 0..150 {
        random_run(seed, small_config(), 400);
    }
}

#[test]
fn random_runs_in_page_cache_mode_lose_nothing_without_a_power_cut() {
    for seed in 0..40 {
        let durability = Durability::PageCache { messages: 50, ms: 500 };
        page_cache_run(1000 + seed, LogConfig { durability, ..small_config() });
    }
}

fn page_cache_run(seed: u64, config: LogConfig) {
    let mut rig = Rig::new(seed, config);
    for step in 0..200 {
        let pick = rig.prng.below(20);
        if std::env::var("TRACE").is_ok() {
            let (start, durable, end) = (rig.log.start_offset(), rig.log.durable_offset(), rig.log.end_offset());
            println!("seed {seed} step {step} pick {pick}: {start} {durable} {end}, model durable {}", rig.durable);
        }
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
                rig.disk.crash(&mut rig.prng, !power);
                rig.load(LoadHints { clean: false, recovery_point: None, log_start: Some(rig.log_start) });
                rig.adopt_end(at_least);
            }
        }
    }
    rig.flush();
    rig.check_all();
    rig.close();
}
