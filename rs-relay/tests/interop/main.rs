//! The official Node packages, unmodified, against the relay, the listener and the sender of this crate.
//!
//! The packages are hyco-ws 1.0.5 and hyco-https 1.4.5, at the versions of `npm/package-lock.json`. `scripts/test` installs
//! them under `target/hyco`; by hand:
//!
//! ```sh
//! mkdir -p target/hyco && cp rs-relay/tests/interop/npm/*.json target/hyco/ && npm ci --prefix target/hyco
//! ```
//!
//! Without them, or without `node`, the tests say so and pass; with `REQUIRE_HYCO` set they fail.
//!
//! Those of the packages' own tests that are in the npm package run as they stand (`suites`), through
//! [`official.js`](official.js), which plays the test runner. `docs/relay-suites.md` says for each case of the official suites
//! where it is tested.

#[cfg(test)]
mod https;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod renewal;
#[cfg(test)]
mod suites;
#[cfg(test)]
#[path = "../relay/support.rs"]
#[expect(dead_code, reason = "shared with the other tests, each of which uses a part")]
mod support;
#[cfg(test)]
mod ws;
