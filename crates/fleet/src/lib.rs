//! The machines: the `hosts` file, path maps, and how programs are started on a host and spoken to.
//!
//! No native code, and nothing that only Linux has: `controller` and `query` run on a Mac.
#![warn(missing_docs)]

mod carried;
mod channel;
mod exchange;
mod forward;
mod host;
mod host_error;
mod host_spec;
mod hosts;
mod hosts_file;
mod hosts_words;
mod kept;
mod login;
mod master;
mod path_map;
mod process;
mod program;
mod remote;
mod ssh;
pub mod state;
mod trust;
mod way;

pub use carried::Carried;
pub use channel::{Channel, Ended, Incoming};
pub use forward::Forward;
pub use host::{Content, Host, Limits};
pub use host_error::{HostError, HostErrorKind};
pub use host_spec::HostSpec;
pub use hosts::{Hosts, HostsError};
pub use hosts_file::{Chosen, HostsFile};
pub use kept::kept_socket;
pub use master::end_connections;
pub use path_map::{BadPathMap, PathMap};
pub use program::{NoProgram, hostname, program};
