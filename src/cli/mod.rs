//! Floor 10: words typed by a person. One file per noun; every command takes its arguments and an [`output::Out`].
//!
//! Exit codes: 0 done, 1 the command failed (one line on standard error says why), 2 the words were not understood.
#![allow(clippy::disallowed_methods, reason = "the outermost floors may touch the operating system")]

pub mod args;
pub mod banner;
pub mod bench;
pub mod client;
pub mod consume;
pub mod core;
pub mod dump_log;
pub mod format;
pub mod output;
pub mod probe;
pub mod produce;
#[cfg(feature = "sim")]
pub mod sim;
pub mod start;
pub mod time_text;
pub mod topic;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use output::{Failure, Out};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // Prints help, version and usage errors itself (exit codes 0 and 2).
    let args = Args::parse();
    let stdout = std::io::stdout();
    let mut sink = std::io::BufWriter::new(stdout.lock());
    let mut out = Out::new(&mut sink, args.json);
    let result = run(&args, &mut out).and_then(|()| out.flush());
    // What was printed before a failure belongs before its message.
    let result = match result {
        Err(failure) => out.flush().and(Err(failure)),
        Ok(()) => Ok(()),
    };
    match result {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Reported) => ExitCode::FAILURE,
        Err(Failure::Message(message)) => {
            eprintln!("kataract: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one subcommand.
pub fn run(args: &Args, out: &mut Out<'_>) -> Result<(), Failure> {
    match &args.command {
        Command::Start(start) => start::run(start, out),
        Command::Format(format) => format::run(format, out),
        Command::Topic(topic) => topic::run(&args.client, topic, out),
        Command::Core(core) => core::run(&args.client, core, out),
        Command::Produce(produce) => produce::run(&args.client, produce, out),
        Command::Consume(consume) => consume::run(&args.client, consume, out),
        Command::DumpLog(dump) => dump_log::run(dump, out),
        Command::Probe(probe) => probe::run(probe, out),
        Command::Bench(bench) => bench::run(&args.client, &bench.verb, out),
        #[cfg(feature = "sim")]
        Command::Sim(sim) => sim::run(sim, out),
    }
}
