//! What records hold besides their skeleton: typed, as JSON, each with its own shape.

use rs_consent::{AccessLevel, EndCause};
use serde::{Deserialize, Serialize};

use super::json_text;
use super::skeleton::Kind;
use crate::operations::wire::Status;
use crate::redact::Masked;

/// The content of a record, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Of record 0.
    Start(StartContent),
    /// Of a permitted line.
    Request(RequestContent),
    /// Of a refused line.
    Refusal(RefusalContent),
    /// Of something that was printed.
    Output(OutputContent),
    /// Of the end of an operation.
    Finished(FinishedContent),
    /// Of a wish to stop.
    Interrupt(InterruptContent),
    /// Of a receipt; all is in the skeleton.
    Receipt,
    /// Of a question to the operator, or its answer.
    Approval(ApprovalContent),
    /// Of a remark.
    Note(NoteContent),
    /// Of the end of the session.
    End(EndContent),
}

/// Content of record 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartContent {
    /// What the operator wrote as the reason of the support request.
    pub reason: String,
    /// When the level ends at the latest, RFC 3339.
    pub expires_at: chrono::DateTime<chrono::Utc>,
    /// Who granted, as user@host.
    pub granted_by: String,
    /// Name and version of the engineer's client, as it calls itself.
    pub client: String,
    /// The desk's assignment, as the engineer presented it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Box<rs_consent::statement::Envelope>>,
}

/// Content of a permitted line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestContent {
    /// Number of the line in this session, from 1.
    pub invocation: u64,
    /// The line as the engineer sent it.
    pub line: String,
    /// The line as it was understood: each operation with its parameters, typed.
    pub plan: serde_json::Value,
    /// Level in force when it was permitted.
    pub access_level: AccessLevel,
}

/// Content of a refused line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusalContent {
    /// Number of the line in this session, from 1.
    pub invocation: u64,
    /// The line as the engineer sent it.
    pub line: String,
    /// Reason code, in kebab-case.
    pub code: String,
    /// Column of the fault, from 1, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The reason in words.
    pub message: String,
}

/// Content of something that an operation printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "OutputFields")]
pub struct OutputContent {
    /// Number of the line that caused it.
    pub invocation: u64,
    /// What was printed.
    #[serde(flatten)]
    pub data: OutputData,
}

/// The fields of an [`OutputContent`], as they are read: `flatten` would first take everything into a buffer of its own, and
/// output is by far the most of a record.
#[derive(Deserialize)]
struct OutputFields {
    invocation: u64,
    text: Option<String>,
    objects: Option<String>,
    error: Option<String>,
}

impl TryFrom<OutputFields> for OutputContent {
    type Error = &'static str;

    fn try_from(fields: OutputFields) -> Result<Self, Self::Error> {
        let data = match (fields.text, fields.objects, fields.error) {
            (Some(text), None, None) => OutputData::Text(text),
            (None, Some(objects), None) => OutputData::Objects(objects),
            (None, None, Some(error)) => OutputData::Error(error),
            _ => return Err("output is one of `text`, `objects` and `error`"),
        };
        Ok(Self { invocation: fields.invocation, data })
    }
}

impl OutputContent {
    /// As `serde_json` writes it.
    fn encode(&self) -> Vec<u8> {
        let (name, text) = match &self.data {
            OutputData::Text(text) => ("text", text),
            OutputData::Objects(text) => ("objects", text),
            OutputData::Error(text) => ("error", text),
        };
        let mut out = format!("{{\"invocation\":{},\"{name}\":", self.invocation).into_bytes();
        json_text::write(text, &mut out);
        out.push(b'}');
        out
    }
}

/// What an operation printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OutputData {
    /// Text, formatted at the node; no control characters but newline and tab.
    Text(String),
    /// Objects as JSON, one on a line; a line may go on in the next record.
    Objects(String),
    /// What went wrong without ending the operation.
    Error(String),
}

impl OutputData {
    /// What was printed, whatever kind it is of.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Objects(text) | Self::Error(text) => text,
        }
    }
}

/// Content of the end of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FinishedContent {
    /// Number of the line.
    pub invocation: u64,
    /// How it ended.
    pub status: Status,
    /// How long it ran, in milliseconds.
    pub elapsed_ms: u64,
    /// What there is to say; empty when all went well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What held the operation in from before it ran, as the worker set it up; empty where nothing was started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measures: Vec<String>,
}

/// Content of a wish to stop the running operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterruptContent {
    /// Number of the line.
    pub invocation: u64,
}

/// Content of a question to the operator, or of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalContent {
    /// Number of the line that waits.
    pub invocation: u64,
    /// Names the question.
    pub approval_id: uuid::Uuid,
    /// What happened to it.
    #[serde(flatten)]
    pub step: ApprovalStep,
}

/// What happened to a question to the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum ApprovalStep {
    /// It was put; the call waits.
    Asked {
        /// What it is about.
        subject: ApprovalSubject,
        /// What the call would do, in a sentence.
        summary: String,
        /// The same for programs: the plan with its effects, or the manifest.
        details: serde_json::Value,
        /// How long the operator has to answer, in seconds.
        wait_seconds: u64,
    },
    /// The operator said Yes; the call goes on.
    Approved {
        /// Who, as the operating system of the node vouches for it.
        by: String,
    },
    /// The operator said No; the call does not go on.
    Declined {
        /// Who, as the operating system of the node vouches for it.
        by: String,
        /// Why, in the operator's words; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// Nobody answered in time; the call does not go on.
    Unanswered,
}

