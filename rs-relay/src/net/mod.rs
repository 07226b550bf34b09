//! What server and clients share: streams, the opening handshake, control channels, the clock.

mod clock;
pub(crate) mod handshake;
pub(crate) mod random;
pub(crate) mod socket;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use clock::{Clock, ManualClock, SystemClock};

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
