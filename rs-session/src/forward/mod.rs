//! What happened on a node, told to collectors: JSON lines, syslog, CEF, OCSF, by file, network and webhook.
//!
//! An [`Event`] is one thing that happened, with an id of its own that never changes: forwarding the same thing twice gives
//! the same id. [`Format`] writes it in a collector's language. What a command printed is never forwarded; that stays in the
//! record on the node.
//!
//! ```
//! use rs_session::forward::{Event, EventKind, Format};
//!
//! let at = "2026-11-28T10:00:00Z".parse().unwrap();
//! let event = Event::new("0f3a/7", "node-01", EventKind::ConsentRevoked, at, "the operator took the consent back");
//! let line = String::from_utf8(Format::Cef.encode(&event)).unwrap();
//! assert!(line.starts_with("CEF:0|Remote Support|remote-support|"));
//! assert!(line.contains("|18104|Consent revoked|5|"));
//! ```
//!
//! | module | idea |
//! | --- | --- |
//! | [`event`] | the event, its kinds and their stable numbers |
//! | [`encode`] | the formats |
//! | [`records`], [`node_log`] | the events in a session's record, and in the node log |
//! | [`source`] | node log and records as one ordered stream with a position |
//! | [`cursor`] | how far a collector is, durable |
//! | [`sink`] | the ways to a collector |
//! | [`pump`] | source to sink, for ever, each event once |

pub mod encode;
pub mod event;
pub mod node_log;
pub mod records;

#[cfg(feature = "forward")]
pub mod cursor;
#[cfg(feature = "forward")]
pub mod pump;
#[cfg(feature = "forward")]
pub mod sink;
#[cfg(feature = "forward")]
pub mod source;

pub use self::encode::Format;
pub use self::event::{Event, EventKind, Outcome, Severity};
