//! `relay serve` as a process: reloads and stops, killed at any moment under load, and flooded; ways that die without a word. Longer runs with
//! `scripts/relay-trials`.
#![cfg(unix)]

#[cfg(test)]
mod floods;
#[cfg(test)]
mod process;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod trials;
#[cfg(all(test, target_os = "linux"))]
mod ways;
