//! Requests and responses between their form in control messages and that of the `http` crate.

use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue, SET_COOKIE};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};

use super::{RequestBody, RequestInfo};
use crate::proto;
use crate::proto::{EntityPath, Headers};

/// Headers that belong to one connection and are not passed on.
const HOP_HEADERS: [&str; 8] = [
    "connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "keep-alive",
    "close",
    "proxy-connection",
];

/// Why a request cannot be handed to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRequest {
    #[error("the request has no usable method")]
    Method,
    #[error("the request has no usable target")]
    Target,
}

/// A request for a service. Headers that HTTP does not allow are left out. With an entity its name is taken from the front
/// of the path.
pub(super) fn request(
    message: proto::Request,
    body: RequestBody,
    below: Option<&EntityPath>,
) -> Result<Request<RequestBody>, BadRequest> {
    let method = message.method.as_deref().and_then(|method| method.parse::<Method>().ok());
    let target = message.request_target.as_deref().unwrap_or_default();
    let target = below.map_or_else(|| target.to_owned(), |entity| without(entity, target));
    let uri =
        Some(target).filter(|target| target.starts_with('/')).and_then(|target| target.parse::<Uri>().ok());
    let mut request = Request::new(body);
    *request.method_mut() = method.ok_or(BadRequest::Method)?;
    *request.uri_mut() = uri.ok_or(BadRequest::Target)?;
    for (name, value) in message.request_headers.iter().flat_map(Headers::iter) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            request.headers_mut().append(name, value);
        }
    }
    let remote_endpoint = message.remote_endpoint.unwrap_or_default();
    request.extensions_mut().insert(RequestInfo { id: message.id, remote_endpoint });
    Ok(request)
}

/// The target without the entity, which is as many segments as the entity has.
fn without(entity: &EntityPath, target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let segments = entity.as_str().split('/').count();
    let rest: Vec<_> = path.trim_start_matches('/').split('/').skip(segments).collect();
    format!("/{}{query}", rest.join("/"))
}

/// The response message. Of several lines of one header all are joined, except those of Set-Cookie: they cannot be told
/// apart again, and the protocol carries one, the first.
pub(super) fn response(
    request_id: &str,
    status: StatusCode,
    reason: Option<&ReasonPhrase>,
    headers: &HeaderMap,
    body: bool,
) -> proto::Response {
    let status = if status.is_informational() { StatusCode::BAD_GATEWAY } else { status };
    let reason = reason.map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
    let reason = reason.or_else(|| status.canonical_reason().map(str::to_owned));
    let mut carried = Headers::default();
    for (name, value) in headers {
        let hop = HOP_HEADERS.contains(&name.as_str()) || name == CONTENT_LENGTH;
        let second_cookie = name == SET_COOKIE && carried.get(SET_COOKIE.as_str()).is_some();
        if second_cookie {
            tracing::warn!(
                "the relay protocol carries one Set-Cookie line; others of a response are left out"
            );
        }
        if !hop && !second_cookie {
            carried.append(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
        }
    }
    proto::Response {
        request_id: request_id.to_owned(),
        status_code: status.as_u16(),
        status_description: reason,
        response_headers: carried,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn message(text: &str) -> proto::Request {
        let proto::ServerMessage::Request(request) = proto::ServerMessage::parse(text).unwrap() else {
            panic!("{text}")
        };
        request
    }

    fn convert(method: &str, target: &str) -> Result<Request<RequestBody>, BadRequest> {
        let text = format!(
            r#"{{"request":{{"address":"wss://h/?x","id":"1","method":"{method}","requestTarget":"{target}","body":false}}}}"#
        );
        request(message(&text), RequestBody::whole(Bytes::new()), None)
    }

    #[test]
    fn a_request_as_azure_sends_it() {
        let text = r#"{"request":{"address":"wss:\/\/g12-prod-by3-010-sb.servicebus.windows.net\/$hc\/NAME?sb-hc-action=request&sb-hc-id=1_G12","id":"1_G12",
            "requestTarget":"\/NAME\/a%20b?x=1&y","method":"POST","remoteEndpoint":{"address":"192.0.2.7","port":4711},
            "requestHeaders":{"Content-Type":"text\/plain","Host":"ns.servicebus.windows.net","Via":"1.1 ns.servicebus.windows.net","bad name":"x"},"body":true}}"#;
        let request = request(message(text), RequestBody::whole(Bytes::from_static(b"hi")), None).unwrap();
        assert_eq!(
            (request.method().as_str(), request.uri().to_string().as_str()),
            ("POST", "/NAME/a%20b?x=1&y")
        );
        assert_eq!(request.headers()["via"], "1.1 ns.servicebus.windows.net");
        assert_eq!(request.headers().len(), 3, "what is no header is left out");
        let info = request.extensions().get::<RequestInfo>().unwrap();
        assert_eq!((info.id.as_str(), info.remote_endpoint.port), ("1_G12", 4711));
    }

    #[test]
    fn unusable_requests() {
        assert_eq!(convert("", "/a").unwrap_err(), BadRequest::Method);
        assert_eq!(convert("G T", "/a").unwrap_err(), BadRequest::Method);
        for target in ["", "a", "http://elsewhere/a", "/a b", "/ä"] {
            let converted = convert("GET", target);
            assert!(converted.is_err() || target == "/ä", "{target}");
        }
    }

    #[test]
    fn the_entity_is_taken_from_the_front() {
        let table = [
            ("hyco", "/hyco", "/"),
            ("hyco", "/HyCo/", "/"),
            ("hyco", "/hyco?q", "/?q"),
            ("azlocal/node-01", "/azlocal/node-01/a/b?c=/d", "/a/b?c=/d"),
            ("hyco", "/hyco//a", "//a"),
        ];
        for (entity, target, expected) in table {
            assert_eq!(without(&entity.parse().unwrap(), target), expected, "{target}");
        }
    }

    #[test]
    fn responses_are_as_the_protocol_wants_them() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let message = response("7", StatusCode::OK, None, &headers, true);
        let headers: Vec<_> = message.response_headers.iter().collect();
        assert_eq!(headers, [("x-a", "1, 2"), ("set-cookie", "a=1")]);
        assert_eq!(message.status_description.as_deref(), Some("OK"));
        let own = ReasonPhrase::from_static(b"As you wish");
        let message = response("7", StatusCode::CONTINUE, Some(&own), &HeaderMap::new(), false);
        assert_eq!((message.status_code, message.status_description.as_deref()), (502, Some("As you wish")));
    }

    proptest! {
        #[test]
        fn sec44_no_request_panics(method in ".{0,12}", target in ".{0,60}", name in ".{0,12}", value in ".{0,12}", entity in "[a-z]{1,5}(/[a-z]{1,5}){0,3}") {
            let mut headers = Headers::default();
            headers.append(&name, &value);
            let message = proto::Request {
                address: String::new(), id: String::new(), request_target: Some(target), method: Some(method),
                remote_endpoint: None, request_headers: Some(headers), body: Some(false),
            };
            let entity = entity.parse().unwrap();
            if let Ok(request) = request(message, RequestBody::whole(Bytes::new()), Some(&entity)) {
                prop_assert!(request.uri().path().starts_with('/'));
            }
        }
    }
}
