//! What a host needs of whatever carries out operations.

use async_trait::async_trait;
use rs_consent::{AccessLevel, ApprovalRule, GrantId, RequestNumber, Scope};
use uuid::Uuid;

use crate::operations::wire::Finish;
use crate::protocol::{Answer, Ask, Form, Offered, Planned, Refused};
use crate::record::{Digest, OutputData};

/// What one session may do: the level in force, and what the operator's consent narrows besides it.
#[derive(Debug, Clone, Copy)]
pub struct Rights<'a> {
    /// The level in force.
    pub level: AccessLevel,
    /// Whose lists count, and what is taken out of them.
    pub scope: &'a Scope,
}

/// Reads lines, permits or refuses them, and carries out what was permitted.
///
/// [`crate::operations`] has the product's engine; a tool with operations of its own puts another one here and gets
/// consent, recording and the end of access with it.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// A permitted line, ready to run.
    type Work: Send + 'static;

    /// Reads `line` and permits or refuses it. Nothing may run or be touched here.
    ///
    /// # Errors
    /// [`Refused`] with the reason.
    fn plan(
        &self,
        line: &str,
        rights: Rights<'_>,
        form: Form,
        columns: Option<u16>,
    ) -> Result<Planned<Self::Work>, Refused>;

    /// What `rights` permit, for completion and help.
    fn offered(&self, rights: Rights<'_>) -> Vec<Offered>;

    /// What the operations are pinned to.
    fn catalog_sha256(&self) -> Digest;

    /// Starts the work.
    ///
    /// # Errors
    /// The reason in words for which it could not be started; nothing of it runs then.
    async fn start(&self, work: Self::Work, occasion: &Occasion) -> Result<Box<dyn RunningWork>, String>;

    /// The session is over: what the engine keeps for it, such as a process of its own, ends. Returns when nothing of it
    /// is left.
    async fn forget(&self, _session: Uuid) {}
}

/// In which session work starts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Occasion {
    /// The session.
    pub session: Uuid,
    /// The engineer, as the desk names them.
    pub engineer: String,
    /// The support request that is worked on.
    pub request: RequestNumber,
    /// The grant that the session stands on.
    pub grant: GrantId,
    /// Which calls wait for the operator's answer, by the grant as it is now.
    pub approval: ApprovalRule,
}

/// What running work does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It printed something; at most 64 KiB.
    Output(OutputData),
    /// It says something that must be on record whole before anything that follows.
    Note(String),
    /// It asks the operator, and stands still until [`RunningWork::answered`] or its end.
    Ask(Ask),
    /// It ended by itself; nothing follows.
    Finished(Finish),
}

/// Work that runs.
#[async_trait]
pub trait RunningWork: Send {
    /// What it does next. It may stand still until it is asked, so a slow engineer slows the work down.
    ///
    /// # Cancel safety
    /// Nothing may be lost when the future is dropped.
    async fn next(&mut self) -> Progress;

    /// The operator's answer to its question; the answer is on record, and for a Yes the gate has been asked once more.
    /// After a No it must not do what it asked for.
    async fn answered(&mut self, answer: Answer);

    /// Asks it to stop; it then ends by itself soon, or is killed.
    async fn interrupt(&mut self);

    /// Kills it with all its processes and returns when none is left.
    async fn kill(&mut self);
}
