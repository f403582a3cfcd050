//! The `merger` program: see [`merger::Args`].

use std::process::ExitCode;

use clap::Parser;
use protocol::Exit;

fn main() -> ExitCode {
    match merger::run(merger::Args::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let mut causes = error.chain();
            if let Some(first) = causes.next() {
                eprintln!("error: {first}");
            }
            causes.for_each(|cause| eprintln!("  because {cause}"));
            Exit::Failed.into()
        }
    }
}
