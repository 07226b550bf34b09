//! The operator's page in a real browser, and attacked from outside: the program, chromium and chromedriver in processes of
//! their own.
//!
//! Chromium is taken where it is installed; `scripts/test` installs it and sets `REQUIRE_CHROMIUM`, so that the tests
//! cannot be skipped unseen there.
#![cfg(target_os = "linux")]

mod access;
mod attacks;
mod browser;
#[path = "../e2e/daemon.rs"]
#[expect(dead_code, reason = "shared with other tests, which use the rest")]
mod daemon;
mod fleet;
mod flows;
#[path = "../it/machine.rs"]
#[expect(dead_code, reason = "as above")]
mod machine;
mod many;
mod newcomer;
mod operator;
mod pictures;
#[path = "../e2e/processes.rs"]
#[expect(dead_code, reason = "as above")]
mod processes;
#[path = "../e2e/site.rs"]
#[expect(dead_code, reason = "as above")]
mod site;
mod typing;
mod wire;
