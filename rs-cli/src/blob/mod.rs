//! Azure Blob storage: where bundles of diagnostic data go when the operator has set a destination.
//!
//! The destination is a container with a shared access signature that may create and write. The whole URL is a secret: it
//! is read from a file, never printed, and never part of an error; what is shown is host and path ([`Container::place`]).
//!
//! An upload is [`Put Block`](https://learn.microsoft.com/rest/api/storageservices/put-block) for each 4 MiB, each with its
//! MD5, and one `Put Block List`: the blob appears whole or not at all. Trouble of the network and of the service is
//! tried again, a few times and with growing pauses; what the service refuses is not.

mod client;
mod courier;
mod url;

pub use self::client::{ATTEMPTS_MAX, BLOCK_BYTES, UploadError};
pub use self::courier::{BlobCourier, DESTINATION_NAME};
pub use self::url::Container;
