#![doc = include_str!("../README.md")]

pub mod allowlist;
mod article;
mod endpoint;
pub mod hop;
mod host_set;
pub mod http;
mod mask;
mod name;
#[cfg(feature = "probe")]
pub mod net;
pub mod render;
pub mod settings;
mod severity;

pub use article::{article_entries, unescape as unescape_markdown};
pub use endpoint::{
    ArcGateway, CUSTOM_ENTRIES_MAX, Cloud, Confidence, Endpoint, EndpointId, Form, ID_BYTES_MAX, Profile,
    ProfileError, Purpose,
};
pub use hop::{Failure, Hop};
pub use host_set::{ANY_DEPTH, HostSet};
pub use mask::mask_userinfo;
pub use name::{
    Coverage, HostName, HostPattern, LABEL_BYTES_MAX, NAME_BYTES_MAX, NameError, PORT_DEFAULT,
    TEXT_BYTES_MAX, Target,
};
pub use render::Format;
pub use severity::Severity;
