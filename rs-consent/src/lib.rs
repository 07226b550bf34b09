#![cfg_attr(feature = "store", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "store"),
    doc = "The consent core of remote support, without its store; see the README."
)]

pub mod approval;
pub mod arm;
pub mod assignment;
pub mod clock;
pub mod code;
pub mod compat;
pub mod conditions;
pub mod digest;
pub mod gate;
pub mod grant;
pub mod keys;
pub mod level;
pub mod minutes;
pub mod party;
#[cfg(feature = "clock")]
mod platform;
pub mod request;
pub mod scope;
pub mod statement;
#[cfg(feature = "store")]
pub mod store;
pub mod terms;

pub use approval::ApprovalRule;
pub use assignment::Assignment;
#[cfg(feature = "clock")]
pub use clock::SystemClock;
pub use clock::{Clock, ManualClock, Now};
pub use code::{EndCause, RefusalCode};
pub use conditions::Conditions;
pub use digest::Sha256;
pub use gate::{Admission, Facts, Gate, Permit, Refusal};
pub use grant::{Consent, Grant, GrantId, GrantState};
pub use keys::{PublicKey, SigningKey};
pub use level::AccessLevel;
pub use minutes::Minutes;
pub use request::{RequestNumber, SupportRequest};
pub use scope::Scope;
pub use statement::Envelope;
#[cfg(feature = "store")]
pub use store::{ConsentStore, StoreError};
pub use terms::Terms;
