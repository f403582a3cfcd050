use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match query::run(&query::Args::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            query::note(&format!("query: {error:#}"));
            query::exit_of(&error).into()
        }
    }
}
