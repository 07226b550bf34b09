//! The end-of-access statement, held against the record that it speaks of.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rs_consent::statement::{ENVELOPE_BYTES_MAX, Envelope};

use super::RecordAudit;
use crate::ending::EndOfAccess;
use crate::record::{Digest, Report};

impl RecordAudit {
    /// A statement that lies at `path` must be the node's, say of the record what the record says of itself, and be the one
    /// that the node's log names, by its SHA-256. One that is not there is no fault where the log names none: it may not
    /// have been written yet.
    pub(super) fn must_be_stated(&mut self, path: &Path, named: Option<Digest>) -> io::Result<()> {
        // A session that ends while it is read has a statement by the time of this look, and no end in what was read.
        let Some(identity) = self.report.session.clone().filter(|_| self.report.end.is_some()) else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Whoever deletes a session by the rules deletes both.
                if named.is_some() && self.path.exists() {
                    self.last_fault(
                        "the end-of-access statement is gone, and the node's log names one".to_owned(),
                    );
                }
                return Ok(());
            }
            file => file?.take(ENVELOPE_BYTES_MAX as u64 + 2).read_to_end(&mut bytes)?,
        };
        let opened = Envelope::from_json(bytes.trim_ascii_end())
            .map_err(|error| error.to_string())
            .and_then(|envelope| envelope.open(&[identity.node.key]).map_err(|error| error.to_string()));
        let fault = match opened {
            Err(why) => Some(format!("the end-of-access statement does not hold: {why}")),
            Ok(statement) => contradiction(&statement, &self.report).map(|what| {
                format!("the end-of-access statement, which the node signed, contradicts the record: {what}")
            }),
        };
        let other = || {
            let is_other = named.is_some_and(|named| named != Digest::of(&bytes));
            is_other.then(|| "the end-of-access statement is another than the node's log names".to_owned())
        };
        if let Some(fault) = fault.or_else(other) {
            self.last_fault(fault);
        }
        Ok(())
    }

    fn last_fault(&mut self, fault: String) {
        let last = self.report.records.checked_sub(1);
        self.report.fault(last, 0, fault);
    }
}

/// Where a statement and a record part.
fn contradiction(statement: &EndOfAccess, report: &Report) -> Option<String> {
    let identity = report.session.as_ref()?;
    let differs = |what: &str, said: String, found: String| {
        (said != found).then(|| format!("it says {what} {said}, and the record {found}"))
    };
    let none = || "none".to_owned();
    let newest = report.head.map(|(_, link)| link.to_string());
    differs("session", statement.session_id.to_string(), identity.session_id.to_string())
        .or_else(|| differs("node", statement.node.key.to_string(), identity.node.key.to_string()))
        .or_else(|| {
            differs("engineer", statement.engineer.key.to_string(), identity.engineer.key.to_string())
        })
        .or_else(|| differs("grant", statement.grant_id.to_string(), identity.grant_id.to_string()))
        .or_else(|| {
            differs("request", statement.support_request.to_string(), identity.support_request.to_string())
        })
        .or_else(|| differs("number of records", statement.records.to_string(), report.records.to_string()))
        .or_else(|| {
            let found = report.end.map_or_else(none, |cause| cause.to_string());
            differs("cause", statement.cause.to_string(), found)
        })
        .or_else(|| differs("end record", statement.head.to_string(), newest.unwrap_or_else(none)))
}
