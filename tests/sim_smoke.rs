//! Fresh seeds of the simulator for a bounded time: `KATARACT_SIM_SECONDS` (10 when not set). A failure names its seed;
//! `kataract sim run --seed N --trace` (built with `--features sim`) shows what happened, and the seed is kept in
//! `sim_seeds.rs`.
#![allow(clippy::disallowed_methods, reason = "a test of the outermost floors: clocks, files, processes")]

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kataract::sim::run::{Options, run};

/// A seed that takes longer than this does not end, seconds; it takes a fraction of one.
const SEED_SECONDS_MAX: u64 = 120;

#[test]
fn fresh_seeds_find_nothing() {
    let seconds = std::env::var("KATARACT_SIM_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let first = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64) % 1_000_000_000;
    let (ask, asked) = mpsc::channel::<u64>();
    let (tell, told) = mpsc::channel();
    // Runs on beside the test when a seed never ends, and ends with it.
    thread::spawn(move || asked.iter().all(|seed| tell.send(run(&Options::of_seed(seed)).finding).is_ok()));
    let start = Instant::now();
    let mut seed = first;
    while start.elapsed() < Duration::from_secs(seconds) {
        ask.send(seed).expect("the thread that runs seeds is there");
        match told.recv_timeout(Duration::from_secs(SEED_SECONDS_MAX)) {
            Ok(None) => seed += 1,
            Ok(Some(finding)) => panic!("seed {seed}: {finding}"),
            Err(error) => panic!("seed {seed} does not end: {error}"),
        }
    }
    println!("seeds {first} to {seed} found nothing");
}
