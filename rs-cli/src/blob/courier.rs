//! Brings bundles into the operator's container.

use std::path::PathBuf;

use async_trait::async_trait;
use rs_session::bundle::{ARCHIVE_NAME, MANIFEST_NAME};
use rs_session::host::{Courier, Parcel};
use tokio::sync::mpsc;

use super::client::Client;
use super::url::{Container, blob_name};
use crate::files;
use crate::network::Way;
use crate::outcome::Failure;

/// Name of the file with the container's URL in the node's folder, mode 0600.
pub const DESTINATION_NAME: &str = "diagnostic-data.url";

/// The courier of a node: the destination is read anew each time, so that setting another one needs no restart.
#[derive(Debug)]
pub struct BlobCourier {
    file: PathBuf,
    way: Way,
}

impl BlobCourier {
    /// The courier for the URL in `file`, which need not exist.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>, way: Way) -> Self {
        Self { file: file.into(), way }
    }

    fn container(&self) -> Result<Option<Container>, Failure> {
        let missing = self.file.symlink_metadata();
        if missing.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        Container::parse(&files::read_secret(&self.file)?).map(Some)
    }
}

#[async_trait]
impl Courier for BlobCourier {
    fn destination(&self) -> Result<Option<String>, String> {
        let container = self.container().map_err(|failure| failure.to_string())?;
        Ok(container.map(|container| container.place()))
    }

    async fn deliver(&self, parcel: Parcel<'_>, progress: mpsc::Sender<String>) -> Result<String, String> {
        let container = self.container().map_err(|failure| failure.to_string())?;
        let container = container.ok_or("the destination was taken away meanwhile")?;
        let client = Client::new(&container, &self.way);
        let manifest = parcel.manifest;
        let metadata = [
            ("x-ms-meta-supportrequest", manifest.support_request.to_string()),
            ("x-ms-meta-session", manifest.session_id.to_string()),
            ("x-ms-meta-sha256", manifest.archive.sha256.to_string()),
        ];
        let name = |file| blob_name(manifest.support_request, manifest.bundle_id, file);
        let sent = client.upload(&name(ARCHIVE_NAME), parcel.archive, &metadata, Some(&progress)).await;
        sent.map_err(|error| error.to_string())?;
        // The manifest comes last: where it lies, the bundle is whole.
        let sent = client.upload(&name(MANIFEST_NAME), parcel.manifest_bytes, &metadata, None).await;
        sent.map_err(|error| error.to_string())?;
        Ok(format!("{}/{}", container.place(), name(ARCHIVE_NAME)))
    }
}
