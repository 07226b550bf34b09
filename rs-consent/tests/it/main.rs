//! The public interface by topic: the gate, the store, random histories against a model, crashes, printed forms.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod fixture;
mod formats;
mod gate;
mod views;

#[cfg(feature = "store")]
mod anchor;
mod crash;
#[cfg(feature = "store")]
mod end_told;
#[cfg(feature = "store")]
mod full_disk;
#[cfg(feature = "store")]
mod histories;
#[cfg(feature = "store")]
mod store;
