//! Listener and sender against the relay of this crate: HTTP, messages, several relays, long times, many at once.

#[cfg(test)]
mod azure;
#[cfg(test)]
mod fair;
#[cfg(test)]
mod http;
#[cfg(test)]
mod lasting;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod several;
#[cfg(test)]
mod sim;
#[cfg(test)]
#[path = "../relay/support.rs"]
#[expect(dead_code, reason = "shared with the other tests, each of which uses a part")]
mod support;
#[cfg(test)]
mod wire;
