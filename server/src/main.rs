use std::process::ExitCode;

use clap::Parser;
use protocol::Exit;

fn main() -> ExitCode {
    match server::run(&server::Args::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            protocol::tell_error(error.chain());
            Exit::Failed.into()
        }
    }
}
