//! The addresses at which listeners meet senders.

use std::fmt;

use percent_encoding::utf8_percent_encode;

use super::{Authority, Rejection, Target, VALUE};
use crate::proto::limits::TARGET_BYTES_MAX;
use crate::proto::path::EntityPath;
use crate::proto::registry::RendezvousId;

/// The one-time address at which a listener meets a sender. It is a secret: whoever has it may take the sender.
///
/// `Debug` and `Display` leave the query out.
#[derive(Clone, PartialEq, Eq)]
pub struct RendezvousAddress {
    authority: Authority,
    target: String,
}

impl RendezvousAddress {
    /// Makes the address for a sender: its own path and query, then the parameters of the protocol.
    #[must_use]
    pub fn new(authority: Authority, sender: &Target, tracking_id: &str, id: &RendezvousId) -> Self {
        let path = sender.path.raw();
        let query = sender.application_query.as_deref().map(|q| format!("{q}&")).unwrap_or_default();
        let tracking_id = utf8_percent_encode(tracking_id, VALUE);
        let secret = id.expose();
        let target =
            format!("/$hc/{path}?{query}sb-hc-action=accept&sb-hc-id={tracking_id}&sb-hc-rdv={secret}");
        Self { authority, target }
    }

    /// Makes the address for an HTTP request.
    #[must_use]
    pub fn for_request(
        authority: Authority,
        entity: &EntityPath,
        tracking_id: &str,
        id: &RendezvousId,
    ) -> Self {
        let tracking_id = utf8_percent_encode(tracking_id, VALUE);
        let secret = id.expose();
        let target = format!("/$hc/{entity}?sb-hc-action=request&sb-hc-id={tracking_id}&sb-hc-rdv={secret}");
        Self { authority, target }
    }

    /// Reads the `address` of an accept or request message.
    ///
    /// # Errors
    ///
    /// [`RendezvousAddressError`] when it is no absolute `wss:` URL with a query.
    pub fn parse(text: &str) -> Result<Self, RendezvousAddressError> {
        let scheme = text.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case("wss://"));
        let rest = scheme.map(|_| &text[6..]).ok_or(RendezvousAddressError::Scheme)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).ok_or(RendezvousAddressError::Target)?;
        let authority = rest[..end].parse().map_err(|_| RendezvousAddressError::Host)?;
        let target = &rest[end..];
        let sane = target.bytes().all(|byte| byte.is_ascii_graphic());
        if !sane || !target.starts_with('/') || !target.contains('?') || target.len() > TARGET_BYTES_MAX {
            return Err(RendezvousAddressError::Target);
        }
        Ok(Self { authority, target: target.to_owned() })
    }

    /// Host and port to dial.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Path and query for the request line, secret included.
    #[must_use]
    pub fn expose_target(&self) -> &str {
        &self.target
    }

    /// The whole address, secret included.
    #[must_use]
    pub fn expose_url(&self) -> String {
        format!("wss://{}{}", self.authority, self.target)
    }

    /// The address that rejects the sender.
    #[must_use]
    pub fn rejecting(&self, rejection: &Rejection) -> Self {
        let text = utf8_percent_encode(rejection.text(), VALUE);
        let status = rejection.status();
        let target = format!("{}&sb-hc-statusCode={status}&sb-hc-statusDescription={text}", self.target);
        Self { authority: self.authority.clone(), target }
    }
}

impl fmt::Display for RendezvousAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "wss://{}{path}?…", self.authority)
    }
}

impl fmt::Debug for RendezvousAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RendezvousAddress({self})")
    }
}

/// Why a text is no rendezvous address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RendezvousAddressError {
    /// Not `wss:`.
    #[error("the rendezvous address is no wss: address")]
    Scheme,
    /// No usable host.
    #[error("the rendezvous address has no usable host")]
    Host,
    /// No usable path and query.
    #[error("the rendezvous address has no path with a query, or it is too long")]
    Target,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Action;
    use proptest::prelude::*;

    #[test]
    fn r11_reject_address_and_back() {
        let sender = Target::parse("/$hc/hyco/x?statusCode=7&a=b").unwrap();
        assert_eq!(sender.rejection, None, "a parameter of the application");
        let id = RendezvousId::from_bytes([7; 24]);
        let address = RendezvousAddress::new("r.example.test:9".parse().unwrap(), &sender, "x_G0", &id);
        let met = Target::parse(address.expose_target()).unwrap();
        assert_eq!((met.action, met.rendezvous.as_ref()), (Action::Accept, Some(&id)));
        assert_eq!(met.rejection, None);
        assert_eq!(met.application_query.as_deref(), Some("statusCode=7&a=b"));
        let no = Rejection::new(403, "no consent & no way");
        let rejected = Target::parse(address.rejecting(&no).expose_target()).unwrap();
        assert_eq!(rejected.rejection, Some(no.clone()));
        let short =
            format!("{}&statusCode=403&statusDescription=no+consent+%26+no+way", address.expose_target());
        assert_eq!(Target::parse(&short).unwrap().rejection, Some(no));
        assert_eq!(RendezvousAddress::parse(&address.expose_url()).unwrap(), address);
    }

    #[test]
    fn rendezvous_address_table() {
        let table = [
            ("https://h/?x", RendezvousAddressError::Scheme),
            ("ws://h/?x", RendezvousAddressError::Scheme),
            ("wss://h", RendezvousAddressError::Target),
            ("wss://h/x", RendezvousAddressError::Target),
            ("wss://h?x", RendezvousAddressError::Target),
            ("wss://h/x y?x", RendezvousAddressError::Target),
            ("wss://u@h/x?x", RendezvousAddressError::Host),
            ("wss:///x?x", RendezvousAddressError::Host),
        ];
        for (text, error) in table {
            assert_eq!(RendezvousAddress::parse(text), Err(error), "{text}");
        }
        let good = RendezvousAddress::parse("WSS://H:1/$hc/a?secret=1#x").unwrap();
        assert_eq!(good.expose_url(), "wss://h:1/$hc/a?secret=1");
        assert!(!format!("{good:?} {good}").contains("secret"), "sec33: the query is a secret");
    }

    proptest! {
        #[test]
        fn sec44_no_target_panics(text in "(/\\$hc/)?[ -~äö%&=?+/]{0,80}") {
            let _ = Target::parse(&text);
            let _ = RendezvousAddress::parse(&text);
            let _ = text.parse::<Authority>();
        }

        #[test]
        fn rendezvous_address_carries_what_the_sender_sent(
            suffix in "[a-z0-9%]{0,0}[a-z0-9]{1,9}", query in proptest::option::of("[a-zA-Z0-9=&+]{1,30}"), bytes: [u8; 24],
        ) {
            let text = format!("/$hc/hyco/{suffix}{}", query.as_ref().map(|q| format!("?{q}")).unwrap_or_default());
            let sender = Target::parse(&text).unwrap();
            let id = RendezvousId::from_bytes(bytes);
            let address = RendezvousAddress::new("h".parse().unwrap(), &sender, "t", &id);
            let met = Target::parse(address.expose_target()).unwrap();
            prop_assert_eq!(met.path, sender.path);
            prop_assert_eq!(met.application_query, sender.application_query);
            prop_assert_eq!(met.rendezvous, Some(id));
            prop_assert!(met.rejection.is_none());
        }
    }
}
