//! Will the network let remote support through?
//!
//! The core says, without any I/O: what must be reachable ([`Profile`]), what a name or pattern stands for
//! ([`HostPattern`], [`Target`]), how each product wants it written ([`render`]).

mod article;
mod endpoint;
mod mask;
mod name;
pub mod render;

pub use article::{article_entries, unescape as unescape_markdown};
pub use endpoint::{
    CUSTOM_ENTRIES_MAX, Cloud, Confidence, Endpoint, EndpointId, Form, ID_BYTES_MAX, Profile, ProfileError,
    Purpose,
};
pub use mask::mask_userinfo;
pub use name::{
    Coverage, HostName, HostPattern, LABEL_BYTES_MAX, NAME_BYTES_MAX, NameError, PORT_DEFAULT,
    TEXT_BYTES_MAX, Target,
};
pub use render::Format;
