//! `controller`: see `controller --help`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match controller::run(controller::Args::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            protocol::tell_error(error.chain());
            controller::exit_of(&error).into()
        }
    }
}
