//! `worker`: see `worker --help`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    worker::run(worker::Args::parse()).into()
}
