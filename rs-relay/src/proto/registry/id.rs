//! The secret that pairs a sender with a listener.

use std::fmt;
use std::str::FromStr;

/// The secret in a rendezvous address: 192 random bits. Whoever has it may take the sender, once.
///
/// `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RendezvousId(pub(super) [u8; 24]);

impl RendezvousId {
    /// From bytes that the driver took from a cryptographic random generator.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 24]) -> Self {
        Self(bytes)
    }

    /// Hexadecimal digits: Java breaks on `=` in a query value.
    #[must_use]
    pub fn expose(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for RendezvousId {
    type Err = RendezvousIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 24];
        if text.len() != 48 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(RendezvousIdError);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| RendezvousIdError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| RendezvousIdError)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for RendezvousId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RendezvousId(…)")
    }
}

/// A text is no rendezvous secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rendezvous secret has 48 lower-case hexadecimal digits")]
pub struct RendezvousIdError;
