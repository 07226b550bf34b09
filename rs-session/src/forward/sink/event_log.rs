//! The event log of Windows: one event, one entry of the Application log, with the event's own number.
//!
//! Entries come from the source [`EVENT_SOURCE`], which has to be registered once ([`register_source`]) with a program that holds
//! the text of the numbers 18000 to 18299 in a message table; for each of them it is `%1`, so that the log shows what the entry
//! itself says. Without such a program an entry is kept all the same, and shown behind a remark that its description is missing.
//!
//! An entry has two strings: the event in the collector's format, and its id. Viewers replace `%` and a number in a string by
//! other texts, so a blank is put between both: what an engineer typed cannot change what is shown.

use std::io;
use std::path::Path;

use async_trait::async_trait;

use super::{Encoded, Mark, Sink, SinkError};
use crate::forward::event::Severity;

mod sys;

/// Name of the source, as the log shows it.
pub const EVENT_SOURCE: &str = "RemoteSupport";
/// Longest text of an entry, in UTF-16 units; Windows takes 31,839. A longer one is cut and ends in `…`.
pub const ENTRY_UNITS_MAX: usize = 31_000;

/// Writes entries of the source [`EVENT_SOURCE`].
#[derive(Debug, Clone, Copy, Default)]
pub struct EventLogSink(());

impl EventLogSink {
    /// A sink for the event log of this machine.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

#[async_trait]
impl Sink for EventLogSink {
    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError> {
        let entries: Vec<_> = batch
            .iter()
            .map(|event| {
                let text = String::from_utf8_lossy(&event.bytes);
                (event.event.kind, [text.as_ref(), event.event.id.as_str()].map(entry_text))
            })
            .collect();
        // The log may be on a disk that hangs.
        let written = tokio::task::spawn_blocking(move || {
            let log = sys::Log::open(EVENT_SOURCE)?;
            entries.iter().try_for_each(|(kind, strings)| {
                log.report(class_of(kind.severity()), u32::from(kind.number()), strings)
            })
        });
        written.await.map_err(io::Error::other)??;
        Ok(None)
    }
}

/// Registers the source [`EVENT_SOURCE`], whose texts are in `program`.
///
/// # Errors
/// Where the registry of the machine may not be written.
pub fn register_source(program: &Path) -> io::Result<()> {
    sys::register(EVENT_SOURCE, program)
}

/// Removes the source; entries that were written stay. One that is not there is no error.
///
/// # Errors
/// As [`register_source`].
pub fn remove_source() -> io::Result<()> {
    sys::remove(EVENT_SOURCE)
}

const fn class_of(severity: Severity) -> sys::Class {
    match severity {
        Severity::Informational | Severity::Notice => sys::Class::Information,
        Severity::Warning => sys::Class::Warning,
        Severity::Critical => sys::Class::Error,
    }
}

/// `text` as an entry takes it: without zeros, which would end it, and cut to [`ENTRY_UNITS_MAX`].
fn entry_text(text: &str) -> Vec<u16> {
    let mut units = Vec::new();
    let mut before = ' ';
    for character in text.chars().filter(|character| *character != '\0') {
        if before == '%' && (character == '%' || character.is_ascii_digit()) {
            units.push(u16::from(b' '));
        }
        before = character;
        units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
        if units.len() > ENTRY_UNITS_MAX {
            units.truncate(ENTRY_UNITS_MAX - 1);
            // Half of a pair stands for no character.
            units.pop_if(|last| (0xd800..0xdc00).contains(last));
            units.push(0x2026);
            break;
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{Event, EventKind, Format};

    #[test]
    fn texts_are_cut_past_their_bound_and_not_at_it() {
        let units = entry_text;
        let at = "x".repeat(ENTRY_UNITS_MAX);
        assert_eq!(units(&at), at.encode_utf16().collect::<Vec<_>>());
        let past = units(&format!("{at}x"));
        assert_eq!((past.len(), past.last()), (ENTRY_UNITS_MAX, Some(&0x2026)));
        let pairs = String::from_utf16(&units(&format!("{}😀x", "x".repeat(ENTRY_UNITS_MAX - 2))));
        assert!(pairs.is_ok_and(|text| text.ends_with("x…")), "no half character");
        assert_eq!(units("a\0b"), [0x61, 0x62]);
    }

    #[test]
    fn sec38_no_text_names_another_one() {
        let shown = |text: &str| String::from_utf16(&entry_text(text)).unwrap();
        assert_eq!(shown("%1 %%5 50% % 1 %a"), "% 1 % % 5 50% % 1 %a");
    }

    #[tokio::test]
    async fn q02_the_log_takes_an_entry_of_each_kind() {
        let encoded = |kind: &EventKind| {
            let event = Event::new("n/1", "node-01", *kind, "2026-11-28T10:00:00Z".parse().unwrap(), "text");
            Encoded { bytes: Format::Text.encode(&event), event }
        };
        let batch: Vec<_> = EventKind::ALL.iter().map(encoded).collect();
        EventLogSink::new().deliver(&batch).await.unwrap();
    }
}
