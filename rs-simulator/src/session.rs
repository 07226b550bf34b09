//! The engineer's end of a simulated session.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use rs_consent::{AccessLevel, EndCause};
use rs_relay::client::RelayStream;
use rs_session::client::{Client, ClientEvent, Welcome};
use rs_session::operations::executor::Status;
use rs_session::protocol::Form;
use rs_session::record::{Content, OutputData};
use uuid::Uuid;

use crate::error::Error;

/// What became of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ran {
    /// It was permitted, and has ended.
    Finished {
        /// What it printed.
        text: String,
        /// What went wrong without ending it.
        errors: String,
        /// How it ended.
        status: Status,
        /// Why; empty if it ran to its end.
        message: String,
    },
    /// It was refused; nothing ran.
    Refused {
        /// Why, for programs, as [`rs_session::operations::Code`] has it.
        code: String,
        /// Where in the line, in characters from 1.
        column: Option<u32>,
        /// Why, for people.
        message: String,
    },
}

impl Ran {
    /// What it printed; empty for a refused line.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Finished { text, .. } => text,
            Self::Refused { .. } => "",
        }
    }

    /// The code, where it was refused.
    #[must_use]
    pub fn refused(&self) -> Option<&str> {
        match self {
            Self::Finished { .. } => None,
            Self::Refused { code, .. } => Some(code),
        }
    }

    /// Whether it ran to its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Finished { status: Status::Done, .. })
    }
}

/// One session, as its engineer has it.
#[derive(Debug)]
pub struct Session {
    client: Client<RelayStream>,
    copy: Copy,
    ended: Option<EndCause>,
}

/// The engineer's own copy of the record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Copy(Arc<Mutex<Vec<u8>>>);

impl Write for Copy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Session {
    pub(crate) fn new(client: Client<RelayStream>, copy: Copy) -> Self {
        Self { client, copy, ended: None }
    }

    /// Id of the session.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.client.welcome().session
    }

    /// Level in force.
    #[must_use]
    pub fn level(&self) -> AccessLevel {
        self.client.welcome().level
    }

    /// What the node said when it let the engineer in.
    #[must_use]
    pub const fn welcome(&self) -> &Welcome {
        self.client.welcome()
    }

    /// Runs a line and waits for its end.
    ///
    /// # Errors
    /// [`Error::Ended`] when the session ended first, [`Error::Broken`] when it was lost.
    pub async fn run(&mut self, line: &str) -> Result<Ran, Error> {
        let own = self.start(line).await?;
        let (mut text, mut errors) = (String::new(), String::new());
        loop {
            match self.next().await? {
                Content::Output(output) if output.invocation == own => match output.data {
                    OutputData::Error(line) => errors += &line,
                    data => text += data.text(),
                },
                Content::Refusal(refusal) if refusal.invocation == own => {
                    let (code, column, message) = (refusal.code, refusal.column, refusal.message);
                    return Ok(Ran::Refused { code, column, message });
                }
                Content::Finished(end) if end.invocation == own => {
                    return Ok(Ran::Finished { text, errors, status: end.status, message: end.message });
                }
                _ => {}
            }
        }
    }

    /// Sends a line and does not wait for it; gives its number.
    ///
    /// # Errors
    /// [`Error::Channel`] when the session was lost.
    pub async fn start(&mut self, line: &str) -> Result<u64, Error> {
        Ok(self.client.invoke(line, Form::Text, None).await?)
    }

    /// The next record of the session, such as a piece of output.
    ///
    /// # Errors
    /// [`Error::Ended`] when it was the last one, [`Error::Broken`] when the session was lost.
    pub async fn next(&mut self) -> Result<Content, Error> {
        if let Some(cause) = self.ended {
            return Err(Error::Ended(cause));
        }
        loop {
            match self.client.next().await? {
                ClientEvent::Record { content: Some(content), .. } => return Ok(content),
                ClientEvent::Ended { cause, .. } => {
                    self.ended = Some(cause);
                    // The node may have closed before.
                    let _closed = self.client.close().await;
                    return Err(Error::Ended(cause));
                }
                _ => {}
            }
        }
    }

    /// Reads on to the end of the session, and says why it ended.
    ///
    /// # Errors
    /// [`Error::Broken`] when the session was lost.
    pub async fn ended(&mut self) -> Result<EndCause, Error> {
        loop {
            match self.next().await {
                Ok(_) => {}
                Err(Error::Ended(cause)) => return Ok(cause),
                Err(error) => return Err(error),
            }
        }
    }

    /// Leaves, and waits for the end record.
    ///
    /// # Errors
    /// As [`Session::ended`].
    pub async fn leave(&mut self) -> Result<EndCause, Error> {
        if self.ended.is_none() {
            self.client.bye().await?;
        }
        self.ended().await
    }

    /// The engineer's own copy of the record, so far.
    #[must_use]
    pub fn copy(&self) -> Vec<u8> {
        self.copy.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The client below, for what is not here.
    pub fn client(&mut self) -> &mut Client<RelayStream> {
        &mut self.client
    }
}
