//! How a program ended, as its exit code says it.

use std::process::ExitCode;

/// The exit codes of every Imagefleet program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: all done.
    Done,
    /// 1: failed.
    Failed,
    /// 2: wrong usage (also clap's own).
    Usage,
    /// 3: finished, but some pictures could not be read.
    SomeUnreadable,
    /// 130: interrupted by the person.
    Interrupted,
}

impl Exit {
    /// The code as a number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::SomeUnreadable => 3,
            Self::Interrupted => 130,
        }
    }

    /// [`Exit::SomeUnreadable`] if any picture failed, else [`Exit::Done`].
    pub fn after(failed: u64) -> Self {
        if failed > 0 { Self::SomeUnreadable } else { Self::Done }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
