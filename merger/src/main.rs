//! The `merger` program: see [`merger::Args`].

use std::process::ExitCode;

use clap::Parser;
use protocol::Exit;

fn main() -> ExitCode {
    match merger::run(merger::Args::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            protocol::tell_error(error.chain());
            Exit::Failed.into()
        }
    }
}
