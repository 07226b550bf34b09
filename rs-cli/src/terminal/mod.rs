//! The terminal of a person: full-screen views, the pager of the engineer's console, and progress of long work.
//!
//! ```text
//! frame      what stands on a screen of a given size: head, body, foot          no input or output
//! scroll     which part of a long text is in the window, and search in it       no input or output
//! pager      a long result, a screenful at a time                               no input or output
//! screen     the terminal itself: taken, drawn on, given back whatever happens
//! progress   one line on standard error while something takes long
//! ```
//!
//! Everything that is drawn has passed [`safe`](crate::output::safe) or [`wrap`](crate::output::wrap), so nothing of a record
//! or of a node steers the terminal. Nothing is said by colour alone.

pub(crate) mod frame;
pub(crate) mod pager;
pub(crate) mod progress;
pub(crate) mod reader;
pub(crate) mod screen;
pub(crate) mod scroll;
