//! Large reads below TLS.
//!
//! rustls asks for 4 KiB at a time, which is a quarter of a record. Under a connection that moves much this reads 64 KiB
//! with one system call and hands them out piece by piece. A quiet connection has no buffer: it gets one when a read was
//! filled to the brim, and gives it back after some reads in a row that would have done without.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once on a busy connection.
const BUFFER_BYTES: usize = 64 * 1024;

/// What the layer above asks for at once, and what a quiet connection is content with.
const SMALL_BYTES: usize = 4 * 1024;

/// Small reads in a row after which a buffer is given back.
const SMALL_READS_MAX: u32 = 4;

/// A stream that reads far ahead while much comes, for use below TLS.
///
/// rustls reads 4 KiB at a time, a quarter of a record; with this between TLS and TCP the system is asked less often. It
/// holds 64 KiB while much comes, and nothing on quiet connections. Writing goes straight through.
#[derive(Debug)]
pub struct ReadAhead<S> {
    io: S,
    /// Empty while the connection is quiet.
    buffer: Box<[u8]>,
    /// What was read and not handed out yet.
    start: usize,
    end: usize,
    /// Whether the last read took all that fitted, so that there is probably more.
    brimful: bool,
    /// Small reads in a row.
    small: u32,
}

impl<S> ReadAhead<S> {
    /// Around a stream. Nothing is allocated yet.
    #[must_use]
    pub fn new(io: S) -> Self {
        Self { io, buffer: Box::default(), start: 0, end: 0, brimful: false, small: 0 }
    }
}

impl<S: AsyncRead + Unpin> ReadAhead<S> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER_BYTES].into();
        }
        let mut free = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut free))?;
        (self.start, self.end) = (0, free.filled().len());
        self.small = if self.end <= SMALL_BYTES { self.small + 1 } else { 0 };
        Poll::Ready(Ok(()))
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let count = (self.end - self.start).min(buf.remaining());
        buf.put_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        if self.start == self.end && self.small >= SMALL_READS_MAX {
            self.buffer = Box::default();
            (self.brimful, self.small) = (false, 0);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.start == this.end {
            let large = this.brimful || !this.buffer.is_empty();
            if !large || buf.remaining() >= BUFFER_BYTES {
                let (before, asked) = (buf.filled().len(), buf.remaining());
                ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                this.brimful = asked > 0 && buf.filled().len() - before == asked;
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_fill(cx))?;
        }
        this.hand_out(buf);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use tokio::io::{AsyncReadExt, duplex};

    #[tokio::test]
    async fn every_byte_comes_once_and_in_order() {
        let bytes: Vec<u8> = (0..300_000).map(|index| (index % 251) as u8).collect();
        let mut stream = ReadAhead::new(Cursor::new(bytes.clone()));
        let (mut got, mut piece) = (Vec::new(), 1);
        loop {
            let mut buffer = vec![0; piece];
            let count = stream.read(&mut buffer).await.unwrap();
            if count == 0 {
                break;
            }
            got.extend_from_slice(&buffer[..count]);
            // All sizes that matter, also one beyond the buffer.
            piece = (piece * 7) % 70_001 + 1;
        }
        assert!(got == bytes);
    }

    #[tokio::test]
    async fn only_busy_connections_have_a_buffer() {
        let (near, mut far) = duplex(1 << 20);
        let mut stream = ReadAhead::new(near);
        let mut buffer = [0; SMALL_BYTES];
        tokio::io::AsyncWriteExt::write_all(&mut far, &[1; 100]).await.unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 100);
        assert!(stream.buffer.is_empty(), "quiet");
        tokio::io::AsyncWriteExt::write_all(&mut far, &[1; 3 * SMALL_BYTES]).await.unwrap();
        for _ in 0..3 {
            assert_eq!(stream.read(&mut buffer).await.unwrap(), SMALL_BYTES);
        }
        assert_eq!(stream.buffer.len(), BUFFER_BYTES, "busy");
        for left in (0..SMALL_READS_MAX).rev() {
            assert!(!stream.buffer.is_empty(), "{left}");
            tokio::io::AsyncWriteExt::write_all(&mut far, &[1; 10]).await.unwrap();
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 10);
        }
        assert!(stream.buffer.is_empty(), "quiet again");
    }
}
