//! What differs between Windows and Unix: default paths, who may read a file, names of user and machine, and the
//! local socket between the program's commands and the agent. The rest of the program is the same on both.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;
