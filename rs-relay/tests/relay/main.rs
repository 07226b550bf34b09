//! Server and clients over real TLS sockets on free ports of the loopback.

#[cfg(test)]
mod rendezvous;
#[cfg(test)]
mod support;
