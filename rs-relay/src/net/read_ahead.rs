//! Large reads below TLS.
//!
//! rustls asks for 4 KiB at a time, which is a quarter of a record. Under a connection that moves much this reads 64 KiB
//! with one system call and hands them out piece by piece. Only what was read and not handed out has a buffer: a peer that
//! sends much and then nothing costs none. Buffers that are not in use are kept for the next read of whatever connection.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once on a busy connection.
const BUFFER_BYTES: usize = 64 * 1024;

/// What the layer above asks for at once, and what a quiet connection is content with.
const SMALL_BYTES: usize = 4 * 1024;

/// Small reads in a row after which a connection counts as quiet.
const SMALL_READS_MAX: u32 = 4;

/// Buffers that are kept while they are not in use: 2 MiB.
const SPARE_MAX: usize = 32;

static SPARE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

fn take_buffer() -> Box<[u8]> {
    let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    spare.unwrap_or_else(|| vec![0; BUFFER_BYTES].into())
}

fn give_back(buffer: Box<[u8]>) {
    if buffer.len() == BUFFER_BYTES {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    }
}

/// A stream that reads far ahead while much comes, for use below TLS.
///
/// rustls reads 4 KiB at a time, a quarter of a record; with this between TLS and TCP the system is asked less often. It
/// holds up to 64 KiB that were read and not handed out yet, and no buffer otherwise. Writing goes straight through.
#[derive(Debug)]
pub struct ReadAhead<S> {
    io: S,
    /// Empty when all is handed out.
    buffer: Box<[u8]>,
    /// What was read and not handed out yet.
    start: usize,
    end: usize,
    /// Whether the last read took all that fitted, or one before it and few were small since: there is probably more.
    busy: bool,
    /// Small reads in a row.
    small: u32,
}

impl<S> ReadAhead<S> {
    /// Around a stream. Nothing is allocated yet.
    #[must_use]
    pub fn new(io: S) -> Self {
        Self::behind(Vec::new(), io)
    }

    /// Behind bytes that were read already and are handed out first.
    pub(crate) fn behind(early: Vec<u8>, io: S) -> Self {
        let end = early.len();
        Self { io, buffer: early.into(), start: 0, end, busy: false, small: 0 }
    }
}

impl<S: AsyncRead + Unpin> ReadAhead<S> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffer = take_buffer();
        let mut free = ReadBuf::new(&mut buffer);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut free);
        let filled = free.filled().len();
        if filled == 0 {
            give_back(buffer);
            return polled;
        }
        (self.buffer, self.start, self.end) = (buffer, 0, filled);
        self.small = if filled <= SMALL_BYTES { self.small + 1 } else { 0 };
        self.busy = self.small < SMALL_READS_MAX;
        Poll::Ready(Ok(()))
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let count = (self.end - self.start).min(buf.remaining());
        buf.put_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        if self.start == self.end {
            give_back(std::mem::take(&mut self.buffer));
            (self.start, self.end) = (0, 0);
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
            if !this.busy || buf.remaining() >= BUFFER_BYTES {
                let (before, asked) = (buf.filled().len(), buf.remaining());
                ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                this.busy = asked > 0 && buf.filled().len() - before == asked;
                this.small = 0;
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
    async fn only_what_is_not_handed_out_has_a_buffer() {
        let (near, mut far) = duplex(1 << 20);
        let mut stream = ReadAhead::new(near);
        let mut buffer = [0; SMALL_BYTES];
        tokio::io::AsyncWriteExt::write_all(&mut far, &[1; 100]).await.unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 100);
        assert!(stream.buffer.is_empty() && !stream.busy, "quiet");
        tokio::io::AsyncWriteExt::write_all(&mut far, &[1; 3 * SMALL_BYTES]).await.unwrap();
        for left in [0, SMALL_BYTES, 0] {
            assert_eq!(stream.read(&mut buffer).await.unwrap(), SMALL_BYTES);
            assert_eq!(stream.end - stream.start, left, "the rest was read at once");
            assert_eq!(stream.buffer.len(), if left == 0 { 0 } else { BUFFER_BYTES });
        }
        for _ in 0..SMALL_READS_MAX {
            assert!(stream.busy);
            tokio::io::AsyncWriteExt::write_all(&mut far, &[1; 10]).await.unwrap();
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 10);
        }
        assert!(stream.buffer.is_empty() && !stream.busy, "quiet again");
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first_and_is_given_back() {
        let mut stream = ReadAhead::behind(vec![1; 10], Cursor::new(vec![2; 10]));
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [[1; 10], [2; 10]].concat());
        assert!(stream.buffer.is_empty());
    }

    #[test]
    fn buffers_that_are_kept_are_few() {
        for _ in 0..2 * SPARE_MAX {
            give_back(vec![0; BUFFER_BYTES].into());
        }
        assert!(SPARE.lock().unwrap().len() <= SPARE_MAX);
    }
}
