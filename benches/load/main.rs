//! Shapes of load that budget.md speaks of, by a number of bytes, with the raw client of `kataract bench`: several
//! brokers in turn, medians and ratios. `kataract bench compare` does the same by time and keeps the results.
//!
//! `cargo bench --bench load -- run --broker HOST:PORT[=PID] ...` measures one broker;
//! `compare --broker NAME=HOST:PORT=PID --broker ...` several in turn, with medians and ratios.
#![allow(clippy::disallowed_methods, reason = "a program beside the broker: it reads clocks, threads and sockets")]

mod args;
mod compare;
mod paced;
mod produce;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    // `cargo test --benches` gives no words, `cargo bench -- --test` this one: the client has tests of its own.
    if words.is_empty() || words.iter().any(|word| word == "--test") {
        println!("load: needs a broker; see benches/README.md");
        return ExitCode::SUCCESS;
    }
    match args::parse(&words).and_then(|plan| compare::run(&plan)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::from(2)
        }
    }
}
