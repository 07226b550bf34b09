//! Lines in a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use async_trait::async_trait;

use super::{Encoded, Mark, Sink, SinkError};
use crate::platform;

/// Appends lines to a file and syncs it.
///
/// A file that was moved away by log rotation is made anew; one that was cut is gone on with where it ends.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
}

impl FileSink {
    /// Lines go to the end of the file at `path`; one that does not exist is made with mode 0600.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn open(&self) -> io::Result<File> {
        match OpenOptions::new().append(true).read(true).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = platform::create_private_new(&self.path)?;
                self.path.parent().map_or(Ok(()), platform::sync_directory)?;
                Ok(file)
            }
            other => other,
        }
    }

    /// Cuts off what stands behind `mark`, if it is still that file.
    fn cut_back(&self, mark: Option<&Mark>) -> io::Result<Mark> {
        let file = self.open()?;
        let metadata = file.metadata()?;
        let (number, length) = (platform::file_number(&metadata), metadata.len());
        let known = mark.filter(|mark| mark.file == number && mark.length < length);
        if let Some(mark) = known {
            file.set_len(mark.length)?;
            file.sync_all()?;
        }
        Ok(Mark { file: number, length: known.map_or(length, |mark| mark.length) })
    }

    fn append(&self, batch: &[Encoded]) -> io::Result<Mark> {
        let mut lines = Vec::new();
        for event in batch {
            lines.extend_from_slice(&event.bytes);
            lines.push(b'\n');
        }
        let mut file = self.open()?;
        file.write_all(&lines)?;
        file.sync_data()?;
        let metadata = file.metadata()?;
        Ok(Mark { file: platform::file_number(&metadata), length: metadata.len() })
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn prepare(&mut self, mark: Option<&Mark>) -> Result<Option<Mark>, SinkError> {
        Ok(Some(self.cut_back(mark)?))
    }

    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError> {
        Ok(Some(self.append(batch)?))
    }
}
