//! Ed25519 keys of nodes, desks and engineers.
//!
//! One algorithm, so there is nothing to choose and nothing to negotiate. Verification is strict (RFC 8032 with
//! canonical encodings, no keys of small order).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, KeypairBytes,
};
use ed25519_dalek::{Signer as _, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::digest::Sha256;

/// Longest PEM text that is read as a private key, in bytes.
pub const KEY_PEM_BYTES_MAX: usize = 4096;

const PUBLIC_PREFIX: &str = "ed25519:";

/// An Ed25519 public key; as text `ed25519:` and the 32 bytes in URL-safe base64 without padding.
///
/// ```
/// use rs_consent::keys::{PublicKey, SigningKey};
///
/// let key = SigningKey::from_seed([7; 32]).public();
/// assert_eq!(key.to_string().parse::<PublicKey>()?, key);
/// assert_eq!(key.fingerprint().to_string().len(), "xxxx-xxxx-xxxx-xxxx".len());
/// # Ok::<(), rs_consent::keys::KeyError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

/// What people compare: the first 16 hexadecimal digits of the SHA-256 of the key, in four groups of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 8]);

/// An Ed25519 private key. It is wiped from memory when dropped, and never printed.
pub struct SigningKey(ed25519_dalek::SigningKey);

/// A text or file that is no key of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a public key.
    #[error(
        "this is not a public key: it must be `ed25519:` and 43 characters of URL-safe base64, and a sound Ed25519 key"
    )]
    Public,
    /// Not a private key.
    #[error("this is not a private key: it must be an Ed25519 key as PKCS#8, in a PEM block `PRIVATE KEY`")]
    Private,
    /// Not a fingerprint.
    #[error(
        "this is not a fingerprint: it must be 16 hexadecimal digits, in groups as xxxx-xxxx-xxxx-xxxx or without dashes"
    )]
    Fingerprint,
    /// The operating system gave no random bytes.
    #[error("no key was made: the operating system gave no random bytes")]
    Random,
}

/// A signature that does not fit key and message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit: the content was changed, or another key signed it")]
pub struct BadSignature;

impl PublicKey {
    /// Takes the 32 bytes of a key.
    ///
    /// # Errors
    /// [`KeyError::Public`] if they are no point of the curve, or a point of small order, for which anybody could make
    /// signatures.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        VerifyingKey::from_bytes(bytes).ok().and_then(Self::sound).ok_or(KeyError::Public)
    }

    /// Takes a key from a DER `SubjectPublicKeyInfo`, as TLS raw public keys carry it.
    ///
    /// # Errors
    /// [`KeyError::Public`] as [`PublicKey::from_bytes`], and for another algorithm or form.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let key =
            VerifyingKey::from_public_key_der(der).ok().and_then(Self::sound).ok_or(KeyError::Public)?;
        if key.to_spki_der() == der { Ok(key) } else { Err(KeyError::Public) }
    }

    fn sound(key: VerifyingKey) -> Option<Self> {
        (!key.is_weak()).then(|| Self(key.to_bytes()))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key as DER `SubjectPublicKeyInfo` (RFC 8410), 44 bytes.
    #[must_use]
    pub fn to_spki_der(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], self.as_bytes()].concat()
    }

    /// What people compare.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::of(self.as_bytes()).as_bytes()[..8]);
        Fingerprint(first)
    }

    /// Checks that this key signed exactly `message`.
    ///
    /// # Errors
    /// [`BadSignature`] if not.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        self.verifier().verify(message, signature)
    }

    /// The same key, ready to check many signatures: the point that its bytes stand for is computed once.
    ///
    /// ```
    /// use rs_consent::keys::SigningKey;
    ///
    /// let key = SigningKey::from_seed([7; 32]);
    /// let verifier = key.public().verifier();
    /// let signature = key.sign(b"message");
    /// assert!(verifier.verify(b"message", &signature).is_ok());
    /// assert!(verifier.verify(b"another", &signature).is_err());
    /// ```
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        // No value of this type was made from bytes that are no point; if one were, it would verify nothing.
        Verifier(VerifyingKey::from_bytes(&self.0).ok())
    }
}

/// A [`PublicKey`] that is ready to check many signatures. It accepts exactly those that [`PublicKey::verify`] accepts.
#[derive(Clone, Debug)]
pub struct Verifier(Option<VerifyingKey>);

impl Verifier {
    /// Checks that the key signed exactly `message`.
    ///
    /// # Errors
    /// [`BadSignature`] if not.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        let key = self.0.as_ref().ok_or(BadSignature)?;
        key.verify_strict(message, &signature).map_err(|_| BadSignature)
    }
}

/// RFC 8410: SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING of 32 bytes }, up to the bytes of the key.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let encoded = text.strip_prefix(PUBLIC_PREFIX).filter(|e| e.len() == 43).ok_or(KeyError::Public)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| KeyError::Public)?;
        let bytes = bytes.as_slice().try_into().map_err(|_| KeyError::Public)?;
        Self::from_bytes(bytes)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl Fingerprint {
    /// The 16 digits without dashes.
    #[must_use]
    pub fn as_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<String> = self.0.chunks(2).map(hex::encode).collect();
        f.pad(&groups.join("-"))
    }
}

impl FromStr for Fingerprint {
    type Err = KeyError;

    /// Reads both forms, letters in either case.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let digits = match text.len() {
            16 => text.to_owned(),
            19 if text.bytes().enumerate().all(|(at, b)| (b == b'-') == (at % 5 == 4)) => {
                text.replace('-', "")
            }
            _ => return Err(KeyError::Fingerprint),
        };
        let mut bytes = [0; 8];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| KeyError::Fingerprint)?;
        Ok(Self(bytes))
    }
}

