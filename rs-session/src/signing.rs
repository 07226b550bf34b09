//! The key that signs heads while a session lives, with the library that has the faster signatures. They are the same ones:
//! Ed25519 leaves nothing to choose.

use std::fmt;
use std::io;

use aws_lc_rs::signature::Ed25519KeyPair;
use rs_consent::keys::SigningKey;

use crate::record::HeadSigner;

/// A [`SigningKey`], made ready.
pub(crate) struct ReadyKey(Ed25519KeyPair);

impl ReadyKey {
    /// # Errors
    /// When one of the two libraries does not take the key.
    pub(crate) fn new(key: &SigningKey) -> io::Result<Self> {
        let der = key.to_pkcs8_der().map_err(io::Error::other)?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(Self).map_err(io::Error::other)
    }
}

impl fmt::Debug for ReadyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadyKey")
    }
}

impl HeadSigner for ReadyKey {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(message).as_ref());
        signature
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_signs_as_the_key_that_it_was_made_of(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let key = SigningKey::generate().unwrap();
            let ready = ReadyKey::new(&key).unwrap();
            prop_assert_eq!(HeadSigner::sign(&ready, &message), key.sign(&message));
            prop_assert!(key.public().verify(&message, &HeadSigner::sign(&ready, &message)).is_ok());
        }
    }
}
