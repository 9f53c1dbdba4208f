//! The process: parse the words, run one subcommand, turn its error into one line and an exit code.

use std::process::ExitCode;

use kataract::rt::allocator::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    kataract::cli::main()
}