impl SigningKey {
    /// Makes a key from 32 secret random bytes.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// Makes a new key from the operating system's random bytes.
    ///
    /// # Errors
    /// [`KeyError::Random`] if there are none.
    #[cfg(feature = "clock")]
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|_| KeyError::Random)?;
        Ok(Self(ed25519_dalek::SigningKey::from_bytes(&seed)))
    }

    /// Reads a PKCS#8 private key, version 1 or 2, from PEM.
    ///
    /// # Errors
    /// [`KeyError::Private`] for anything else, also more than [`KEY_PEM_BYTES_MAX`] bytes, and if a public key
    /// stands beside the private one and does not fit it.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.len() > KEY_PEM_BYTES_MAX {
            return Err(KeyError::Private);
        }
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|_| KeyError::Private)
    }

    /// The key as PKCS#8 version 1 (RFC 8410) in PEM, with `\n` line ends; OpenSSL and rustls read it.
    ///
    /// # Errors
    /// [`KeyError::Private`] if the encoder fails, which no key is known to cause.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.bytes().to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Private)
    }

    /// The key as PKCS#8 version 1 (RFC 8410) in DER, for TLS libraries.
    ///
    /// # Errors
    /// [`KeyError::Private`] if the encoder fails, which no key is known to cause.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let der = self.bytes().to_pkcs8_der().map_err(|_| KeyError::Private)?;
        Ok(der.to_bytes())
    }

    /// Version 1 has no public key inside; version 2 is refused by older OpenSSL.
    fn bytes(&self) -> KeypairBytes {
        KeypairBytes { secret_key: self.0.to_bytes(), public_key: None }
    }

    /// The public key that belongs to this one.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl Clone for SigningKey {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(secret of {})", self.public().fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::pkcs8::EncodePublicKey as _;
    use proptest::prelude::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed([n; 32])
    }

    #[test]
    fn text_and_der_forms_lead_back_to_the_key() {
        let public = key(1).public();
        assert_eq!(public.to_string().parse(), Ok(public));
        assert_eq!(PublicKey::from_spki_der(&public.to_spki_der()), Ok(public));
        assert_eq!(public.to_spki_der(), key(1).0.verifying_key().to_public_key_der().unwrap().as_bytes());
        assert_eq!(public.fingerprint().to_string().parse(), Ok(public.fingerprint()));
        assert_eq!(public.fingerprint().as_hex().parse(), Ok(public.fingerprint()));
        assert!(Sha256::of(public.as_bytes()).to_string().starts_with(&public.fingerprint().as_hex()));
    }

    #[test]
    fn private_keys_go_through_pem_and_der() {
        let one = key(2);
        let pem = one.to_pkcs8_pem().unwrap();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert_eq!(SigningKey::from_pkcs8_pem(&pem).unwrap().public(), one.public());
        assert_eq!(one.to_pkcs8_der().unwrap().len(), 48);
        let version_2 = one.0.to_pkcs8_pem(LineEnding::LF).unwrap();
        assert_eq!(SigningKey::from_pkcs8_pem(&version_2).unwrap().public(), one.public());
    }

    #[test]
    fn sec33_a_private_key_is_never_printed() {
        let shown = format!("{:?}", key(3));
        assert!(!shown.contains(&hex::encode([3; 32])) && !shown.contains("3, 3"), "{shown}");
    }

    #[test]
    fn wrong_keys_are_refused() {
        let good = key(1).public().to_string();
        let padded = format!("{good}=");
        let other = good.replace("ed25519:", "rsa:");
        for bad in ["", "ed25519:", &good[..good.len() - 1], &padded, &other, "ed25519:not base64"] {
            assert_eq!(bad.parse::<PublicKey>(), Err(KeyError::Public), "{bad}");
        }
        assert_eq!(PublicKey::from_bytes(&[0; 32]), Err(KeyError::Public), "a key of small order");
        let too_long =
            format!("{}{}", key(1).to_pkcs8_pem().unwrap().as_str(), "\n".repeat(KEY_PEM_BYTES_MAX));
        for bad in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &too_long] {
            assert!(matches!(SigningKey::from_pkcs8_pem(bad), Err(KeyError::Private)));
        }
        for bad in ["", "0123", "0123-4567-89ab-cde", "01234-567-89ab-cdef", "0123456789abcdeg"] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(KeyError::Fingerprint), "{bad}");
        }
    }

    #[test]
    fn a_signature_fits_one_key_and_one_message() {
        let signature = key(1).sign(b"message");
        assert_eq!(key(1).public().verify(b"message", &signature), Ok(()));
        assert_eq!(key(2).public().verify(b"message", &signature), Err(BadSignature));
        assert_eq!(key(1).public().verify(b"massage", &signature), Err(BadSignature));
        for at in 0..64 {
            let mut changed = signature;
            changed[at] ^= 1;
            assert_eq!(key(1).public().verify(b"message", &changed), Err(BadSignature), "byte {at}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_text_panics(text in "(ed25519:)?\\PC{0,60}") {
            let _ = text.parse::<PublicKey>();
            let _ = text.parse::<Fingerprint>();
            let _ = SigningKey::from_pkcs8_pem(&text);
        }

        #[test]
        fn every_seed_makes_a_sound_key(seed in any::<[u8; 32]>()) {
            let public = SigningKey::from_seed(seed).public();
            prop_assert_eq!(PublicKey::from_bytes(public.as_bytes()), Ok(public));
        }
    }
}
