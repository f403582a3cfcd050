//! When a program is to end before its work is done: the person pressed Ctrl-C, the controller that started it is gone,
//! or the lock of its index was lost.
//!
//! One [`Stop`] goes to whatever may take long. Who finds a reason calls [`Stop::now`]; who works looks at it between two
//! steps. Nobody is killed by it: what was begun is put away in order. A person who does not want to wait for that asks a
//! second time.
#![warn(missing_docs)]

mod attended;
mod signals;
mod wish;

pub use attended::{PING, SILENCE, attended};
pub use signals::{Hangup, end, end_within, on_signals};
pub use wish::{Reason, Stop};
