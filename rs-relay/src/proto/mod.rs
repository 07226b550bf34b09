//! The protocol core: no sockets, no runtime, no clock.
//!
//! | module | what |
//! | --- | --- |
//! | [`EntityPath`], [`RequestPath`] | names of hybrid connections and the paths that reach them |
//! | [`Authority`], [`Target`], [`RendezvousAddress`] | everything that stands in a URL |
//! | [`SasToken`], [`Rules`], [`authorize`] | tokens, and who may do what |
//! | [`ConnectionString`] | what operators copy and paste |
//! | [`ServerMessage`], [`ListenerMessage`] | control messages |
//! | [`registry`] | who listens, who waits, who meets whom |
//! | [`frame`] | WebSocket frames |
//! | [`Refusal`] | every refusal with its HTTP status |
//! | [`limits`] | every bound |
//!
//! Time comes in as an argument. Everything here can be tried out in a plain `#[test]`.

mod address;
mod connection_string;
pub mod frame;
pub mod limits;
mod message;
mod path;
mod refusal;
pub mod registry;
mod rules;
mod token;

pub use address::{
    Action, Authority, AuthorityError, DEFAULT_PORT, Rejection, RendezvousAddress, RendezvousAddressError,
    Target, TargetError, connect_target, listen_target, strip_protocol_parameters,
};
pub use connection_string::{ConnectionString, ConnectionStringError, Credential};
pub use message::{
    Accept, Headers, ListenerMessage, MessageError, RemoteEndpoint, RenewToken, Request, Response,
    ServerMessage,
};
pub use path::{EntityPath, EntityPathError, RequestPath, RequestPathError};
pub use refusal::{Refusal, clean_reason};
pub use registry::RendezvousId;
pub use rules::{Ask, AuthorizationRule, Authorized, Right, Rules, RulesError, authorize};
pub use token::{KeyName, KeyNameError, SasToken, Scope, SharedKey, SharedKeyError, TokenError, resource};
