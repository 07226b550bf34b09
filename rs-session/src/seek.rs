//! A record of which any entry can be read at once: what a replay needs to go back and forth.
//!
//! It is read once from its beginning for where each entry lies, some 32 bytes of memory an entry; contents are read again
//! when they are wanted, so memory does not grow with what was typed and shown.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::history::{Entry, HistoryError, entry};
use crate::record::{ContentKey, FILE_HEADER, FrameError, FrameReader, Kind, SessionIdentity};

/// An entry, as far as it is known without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What it tells.
    pub kind: Kind,
    /// When it was written, since the node was started.
    pub boot_time: Duration,
    offset: u64,
}

/// A record file with the places of its entries.
#[derive(Debug)]
pub struct Seekable {
    file: File,
    path: PathBuf,
    key: ContentKey,
    identity: SessionIdentity,
    places: Vec<Place>,
    fault: Option<HistoryError>,
}

impl Seekable {
    /// Reads a record for its places; `key` opens what is sealed in it, when it is wanted. `went_on` hears now and then how
    /// many bytes were read, and of how many. A record that is being written ends where it ends now.
    ///
    /// # Errors
    /// [`HistoryError`] when the file does not exist or does not begin as a record does. One that is damaged further behind
    /// is there up to its fault; see [`Self::fault`].
    pub fn open(
        path: &Path,
        key: ContentKey,
        went_on: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, HistoryError> {
        let io_error = |source| HistoryError::Io { path: path.to_owned(), source };
        let damaged = |source| HistoryError::Record { path: path.to_owned(), source };
        let file = File::open(path).map_err(io_error)?;
        let whole = file.metadata().map_err(io_error)?.len();
        let mut reader = FrameReader::new(BufReader::new(&file)).map_err(damaged)?;
        let (mut places, mut identity, mut fault) = (Vec::new(), None, None);
        loop {
            let offset = reader.offset();
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    let skeleton = frame.skeleton();
                    identity = identity.or_else(|| skeleton.session.clone());
                    let boot_time = Duration::from_nanos(skeleton.boot_time_ns);
                    places.push(Place { kind: skeleton.kind, boot_time, offset });
                }
                Ok(None) | Err(FrameError::Torn { .. }) => break,
                Err(source) if identity.is_none() => return Err(damaged(source)),
                Err(source) => {
                    fault = Some(damaged(source));
                    break;
                }
            }
            went_on(reader.offset(), whole);
        }
        let Some(identity) = identity else {
            return Err(damaged(FrameError::Contradiction("record 0 does not say what session this is")));
        };
        Ok(Self { file, path: path.to_owned(), key, identity, places, fault })
    }

    /// Who, for what, under which consent.
    #[must_use]
    pub const fn identity(&self) -> &SessionIdentity {
        &self.identity
    }

    /// All entries, in order.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Why the record cannot be read behind its last place, where it is damaged.
    #[must_use]
    pub const fn fault(&self) -> Option<&HistoryError> {
        self.fault.as_ref()
    }

    /// As [`Self::fault`], for whoever is done with the record.
    #[must_use]
    pub fn into_fault(self) -> Option<HistoryError> {
        self.fault
    }

    /// The entry at a place, counted from 0; `None` behind the last.
    ///
    /// # Errors
    /// [`HistoryError`] when the file has changed since.
    pub fn entry(&mut self, at: usize) -> Result<Option<Entry>, HistoryError> {
        let Some(place) = self.places.get(at) else { return Ok(None) };
        let io_error = |source| HistoryError::Io { path: self.path.clone(), source };
        self.file.seek(SeekFrom::Start(place.offset)).map_err(io_error)?;
        // The reader wants a file from its beginning; what lies before the place is left out behind the header.
        let stream = (&FILE_HEADER[..]).chain(BufReader::new(&self.file));
        let damaged = |source| HistoryError::Record { path: self.path.clone(), source };
        let reader = FrameReader::new(stream).map_err(damaged)?;
        let mut reader = reader.opening(self.key.clone(), Some(self.identity.session_id));
        Ok(reader.next_frame().map_err(damaged)?.map(|frame| entry(&frame)))
    }
}
