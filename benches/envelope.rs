//! What does this machine allow at all? A raw stream over loopback, raw direct writes with a data sync, CRC, copy:
//! the frame that every other figure is read against. The same as `kataract bench machine`.
#![allow(clippy::disallowed_methods, reason = "measures the machine itself")]

mod kit;

use kataract::cli::bench::envelope::{Size, measure};
use kataract::cli::bench::units;

fn main() {
    let size = if kit::is_real() { Size::Full } else { Size::Short };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    for row in measure(folder.path(), size).expect("loopback and direct I/O") {
        println!("{:<60} {:>12} {}", row.name, units::number(row.value), row.unit);
    }
}
