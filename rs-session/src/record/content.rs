//! What records hold besides their skeleton: typed, as JSON, each with its own shape.

use rs_consent::{AccessLevel, EndCause};
use serde::{Deserialize, Serialize};

use super::skeleton::Kind;
use crate::operations::wire::Status;

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
#[serde(rename_all = "camelCase")]
pub struct OutputContent {
    /// Number of the line that caused it.
    pub invocation: u64,
    /// What was printed.
    #[serde(flatten)]
    pub data: OutputData,
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
}

/// Content of a wish to stop the running operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterruptContent {
    /// Number of the line.
    pub invocation: u64,
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
            Self::Output(content) => serde_json::to_vec(content),
            Self::Finished(content) => serde_json::to_vec(content),
            Self::Interrupt(content) => serde_json::to_vec(content),
            Self::Receipt => Ok(b"{}".to_vec()),
            Self::Note(content) => serde_json::to_vec(content),
            Self::End(content) => serde_json::to_vec(content),
        }
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
            Kind::Note => Self::Note(serde_json::from_slice(bytes)?),
            Kind::End => Self::End(serde_json::from_slice(bytes)?),
        })
    }
}