/// In a sentence, for engineers, operators and readers of the transcript.
impl std::fmt::Display for ApprovalStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asked { summary, wait_seconds, .. } => {
                write!(f, "waiting for the operator, at most {wait_seconds} s: {summary}")
            }
            Self::Approved { by } => write!(f, "approved by {by}"),
            Self::Declined { by, reason } if reason.is_empty() => write!(f, "declined by {by}"),
            Self::Declined { by, reason } => write!(f, "declined by {by}: {reason}"),
            Self::Unanswered => f.write_str("not answered in time, so not approved"),
        }
    }
}

/// What the operator is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalSubject {
    /// A call that changes the state of the node.
    Change,
    /// Data that would leave the owner's site.
    Release,
    /// A higher level, for sessions to come.
    Level,
}

impl ApprovalSubject {
    /// The word for it, in listings and on record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Release => "release",
            Self::Level => "level",
        }
    }
}

/// Content of a remark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NoteContent {
    /// The remark.
    pub text: String,
}

/// Content of the end record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndContent {
    /// Why the session ended.
    pub cause: EndCause,
    /// The cause in words.
    pub message: String,
    /// How many lines were on record to be run; one that the end of access stopped before its start is among them.
    pub operations: u64,
    /// Number of the last of them; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_invocation: Option<u64>,
    /// From the moment the gate closed to the death of the last process of the running operation, in
    /// microseconds; absent when nothing ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed_after_us: Option<u64>,
}

impl Content {
    /// The kind of record that this content belongs to.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Start(_) => Kind::Start,
            Self::Request(_) => Kind::Request,
            Self::Refusal(_) => Kind::Refusal,
            Self::Output(_) => Kind::Output,
            Self::Finished(_) => Kind::Finished,
            Self::Interrupt(_) => Kind::Interrupt,
            Self::Receipt => Kind::Receipt,
            Self::Approval(_) => Kind::Approval,
            Self::Note(_) => Kind::Note,
            Self::End(_) => Kind::End,
        }
    }

    /// The content as JSON bytes.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Start(content) => serde_json::to_vec(content),
            Self::Request(content) => serde_json::to_vec(content),
            Self::Refusal(content) => serde_json::to_vec(content),
            Self::Output(content) => Ok(content.encode()),
            Self::Finished(content) => serde_json::to_vec(content),
            Self::Interrupt(content) => serde_json::to_vec(content),
            Self::Receipt => Ok(b"{}".to_vec()),
            Self::Approval(content) => serde_json::to_vec(content),
            Self::Note(content) => serde_json::to_vec(content),
            Self::End(content) => serde_json::to_vec(content),
        }
    }

    /// What was masked in a content, from its JSON bytes; empty where nothing was.
    ///
    /// # Errors
    /// When the bytes are not JSON, or the list has another shape.
    pub fn masked(bytes: &[u8]) -> Result<Vec<Masked>, serde_json::Error> {
        #[derive(Deserialize)]
        struct WithMasked {
            #[serde(default)]
            masked: Vec<Masked>,
        }
        serde_json::from_slice::<WithMasked>(bytes).map(|with| with.masked)
    }

    /// Reads the content of a record of `kind`.
    ///
    /// # Errors
    /// When the bytes are not the JSON of that kind.
    pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            Kind::Start => Self::Start(serde_json::from_slice(bytes)?),
            Kind::Request => Self::Request(serde_json::from_slice(bytes)?),
            Kind::Refusal => Self::Refusal(serde_json::from_slice(bytes)?),
            Kind::Output => Self::Output(serde_json::from_slice(bytes)?),
            Kind::Finished => Self::Finished(serde_json::from_slice(bytes)?),
            Kind::Interrupt => Self::Interrupt(serde_json::from_slice(bytes)?),
            Kind::Receipt => Self::Receipt,
            Kind::Approval => Self::Approval(serde_json::from_slice(bytes)?),
            Kind::Note => Self::Note(serde_json::from_slice(bytes)?),
            Kind::End => Self::End(serde_json::from_slice(bytes)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_written_as_serde_json_writes_it() {
        for data in [OutputData::Text, OutputData::Objects, OutputData::Error] {
            let content = OutputContent { invocation: u64::MAX, data: data("a \"b\"\n".to_owned()) };
            assert_eq!(content.encode(), serde_json::to_vec(&content).expect("JSON"));
            let read: OutputContent = serde_json::from_slice(&content.encode()).expect("its own JSON");
            assert_eq!(read, content);
        }
    }

    #[test]
    fn output_is_of_one_kind_and_other_fields_are_passed_over() {
        let read = |json: &str| Content::decode(Kind::Output, json.as_bytes());
        let data = OutputData::Error("no".to_owned());
        let content = Content::Output(OutputContent { invocation: 7, data });
        let masked = r#"{"invocation":7,"error":"no","masked":[{"form":"x"}]}"#;
        assert_eq!(read(masked).expect("one kind"), content);
        for wrong in [
            r#"{"invocation":7}"#,
            r#"{"invocation":7,"text":null}"#,
            r#"{"invocation":7,"text":"a","error":"no"}"#,
            r#"{"invocation":7,"text":"a","text":"b"}"#,
            r#"{"text":"a"}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
