//! Files on disks and shares: they appear whole or not at all, in folders that are ours, and one program at a time changes
//! an index.
//!
//! Everything that Imagefleet writes, replaces or removes goes through here. It must stay free of native code, because
//! `controller` and `query` are built from it.
#![warn(missing_docs)]

pub mod atomic;
mod error;
mod folder;
mod lock;
mod odd_share;
pub mod ours;
mod owner;
mod people;
mod probe;
mod publish;
mod sharing;
pub mod together;
pub mod trust;

pub use error::Error;
pub use folder::{Folder, Kind};
pub use lock::{Beating, Held, Lost, RunLock};
pub use odd_share::{Ability, UNSYNCED, sync, unsynced};
pub use owner::Owner;
pub use people::People;
pub use probe::{Unfit, probe};
pub use publish::First;
