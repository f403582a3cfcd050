//! Files on disks and shares: they appear whole or not at all, and one program at a time changes an index.
//!
//! Everything that Imagefleet writes, replaces or removes goes through here. It knows paths, not what is in the files,
//! and must stay free of native code, because `controller` and `query` are built from it.
#![warn(missing_docs)]

pub mod atomic;
mod error;
mod lock;
mod sharing;
pub mod together;

pub use error::Error;
pub use lock::{Beating, Held, Owner, RunLock};
