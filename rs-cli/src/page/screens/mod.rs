//! One module per screen: what it shows, and what its buttons do by calling the command's own function.

pub(super) mod approvals;
pub(super) mod grant;
pub(super) mod health;
pub(super) mod overview;
pub(super) mod proxy;
pub(super) mod requests;
pub(super) mod sessions;
mod steps;
pub(super) mod transcript;
