//! What server and clients share: streams, the opening handshake, control channels, the clock.

mod budget;
mod clock;
pub(crate) mod handshake;
pub(crate) mod random;
mod read_ahead;
pub(crate) mod socket;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::proto::limits::FRAME_PAYLOAD_BYTES_MAX;

#[cfg(feature = "server")]
pub(crate) use budget::Budget;
pub use clock::{Clock, ManualClock, SystemClock};
pub use read_ahead::ReadAhead;

/// A byte stream in both directions: what TCP, TLS and pipes have in common.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Any [`Stream`].
pub type BoxedStream = Box<dyn Stream>;

/// A stream behind its opening handshake, with what came along with the handshake.
pub(crate) struct Upgraded {
    /// The stream.
    pub(crate) io: BoxedStream,
    /// Bytes behind the head that were read already; often the peer's first frames.
    pub(crate) early: Bytes,
}

/// Encrypted bytes that rustls may hold for one connection: a whole frame of the largest size with its heads, and as much
/// again for what else goes out with it. Its own bound of 64 KiB would cut each such frame in two writes.
pub(crate) const TLS_BUFFER_BYTES: usize = 2 * FRAME_PAYLOAD_BYTES_MAX;

/// How long a closing stream is read on, so that the peer gets what was written last.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// Ends a stream in order: says that nothing more comes, then reads what the peer still sends and drops it.
///
/// A socket that is closed with unread bytes is reset, and a reset destroys what the peer has not read yet.
pub(crate) async fn end(mut io: BoxedStream) {
    let _ = tokio::time::timeout(LINGER, async move {
        io.shutdown().await?;
        let mut sink = [0; 2048];
        while io.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}
