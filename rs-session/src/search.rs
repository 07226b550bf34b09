//! Finds sessions: by who, for what, where, how it ended, and by what was typed or shown.
//!
//! There is no index that could disagree with the records: what is asked is read from them. Facts of the session are
//! compared first; contents are read only where a question needs them, record by record, until the first that fits.

use crate::history::{Entry, HistoryError, SessionState, SessionSummary, Transcript};
use crate::record::{ApprovalStep, Content, ContentKey, OutputData};

/// What a session must be like; what is not asked fits everything. Texts are found anywhere in what they are compared
/// with, whatever the case of their letters.
///
/// ```
/// use rs_session::search::Search;
///
/// assert!(!Search::default().needs_contents());
/// assert!(Search { command: Some("Get-Process".into()), ..Search::default() }.needs_contents());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// The engineer, by name or by fingerprint of the key.
    pub engineer: Option<String>,
    /// Number of the support request, whole.
    pub support_request: Option<String>,
    /// Name of the node.
    pub node: Option<String>,
    /// Cause of the end, such as `revoked`, or state of the session, such as `live`; whole.
    pub outcome: Option<String>,
    /// A line that was sent, permitted or refused.
    pub command: Option<String>,
    /// Anything that was typed or shown. What was removed or masked is not found.
    pub text: Option<String>,
}

impl Search {
    /// Whether contents have to be read.
    #[must_use]
    pub const fn needs_contents(&self) -> bool {
        self.command.is_some() || self.text.is_some()
    }

    /// Whether `session` fits. In contents that `key` does not open nothing is found.
    ///
    /// # Errors
    /// [`HistoryError`] where contents have to be read and cannot be, and nothing before that place fits.
    pub fn fits(&self, session: &SessionSummary, key: &ContentKey) -> Result<bool, HistoryError> {
        Ok(self.fits_facts(session) && self.fits_contents(session, key)?)
    }

    fn fits_facts(&self, session: &SessionSummary) -> bool {
        let fingerprint = session.engineer_key.fingerprint().to_string();
        let engineer = |wanted: &String| has(&session.engineer, wanted) || has(&fingerprint, wanted);
        self.engineer.as_ref().is_none_or(engineer)
            && self
                .support_request
                .as_ref()
                .is_none_or(|wanted| *wanted == session.support_request.to_string())
            && self.node.as_ref().is_none_or(|wanted| has(&session.node_name, wanted))
            && self.outcome.as_ref().is_none_or(|wanted| is_outcome(session, wanted))
    }

    fn fits_contents(&self, session: &SessionSummary, key: &ContentKey) -> Result<bool, HistoryError> {
        let mut command = self.command.as_ref().map(|text| text.to_lowercase());
        let mut text = self.text.as_ref().map(|text| text.to_lowercase());
        if command.is_none() && text.is_none() {
            return Ok(true);
        }
        for entry in Transcript::open(&session.record, key.clone())? {
            let Entry { content: Some(content), .. } = entry? else { continue };
            if command
                .as_ref()
                .is_some_and(|wanted| line(&content).is_some_and(|line| has_lower(line, wanted)))
            {
                command = None;
            }
            if text.as_ref().is_some_and(|wanted| texts(&content).iter().any(|text| has_lower(text, wanted)))
            {
                text = None;
            }
            if command.is_none() && text.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn is_outcome(session: &SessionSummary, wanted: &str) -> bool {
    let state = match session.state {
        SessionState::Live => "live",
        SessionState::Ended => "ended",
        SessionState::CutOff => "cutoff",
        SessionState::Damaged => "damaged",
    };
    let plain = wanted.replace('-', "");
    let cause = session.end_cause.map(|cause| cause.as_str().replace('-', ""));
    plain.eq_ignore_ascii_case(state) || cause.is_some_and(|cause| cause.eq_ignore_ascii_case(&plain))
}

fn has(text: &str, wanted: &str) -> bool {
    has_lower(text, &wanted.to_lowercase())
}

fn has_lower(text: &str, wanted: &str) -> bool {
    if text.is_ascii() && wanted.is_ascii() {
        let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
        return wanted.is_empty() || text.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted));
    }
    text.to_lowercase().contains(wanted)
}

const fn line(content: &Content) -> Option<&str> {
    match content {
        Content::Request(request) => Some(request.line.as_str()),
        Content::Refusal(refusal) => Some(refusal.line.as_str()),
        _ => None,
    }
}

fn texts(content: &Content) -> Vec<&str> {
    match content {
        Content::Start(start) => vec![&start.reason, &start.granted_by, &start.client],
        Content::Request(request) => vec![&request.line],
        Content::Refusal(refusal) => vec![&refusal.line, &refusal.message],
        Content::Output(output) => match &output.data {
            OutputData::Text(text) | OutputData::Objects(text) | OutputData::Error(text) => vec![text],
        },
        Content::Finished(finished) => vec![&finished.message],
        Content::Approval(approval) => match &approval.step {
            ApprovalStep::Asked { summary, .. } => vec![summary],
            ApprovalStep::Declined { by, reason } => vec![by, reason],
            ApprovalStep::Approved { by } => vec![by],
            ApprovalStep::Unanswered => Vec::new(),
        },
        Content::Note(note) => vec![&note.text],
        Content::End(end) => vec![&end.message],
        Content::Interrupt(_) | Content::Receipt => Vec::new(),
    }
}
