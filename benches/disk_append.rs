//! What does a durable append cost on this disk? One core, the real driver, files filled ahead with zeros or not:
//! latency of each write and data rate, against queue depth, write size and sync policy.
//!
//! The folder is the build's own, so put `target` on the disk in question (`CARGO_TARGET_DIR`).
#![allow(clippy::disallowed_methods, reason = "measures on the outside of the machine")]

mod kit;
#[path = "kit/writer.rs"]
mod writer;

use std::sync::mpsc;

use kataract::rt::{DriverKind, DriverOptions, run};
use writer::{Case, Writer};

fn measure(kind: DriverKind, name: &str, case: Case) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (told, tell) = mpsc::channel();
    let build = move |_| Writer::new(case, told.clone());
    let running = match run(kind, DriverOptions::new(folder.path().to_owned()), build) {
        Ok(running) => running,
        // A host may forbid io_uring, a build may have no glommio.
        Err(error) => return println!("{kind}: skipped: {error}"),
    };
    let (mut latencies, nanoseconds) = tell.recv().expect("the writer finishes");
    running.request_stop();
    running.join().expect("a clean end");
    latencies.sort_by(f64::total_cmp);
    let at = |part: usize| latencies[(latencies.len() - 1) * part / 100] / 1000.0;
    if kit::is_real() {
        let rate = (case.writes as usize * case.bytes) as f64 / nanoseconds as f64 * 1000.0;
        println!(
            "{kind:<9} {:<38} {:>7} B x {:>2} deep  p50 {:>7.0} us  p99 {:>7.0} us  {rate:>7.1} MB/s",
            name,
            case.bytes,
            case.files,
            at(50),
            at(99)
        );
    } else {
        println!("{kind}, {name}: runs");
    }
}

fn main() {
    let writes = |real: u64| if kit::is_real() { real } else { 8 };
    let inside = "durable, inside written space";
    let filled = Case { bytes: 16 << 10, files: 1, writes: writes(2000), sync: true, filled: true };
    for files in [1, 4, 16] {
        measure(DriverKind::Uring, inside, Case { files, ..filled });
        measure(DriverKind::Uring, inside, Case { files, bytes: 4 << 10, ..filled });
        measure(DriverKind::Uring, inside, Case { files, bytes: 1 << 20, writes: writes(400), ..filled });
    }
    measure(DriverKind::Uring, "durable, growing the file", Case { filled: false, ..filled });
    measure(DriverKind::Uring, "not synced, inside written space", Case { sync: false, files: 4, ..filled });
    measure(DriverKind::Posix, inside, Case { files: 4, ..filled });
    measure(DriverKind::Glommio, inside, Case { files: 4, ..filled });
}
