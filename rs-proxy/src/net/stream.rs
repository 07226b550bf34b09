//! A byte stream that remembers its first bytes, so that "this is not TLS" can be shown and not only said.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Bytes that are remembered.
pub const FIRST_BYTES_MAX: usize = 512;

/// A connection to a target, direct or through a proxy.
///
/// Reads and writes like the socket it stands for.
#[derive(Debug)]
pub struct Stream {
    io: Io,
    /// Bytes that came along with the proxy's answer.
    pending: Vec<u8>,
    first: Vec<u8>,
}

/// What carries the bytes.
#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        Self { io: Io::Tcp(stream), pending: Vec::new(), first: Vec::new() }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { io: Io::Tls(Box::new(stream)), pending: Vec::new(), first: Vec::new() }
    }

    /// What carries it in the end.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn socket(&self) -> &TcpStream {
        match &self.io {
            Io::Tcp(stream) => stream,
            Io::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Starts the tunnel: forgets what was read so far, except `pending`, which is read again.
    pub(super) fn begin_tunnel(&mut self, pending: Vec<u8>) {
        self.pending = pending;
        self.first.clear();
    }

    /// The first bytes read, at most [`FIRST_BYTES_MAX`].
    pub(super) fn first(&self) -> &[u8] {
        &self.first
    }

    fn remember(&mut self, bytes: &[u8]) {
        let room = FIRST_BYTES_MAX.saturating_sub(self.first.len()).min(bytes.len());
        self.first.extend_from_slice(&bytes[..room]);
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if this.pending.is_empty() {
            match &mut this.io {
                Io::Tcp(io) => ready!(Pin::new(io).poll_read(cx, buf))?,
                Io::Tls(io) => ready!(Pin::new(io).poll_read(cx, buf))?,
            }
        } else {
            let take = this.pending.len().min(buf.remaining());
            buf.put_slice(&this.pending[..take]);
            this.pending.drain(..take);
        }
        if this.first.len() < FIRST_BYTES_MAX {
            let new = buf.filled()[before..].to_vec();
            this.remember(&new);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Tcp(io) => Pin::new(io).poll_write(cx, data),
            Io::Tls(io) => Pin::new(io).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Tcp(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
