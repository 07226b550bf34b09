//! What a request must look like before anything is done for it (SEC41): it names this very server as its host, it does
//! not come from another site, and what changes something names its origin.
//!
//! A page of another site can make the operator's browser send requests here. Such a request has a foreign `Origin` and
//! `Sec-Fetch-Site`; after a rebinding of a name it has a foreign `Host`. Browsers set these three and let no page change
//! them. The cookie (`SameSite=Strict`) and the token of each form are further locks, independent of these.

use std::net::SocketAddr;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, header};

/// The names under which one listener may be called.
#[derive(Debug, Clone)]
pub(super) struct Names(Vec<String>);

/// Why a request is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is meant for another server, or for none.
    Host,
    /// A page of another site made it.
    CrossSite,
    /// It changes something, and does not say which page made it.
    Origin,
    /// Its content is no form.
    Form,
}

impl Refused {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Host => {
                "This address is not the one of the page. Type the address that the terminal shows; through a tunnel use the \
                 same port on both sides."
            }
            Self::CrossSite => {
                "Another site sent you here. For safety that is not followed: type the address that the terminal shows."
            }
            Self::Origin => "The browser did not say which page this form comes from, so nothing was done.",
            Self::Form => "This is not the form that the page expects, so nothing was done.",
        }
    }
}

impl Names {
    /// The names of a listener on a loopback address.
    pub(super) fn of(address: SocketAddr) -> Self {
        let port = address.port();
        let mut names = vec![address.to_string(), format!("localhost:{port}")];
        if port == 80 {
            names.extend([address.to_string().trim_end_matches(":80").to_owned(), "localhost".to_owned()]);
        }
        Self(names)
    }

    /// Judges a request by its head alone.
    pub(super) fn judge(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refused> {
        let host = only(headers, &header::HOST)
            .filter(|host| self.0.iter().any(|own| own.eq_ignore_ascii_case(host)));
        let host = host.ok_or(Refused::Host)?;
        let site = HeaderName::from_static("sec-fetch-site");
        if headers.contains_key(&site) && !matches!(only(headers, &site), Some("same-origin" | "none")) {
            return Err(Refused::CrossSite);
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match (headers.contains_key(header::ORIGIN), only(headers, &header::ORIGIN)) {
            (true, Some(origin)) if origin.eq_ignore_ascii_case(&format!("http://{host}")) => {}
            (true, _) => return Err(Refused::CrossSite),
            (false, _) if reads => {}
            (false, _) => return Err(Refused::Origin),
        }
        let form =
            only(headers, &header::CONTENT_TYPE).and_then(|kind| kind.split(';').next()).map(str::trim);
        if !reads && form != Some("application/x-www-form-urlencoded") {
            return Err(Refused::Form);
        }
        Ok(())
    }
}

/// The value of a header that stands there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Nothing but the page's own style, script, forms and connections; no framing; nothing is kept or guessed. The referrer
/// goes to nobody else: with none at all browsers would leave out the origin of our own forms.
const HEADERS: [(&str, &str); 8] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
    ),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

/// Puts the headers of protection on an answer; every answer gets them.
pub(super) fn harden<B>(response: &mut Response<B>) {
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(method: Method, headers: &[(&str, &str)]) -> Result<(), Refused> {
        let names = Names::of("127.0.0.1:8123".parse().expect("an address"));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        names.judge(&method, &map)
    }

    const HOST: (&str, &str) = ("host", "127.0.0.1:8123");
    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

    #[test]
    fn sec41_a_rebound_name_is_no_name_of_this_server() {
        for good in ["127.0.0.1:8123", "localhost:8123", "LOCALHOST:8123"] {
            assert_eq!(judge(Method::GET, &[("host", good)]), Ok(()), "{good}");
        }
        for bad in [
            "evil.example:8123",
            "127.0.0.1",
            "127.0.0.1:80",
            "localhost:8124",
            "localhost.evil.example:8123",
            "",
        ] {
            assert_eq!(judge(Method::GET, &[("host", bad)]), Err(Refused::Host), "{bad}");
        }
        assert_eq!(judge(Method::GET, &[]), Err(Refused::Host));
        assert_eq!(judge(Method::GET, &[HOST, ("host", "evil.example")]), Err(Refused::Host));
    }

    #[test]
    fn sec41_another_site_gets_nothing_and_changes_nothing() {
        for site in ["cross-site", "same-site", "nonsense", ""] {
            assert_eq!(
                judge(Method::GET, &[HOST, ("sec-fetch-site", site)]),
                Err(Refused::CrossSite),
                "{site}"
            );
        }
        for site in ["same-origin", "none"] {
            assert_eq!(judge(Method::GET, &[HOST, ("sec-fetch-site", site)]), Ok(()), "{site}");
        }
        for origin in [
            "http://evil.example",
            "null",
            "http://127.0.0.1:9999",
            "https://127.0.0.1:8123",
            "http://localhost:8123",
        ] {
            let headers = [HOST, FORM, ("origin", origin)];
            assert_eq!(judge(Method::POST, &headers), Err(Refused::CrossSite), "{origin}");
        }
        assert_eq!(judge(Method::POST, &[HOST, FORM]), Err(Refused::Origin));
        let own = ("origin", "http://127.0.0.1:8123");
        assert_eq!(judge(Method::POST, &[HOST, FORM, own]), Ok(()));
        assert_eq!(judge(Method::POST, &[HOST, own]), Err(Refused::Form));
        assert_eq!(judge(Method::POST, &[HOST, own, ("content-type", "text/plain")]), Err(Refused::Form));
        assert_eq!(judge(Method::DELETE, &[HOST]), Err(Refused::Origin), "whatever is no reading");
    }

    proptest! {
        #[test]
        fn sec41_no_foreign_origin_changes_anything(origin in "[ -~]{0,60}") {
            let taken = judge(Method::POST, &[HOST, FORM, ("origin", &origin)]).is_ok();
            prop_assert_eq!(taken, origin.trim().eq_ignore_ascii_case("http://127.0.0.1:8123"));
        }
    }
}
