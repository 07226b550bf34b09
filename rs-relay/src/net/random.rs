//! Random numbers from the cryptographic generator.

#[cfg(feature = "server")]
use crate::proto::RendezvousId;

/// Random bytes. The generator of the TLS provider does not fail once it is seeded; without random numbers nothing here
/// could be done safely.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        // No secret may ever be guessable: better no process than one without random numbers.
        std::process::abort();
    }
    bytes
}

/// A random number.
pub(crate) fn number() -> u64 {
    u64::from_ne_bytes(bytes())
}

/// A fresh secret for a rendezvous.
#[cfg(feature = "server")]
pub(crate) fn rendezvous_id() -> RendezvousId {
    RendezvousId::from_bytes(bytes())
}

/// A random span from zero to `longest`.
#[cfg(feature = "client")]
pub(crate) fn span(longest: std::time::Duration) -> std::time::Duration {
    longest.mul_f64((number() >> 11) as f64 / (1_u64 << 53) as f64)
}

/// Masks for frames. They are drawn in batches, as one is needed for each frame.
#[derive(Debug)]
pub(crate) struct Masks {
    batch: [u8; 256],
    used: usize,
}

impl Masks {
    pub(crate) fn new() -> Self {
        Self { batch: [0; 256], used: 256 }
    }

    pub(crate) fn draw(&mut self) -> [u8; 4] {
        if self.used >= self.batch.len() {
            self.batch = bytes();
            self.used = 0;
        }
        let mask = &self.batch[self.used..self.used + 4];
        self.used += 4;
        [mask[0], mask[1], mask[2], mask[3]]
    }
}
