//! Hosts, request targets and rendezvous addresses: everything that stands in a URL of the protocol.

mod authority;
mod rendezvous;
mod target;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

pub use authority::{Authority, AuthorityError, DEFAULT_PORT};
pub use rendezvous::{RendezvousAddress, RendezvousAddressError};
pub use target::{
    Action, Rejection, Target, TargetError, connect_target, listen_target, strip_protocol_parameters,
};
pub(super) use target::{decode, decode_form, tracking_id};

/// What a query value may show as it is; all else is percent-encoded.
pub(crate) const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
