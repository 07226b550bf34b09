//! A record while it is being written: what the owner watches.
//!
//! Nothing is shown to anybody that would not survive a power cut, and the owner is no exception: what was read is synced
//! before it is given out, whoever wrote it.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::history::{Entry, HistoryError, entry};
use crate::record::{ContentKey, FILE_HEADER, FrameError, FrameReader, Kind, SessionIdentity};

/// Most entries that one call gives: what a long record holds comes in pieces.
pub const ENTRIES_MAX: usize = 256;

/// Follows one record file.
#[derive(Debug)]
pub struct Follow {
    file: File,
    path: PathBuf,
    /// Behind the last whole record that was given; 0 before the file's header was there.
    offset: u64,
    identity: Option<SessionIdentity>,
    key: ContentKey,
    ended: bool,
}

impl Follow {
    /// Begins at the beginning of a record; the file may still be without any. `key` opens what is sealed in it.
    ///
    /// # Errors
    /// [`HistoryError::Io`].
    pub fn open(path: &Path, key: ContentKey) -> Result<Self, HistoryError> {
        let file = crate::platform::open_to_sync(path)
            .map_err(|source| HistoryError::Io { path: path.to_owned(), source })?;
        Ok(Self { file, path: path.to_owned(), offset: 0, identity: None, key, ended: false })
    }

    /// The entries that were added since the last call, at most [`ENTRIES_MAX`]; they are durable. An empty answer means
    /// that there is nothing more at present.
    ///
    /// # Errors
    /// [`HistoryError`] when the record is damaged, or cannot be read or synced.
    pub fn read(&mut self) -> Result<Vec<Entry>, HistoryError> {
        let start = self.offset.max(FILE_HEADER.len() as u64);
        let length = self.file.metadata().map(|metadata| metadata.len());
        if length.map_err(|source| self.io(source))? < start {
            return Ok(Vec::new());
        }
        self.file.seek(SeekFrom::Start(start)).map_err(|source| self.io(source))?;
        // The reader wants a file from its beginning; what was read before is left out behind the header.
        let stream = BufReader::new((&FILE_HEADER[..]).chain(&self.file));
        let session = self.identity.as_ref().map(|identity| identity.session_id);
        let reader = FrameReader::new(stream).map_err(|source| self.damaged(source))?;
        let mut reader = reader.opening(self.key.clone(), session);
        let mut frames = Vec::new();
        while frames.len() < ENTRIES_MAX {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) | Err(FrameError::Torn { .. }) => break,
                Err(source) => return Err(self.damaged(source)),
            }
        }
        if frames.is_empty() {
            return Ok(Vec::new());
        }
        self.file.sync_data().map_err(|source| self.io(source))?;
        self.offset = start + reader.offset() - FILE_HEADER.len() as u64;
        for frame in &frames {
            let skeleton = frame.skeleton();
            if let Some(identity) = &skeleton.session {
                self.identity = Some(identity.clone());
            }
            self.ended |= skeleton.kind == Kind::End;
        }
        Ok(frames.iter().map(entry).collect())
    }

    /// Who, for what, under which consent; known after the first entry was read.
    #[must_use]
    pub const fn identity(&self) -> Option<&SessionIdentity> {
        self.identity.as_ref()
    }

    /// Whether the end record was read.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// The file.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    fn io(&self, source: io::Error) -> HistoryError {
        HistoryError::Io { path: self.path.clone(), source }
    }

    fn damaged(&self, source: FrameError) -> HistoryError {
        HistoryError::Record { path: self.path.clone(), source }
    }
}
