//! The program behind real proxies, on loopback: agent and engineer through squid, `proxy check`, `enable`.

#![cfg(unix)]

#[expect(dead_code, reason = "shared with the tests of the other commands, which use more of it")]
#[path = "../e2e/azurite.rs"]
mod azurite;
#[expect(clippy::unwrap_used, dead_code, reason = "shared with the tests of rs-proxy, which use more of it")]
#[path = "../../../rs-proxy/tests/network/bed.rs"]
mod bed;
mod check;
#[expect(dead_code, reason = "shared with the tests of the other commands, which use more of it")]
#[path = "../e2e/daemon.rs"]
mod daemon;
mod enable;
mod link;
#[expect(dead_code, reason = "shared with the tests of the other commands, which use more of it")]
#[path = "../it/machine.rs"]
mod machine;
#[expect(clippy::unwrap_used, dead_code, reason = "shared with the tests of rs-proxy, which use more of it")]
#[path = "../../../rs-proxy/tests/network/programs.rs"]
mod programs;
mod site;
mod storage;
