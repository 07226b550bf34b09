//! The node log: what happened on this node, in order, so that "nobody had access between t1 and t2" can be checked.
//!
//! It is one text file, one entry on a line, only ever appended to:
//!
//! ```text
//! line  = signature (128 hexadecimal digits) SPACE entry (one JSON object, at most 64 KiB) NEWLINE
//! ```
//!
//! The hashes and signatures, with `|` for concatenation of parts that are each preceded by their length as u64:
//!
//! ```text
//! link        = SHA-256("remote-support node log link v1\0"    | entry bytes)
//! previous    = link of the entry before; of entry 0: SHA-256("remote-support node log genesis v1\0" | log id)
//! signature   = Ed25519(key of this entry, "remote-support node log entry v1\0" log id link)
//! certificate = Ed25519(node key,          "remote-support node log key v1\0"   log id first key)
//! ```
//!
//! **The key moves forward with each entry.** Entry *n* names the public key that signs entry *n + 1*; the secret that
//! signed entry *n* is destroyed as soon as that entry is durable. So whoever takes the whole disk holds one secret, that
//! of the entry to come: they can go on from here, but cannot re-sign, change, insert or remove anything that was
//! written, and the secret that lies beside the log fits no shortened log either. What is left to them is to put back an
//! older copy of log *and* secret together; a [`Witness`] that was taken in between, or the head in any engineer's copy
//! of a record, shows it.
//!
//! | part | what |
//! | --- | --- |
//! | [`Entry`], [`Event`] | what a line says |
//! | [`Checker`], [`verify`] | whether the log is what was written |
//! | [`prove`] | who had access between two instants, or that nobody had |
//! | [`NodeLog`] | the one place that appends (feature `driver`) |

mod chain;
mod entry;
#[cfg(feature = "driver")]
mod file;
mod prove;

pub use chain::{Checker, FINDINGS_MAX, Fault, Finding, Report, verify};
pub use entry::{ENTRY_BYTES_MAX, Entry, Event, Head, Line, LineError, SessionHead, Witness};
#[cfg(feature = "driver")]
pub use file::{
    KEY_NAME, LOCK_WAIT, LOG_NAME, NodeLog, NodeLogError, Tail, key_follows, open_sessions, stated_sessions,
};
pub use prove::{
    Access, CLOCK_STEP_ALLOWED, GAP_MAX, Gap, GapKind, HEARTBEAT_IDLE, HEARTBEAT_LIVE, Proof, ProofVerdict,
    prove,
};
