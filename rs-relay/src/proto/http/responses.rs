//! Responses on a control channel: a message and, behind it, its body.

use crate::proto::limits::CONTROL_BODY_BYTES_MAX;
use crate::proto::message::Response;

/// Puts responses and their bodies together.
///
/// A body is the binary message behind its response. A binary message that was not announced is skipped: the official client
/// for Node sends an empty one behind each response without a body.
///
/// ```
/// use rs_relay::proto::{ListenerMessage, http::Responses};
///
/// let text = r#"{"response":{"requestId":"1","statusCode":200,"body":true}}"#;
/// let ListenerMessage::Response(response) = ListenerMessage::parse(text)? else { panic!() };
/// let mut responses = Responses::default();
/// assert_eq!(responses.begin(response, true).complete, None);
/// assert_eq!(responses.data(b"hel", true, false).unwrap(), None);
/// let (response, body) = responses.data(b"lo", false, true).unwrap().unwrap();
/// assert_eq!((response.request_id.as_str(), &body[..]), ("1", &b"hello"[..]));
/// # Ok::<(), rs_relay::proto::MessageError>(())
/// ```
#[derive(Debug, Default)]
pub struct Responses {
    awaited: Option<Response>,
    /// Whether the body of the awaited one is kept.
    wanted: bool,
    body: Vec<u8>,
}

/// What a response message means for the one before it and for itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// One whose body was announced and never came.
    pub broken: Option<Response>,
    /// This one, when no body is to follow.
    pub complete: Option<Response>,
}

/// A body is longer than [`CONTROL_BODY_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body of a response has more than {CONTROL_BODY_BYTES_MAX} bytes; bring it over the rendezvous")]
pub struct BodyTooLong;

impl Responses {
    /// Takes a response message. The body of one that nobody waits for is skipped: `wanted` is false then.
    pub fn begin(&mut self, response: Response, wanted: bool) -> Begun {
        let broken = self.interrupt();
        if !response.body {
            return Begun { broken, complete: Some(response) };
        }
        (self.awaited, self.wanted) = (Some(response), wanted);
        Begun { broken, complete: None }
    }

    /// Something else than a body has come: gives up on the one that was awaited.
    pub fn interrupt(&mut self) -> Option<Response> {
        self.body = Vec::new();
        self.awaited.take()
    }

    /// Takes bytes of a binary message; the whole response when they are the last.
    ///
    /// # Errors
    ///
    /// [`BodyTooLong`].
    pub fn data(
        &mut self,
        bytes: &[u8],
        first: bool,
        last: bool,
    ) -> Result<Option<(Response, Vec<u8>)>, BodyTooLong> {
        if self.awaited.is_none() {
            return Ok(None);
        }
        if first {
            self.body = Vec::new();
        }
        if self.wanted {
            if self.body.len() + bytes.len() > CONTROL_BODY_BYTES_MAX {
                return Err(BodyTooLong);
            }
            self.body.extend_from_slice(bytes);
        }
        if !last {
            return Ok(None);
        }
        let body = std::mem::take(&mut self.body);
        Ok(self.awaited.take().map(|response| (response, body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Headers;

    fn response(id: &str, body: bool) -> Response {
        let response_headers = Headers::default();
        let (status_code, status_description) = (200, None);
        Response { request_id: id.into(), status_code, status_description, response_headers, body }
    }

    #[test]
    fn a_bodiless_response_and_the_empty_message_behind_it() {
        let mut responses = Responses::default();
        let begun = responses.begin(response("1", false), true);
        assert_eq!(begun, Begun { broken: None, complete: Some(response("1", false)) });
        assert_eq!(responses.data(b"", true, true), Ok(None));
        // An empty body that was announced is one.
        responses.begin(response("2", true), true);
        assert_eq!(responses.data(b"", true, true), Ok(Some((response("2", true), vec![]))));
        assert_eq!(responses.data(b"stray", true, true), Ok(None));
    }

    #[test]
    fn a_body_that_never_comes() {
        let mut responses = Responses::default();
        responses.begin(response("1", true), true);
        let begun = responses.begin(response("2", true), true);
        assert_eq!(begun.broken, Some(response("1", true)));
        assert_eq!(responses.interrupt(), Some(response("2", true)));
        assert_eq!(responses.interrupt(), None);
    }

    #[test]
    fn sec43_a_body_at_and_past_the_bound() {
        let mut responses = Responses::default();
        let longest = vec![7; CONTROL_BODY_BYTES_MAX];
        responses.begin(response("1", true), true);
        assert_eq!(responses.data(&longest, true, false), Ok(None));
        assert_eq!(responses.data(b"", false, true).unwrap().unwrap().1.len(), CONTROL_BODY_BYTES_MAX);
        responses.begin(response("2", true), true);
        responses.data(&longest, true, false).unwrap();
        assert_eq!(responses.data(b"x", false, true), Err(BodyTooLong));
        // What nobody waits for takes no memory, however long it is.
        responses.begin(response("3", true), false);
        responses.data(&longest, true, false).unwrap();
        responses.data(&longest, false, false).unwrap();
        assert_eq!(responses.body.capacity(), 0);
        assert_eq!(responses.data(b"x", false, true).unwrap().unwrap().1, b"");
    }
}
