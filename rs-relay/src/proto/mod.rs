//! The protocol core: no sockets, no runtime, no clock.
//!
//! | module | what |
//! | --- | --- |
//! | [`EntityPath`], [`RequestPath`] | names of hybrid connections and the paths that reach them |
//! | [`Authority`], [`Target`], [`RendezvousAddress`] | everything that stands in a URL |
//! | [`SasToken`], [`Rules`], [`authorize`] | tokens, and who may do what |
//! | [`ConnectionString`] | what operators copy and paste |
//! | [`tracking_id`] | what logs of all sides have in common |
//! | [`ServerMessage`], [`ListenerMessage`] | control messages |
//! | [`NamespaceSettings`], [`EntitySettings`] | how namespaces and hybrid connections are set up |
//! | [`IssuerSettings`] | JSON Web Tokens of other issuers, and what they permit |
//! | [`registry`] | who listens, who waits, who meets whom |
//! | [`http`] | HTTP requests and responses as control messages carry them |
//! | [`frame`] | WebSocket frames |
//! | [`Refusal`] | every refusal with its HTTP status |
//! | [`limits`] | every bound |
//!
//! Time comes in as an argument. Everything here can be tried out in a plain `#[test]`.

mod address;
mod connection_string;
pub mod frame;
pub mod http;
mod jwt;
pub mod limits;
mod message;

mod path;
mod reason;
mod refusal;
pub mod registry;
mod rules;
#[cfg_attr(not(feature = "server"), expect(dead_code, reason = "the server reads them"))]
mod settings;
mod token;
mod tracking;

pub use address::{
    Action, Authority, AuthorityError, DEFAULT_PORT, Rejection, RendezvousAddress, RendezvousAddressError,
    Target, TargetError, connect_target, listen_target, strip_protocol_parameters,
};
pub use connection_string::{ConnectionString, ConnectionStringError, Credential};
pub use jwt::{AZURE_RELAY_AUDIENCE, IssuerKeys, IssuerSettings, JwtClaims, JwtGrant};
pub use message::{
    Accept, Headers, ListenerMessage, MessageError, RemoteEndpoint, RenewToken, Request, Response,
    ServerMessage,
};
pub use path::{EntityPath, EntityPathError, RequestPath, RequestPathError};
pub use reason::{Closing, Reason};
pub use refusal::{Refusal, clean_reason};
pub use registry::RendezvousId;
pub use rules::{Ask, AuthorizationRule, Authorized, Right, Rules, RulesError, authorize};
#[cfg(feature = "server")]
pub(crate) use settings::host_name;
pub use settings::{EntitySettings, Kinds, NamespaceSettings};
pub use token::{
    KeyName, KeyNameError, SasToken, Scope, SharedKey, SharedKeyError, TokenError, resource,
    token_of_authorization,
};
pub use tracking::tracking_id;
