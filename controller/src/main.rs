//! `controller`: see `controller --help`.

use std::process::ExitCode;

use clap::Parser;
use protocol::Exit;

fn main() -> ExitCode {
    match controller::run(controller::Args::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            protocol::tell_error(error.chain());
            Exit::Failed.into()
        }
    }
}
