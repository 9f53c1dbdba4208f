//! The process: parse the words, run one subcommand, turn its error into one line and an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    kataract::cli::main()
}
