//! The body of a request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// The body of a request that came through the relay, read as it arrives.
///
/// One that is not read holds the sender up; one that is dropped is read from the wire and thrown away. When the sender is
/// lost before the end the call of the service is dropped, and reading elsewhere fails: a body that was cut off never
/// looks complete.
#[derive(Debug)]
pub struct RequestBody(Source);

#[derive(Debug)]
enum Source {
    Whole(Option<Bytes>),
    Pieces(mpsc::Receiver<Piece>),
    Done,
}

/// A part of a body on its way from the socket.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Bytes),
    End,
}

impl RequestBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    pub(super) fn pieces(pieces: mpsc::Receiver<Piece>) -> Self {
        Self(Source::Pieces(pieces))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let pieces = match &mut self.0 {
            Source::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Done => return Poll::Ready(None),
            Source::Pieces(pieces) => pieces,
        };
        match ready!(pieces.poll_recv(cx)) {
            Some(Piece::Bytes(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Piece::End) => {
                self.0 = Source::Done;
                Poll::Ready(None)
            }
            None => {
                self.0 = Source::Done;
                let text = "the sender was lost before the end of the body";
                Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Source::Whole(None) | Source::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Done => SizeHint::with_exact(0),
            Source::Pieces(_) => SizeHint::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn sec17_a_body_that_was_cut_off_never_looks_complete() {
        for (end, complete) in [(true, true), (false, false)] {
            let (sender, pieces) = mpsc::channel(4);
            sender.send(Piece::Bytes(Bytes::from_static(b"half"))).await.unwrap();
            if end {
                sender.send(Piece::End).await.unwrap();
            }
            drop(sender);
            let read = RequestBody::pieces(pieces).collect().await;
            assert_eq!(read.is_ok(), complete);
        }
        assert!(RequestBody::whole(Bytes::new()).is_end_stream());
        assert_eq!(RequestBody::whole(Bytes::from_static(b"abc")).size_hint().exact(), Some(3));
    }
}
