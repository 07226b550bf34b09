//! Server and clients over real TLS sockets on free ports of the loopback.

#[cfg(test)]
mod closing;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod http;
#[cfg(test)]
mod lifetime;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod namespaces;
#[cfg(test)]
mod rendezvous;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tokens;
