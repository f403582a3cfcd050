//! The machines: the `hosts` file, path maps, and how programs are started on a host and spoken to.
//!
//! No native code, and nothing that only Linux has: `controller` and `query` run on a Mac.
#![warn(missing_docs)]

mod channel;
mod hosts;
mod path_map;
mod program;
pub mod state;

pub use channel::{Channel, Ended, Incoming, StartError, start};
pub use hosts::{HostSpec, Hosts, HostsError};
pub use path_map::{BadPathMap, PathMap};
pub use program::{NoProgram, hostname, program};
