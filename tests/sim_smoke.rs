//! Fresh seeds of the simulator for a bounded time: `KATARACT_SIM_SECONDS` (10 when not set). A failure names its seed;
//! `kataract sim run --seed N --trace` (built with `--features sim`) shows what happened, and the seed is kept in
//! `sim_seeds.rs`.
#![allow(clippy::disallowed_methods, reason = "a test of the outermost floors: clocks, files, processes")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kataract::sim::run::{Options, run};

#[test]
fn fresh_seeds_find_nothing() {
    let seconds = std::env::var("KATARACT_SIM_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let first = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64) % 1_000_000_000;
    let start = Instant::now();
    let mut seed = first;
    while start.elapsed() < Duration::from_secs(seconds) {
        let outcome = run(&Options::of_seed(seed));
        if let Some(finding) = outcome.finding {
            panic!("seed {seed}: {finding}");
        }
        seed += 1;
    }
    println!("seeds {first} to {seed} found nothing");
}
