use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match query::run(&query::Args::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            protocol::tell_error(error.chain());
            query::exit_of(&error).into()
        }
    }
}
