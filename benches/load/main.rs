//! A load client that is cheaper than any broker: it encodes its batches once, pipelines requests over raw sockets and
//! counts acknowledgements, so that what is measured is the broker. Works against every broker that speaks Produce 9,
//! Fetch 12 and CreateTopics 2. See `benches/README.md`.
//!
//! `cargo bench --bench load -- run --broker HOST:PORT[=PID] ...` measures one broker;
//! `compare --broker NAME=HOST:PORT=PID --broker ...` several in turn, with medians and ratios.
#![allow(clippy::disallowed_methods, reason = "a program beside the broker: it reads clocks, threads and sockets")]

mod args;
mod compare;
mod consume;
mod paced;
mod process;
mod produce;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    // `cargo test --benches` gives no words, `cargo bench -- --test` this one: only check that the bytes are right.
    if words.is_empty() || words.iter().any(|word| word == "--test") {
        wire::check();
        println!("load: what is sent is accepted and what is answered is understood; see benches/README.md to run it");
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
