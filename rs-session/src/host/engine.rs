//! What a host needs of whatever carries out operations.

use async_trait::async_trait;
use rs_consent::AccessLevel;

use crate::operations::wire::Finish;
use crate::protocol::{Form, Offered, Planned, Refused};
use crate::record::{Digest, OutputData};

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
        level: AccessLevel,
        form: Form,
        columns: Option<u16>,
    ) -> Result<Planned<Self::Work>, Refused>;

    /// What `level` permits, for completion and help.
    fn offered(&self, level: AccessLevel) -> Vec<Offered>;

    /// What the operations are pinned to.
    fn catalog_sha256(&self) -> Digest;

    /// Starts the work.
    ///
    /// # Errors
    /// The reason in words for which it could not be started; nothing of it runs then.
    async fn start(&self, work: Self::Work) -> Result<Box<dyn RunningWork>, String>;
}

/// What running work does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It printed something; at most 64 KiB.
    Output(OutputData),
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

    /// Asks it to stop; it then ends by itself soon, or is killed.
    async fn interrupt(&mut self);

    /// Kills it with all its processes and returns when none is left.
    async fn kill(&mut self);
}
