//! Signed statements: what one party says and another can check later.
//!
//! The form is DSSE, the Dead Simple Signing Envelope: the signature covers the type of the payload and its exact
//! bytes, so nothing has to be brought into a canonical form before it is checked. Of DSSE's freedom little is kept:
//! one signature, one algorithm, and the key id is the whole public key. An envelope never says which key is to be
//! trusted; the reader brings the keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::keys::{PublicKey, SigningKey};

/// Longest envelope as JSON, in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 16 * 1024;

const TYPE_PREFIX: &str = "application/vnd.remote-support.";
const TYPE_SUFFIX: &str = ".v1+json";
/// Longest kind of a statement, in bytes.
const KIND_BYTES_MAX: usize = 32;

/// A kind of statement.
///
/// Its JSON form must refuse what it does not know (`#[serde(deny_unknown_fields)]`), and a value that its own
/// constructors would refuse.
pub trait Statement: Serialize + DeserializeOwned {
    /// The kind, lower-case letters and dashes: the payload type is `application/vnd.remote-support.KIND.v1+json`.
    const KIND: &'static str;
}

/// A signed statement of any kind, not yet checked.
///
/// ```
/// use rs_consent::keys::SigningKey;
/// use rs_consent::statement::{Envelope, Statement};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Greeting(String);
/// impl Statement for Greeting {
///     const KIND: &'static str = "greeting";
/// }
///
/// let (ours, other) = (SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32]));
/// let envelope = Envelope::sign(&Greeting("hello".to_owned()), &ours)?;
/// let read = Envelope::from_json(envelope.to_json().as_bytes())?;
/// assert_eq!(read.open::<Greeting>(&[ours.public()])?.0, "hello");
/// assert!(read.open::<Greeting>(&[other.public()]).is_err());
/// # Ok::<(), rs_consent::statement::StatementError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    key: PublicKey,
    signature: [u8; 64],
}

/// Why a statement was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The envelope is longer than [`ENVELOPE_BYTES_MAX`].
    #[error("the statement is too long: {found} bytes, permitted are {ENVELOPE_BYTES_MAX}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// Not an envelope.
    #[error("this is not a signed statement: {0}")]
    Malformed(&'static str),
    /// Another kind of statement.
    #[error("this is another kind of statement: expected `{expected}`, found `{found}`")]
    OtherKind {
        /// The payload type that was asked for.
        expected: String,
        /// The payload type of the envelope.
        found: String,
    },
    /// Signed by a key that the reader did not bring.
    #[error("the statement is signed by a key that is not trusted here ({})", .0.fingerprint())]
    UntrustedKey(PublicKey),
    /// The signature does not fit.
    #[error("the signature does not fit: the statement was changed after it was signed")]
    BadSignature,
    /// The signature fits, but the payload is no statement of this kind.
    #[error("the statement is signed, but its content is not permitted: {0}")]
    Content(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    payload_type: String,
    payload: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    keyid: String,
    sig: String,
}

impl Envelope {
    /// Signs a statement.
    ///
    /// What is signed is read back first, so no statement leaves that its reader would refuse.
    ///
    /// # Errors
    /// [`StatementError::Content`] if `statement` is not permitted by its own rules, [`StatementError::TooLong`] if the
    /// envelope would exceed [`ENVELOPE_BYTES_MAX`].
    pub fn sign<T: Statement>(statement: &T, key: &SigningKey) -> Result<Self, StatementError> {
        let payload = serde_json::to_vec(statement).map_err(content)?;
        decode::<T>(&payload)?;
        let payload_type = payload_type(T::KIND);
        let signature = key.sign(&pre_authentication(&payload_type, &payload));
        let envelope = Self { payload_type, payload, key: key.public(), signature };
        match envelope.to_json().len() {
            found if found > ENVELOPE_BYTES_MAX => Err(StatementError::TooLong { found }),
            _ => Ok(envelope),
        }
    }

    /// Reads an envelope; nothing in it is checked yet but its form.
    ///
    /// # Errors
    /// [`StatementError::TooLong`] or [`StatementError::Malformed`]. Unknown members, more or fewer than one signature,
    /// base64 that is not canonical and key ids that are no public key are malformed.
    pub fn from_json(json: &[u8]) -> Result<Self, StatementError> {
        if json.len() > ENVELOPE_BYTES_MAX {
            return Err(StatementError::TooLong { found: json.len() });
        }
        let wire: Wire = serde_json::from_slice(json)
            .map_err(|_| StatementError::Malformed("not the JSON of an envelope"))?;
        Self::try_from(wire)
    }

    /// The envelope as JSON, on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!(Wire::from(self.clone())).to_string()
    }

    /// Checks type and signature, and reads the statement.
    ///
    /// # Errors
    /// [`StatementError::OtherKind`], then [`StatementError::UntrustedKey`] if the signer is none of `trusted`, then
    /// [`StatementError::BadSignature`], then [`StatementError::Content`].
    pub fn open<T: Statement>(&self, trusted: &[PublicKey]) -> Result<T, StatementError> {
        self.check_kind::<T>()?;
        if !trusted.contains(&self.key) {
            return Err(StatementError::UntrustedKey(self.key));
        }
        self.check_signature()?;
        decode(&self.payload)
    }

    /// Reads a statement that carries the key of its own signer, which `signer` finds in it.
    ///
    /// This proves that the holder of that key said it, and nothing about who that is.
    ///
    /// # Errors
    /// As [`Envelope::open`], with the signer's key as the only trusted one.
    pub fn open_self_signed<T: Statement>(
        &self,
        signer: impl FnOnce(&T) -> PublicKey,
    ) -> Result<T, StatementError> {
        self.check_kind::<T>()?;
        self.check_signature()?;
        let statement = decode(&self.payload)?;
        if signer(&statement) == self.key {
            Ok(statement)
        } else {
            Err(StatementError::UntrustedKey(self.key))
        }
    }

    /// The type that the envelope claims.
    #[must_use]
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The key that the envelope claims to be signed by: good for choosing among trusted keys, proves nothing.
    #[must_use]
    pub const fn claimed_key(&self) -> PublicKey {
        self.key
    }

    fn check_kind<T: Statement>(&self) -> Result<(), StatementError> {
        let expected = payload_type(T::KIND);
        if self.payload_type == expected {
            return Ok(());
        }
        Err(StatementError::OtherKind { expected, found: self.payload_type.clone() })
    }

    fn check_signature(&self) -> Result<(), StatementError> {
        let message = pre_authentication(&self.payload_type, &self.payload);
        self.key.verify(&message, &self.signature).map_err(|_| StatementError::BadSignature)
    }
}

fn payload_type(kind: &str) -> String {
    format!("{TYPE_PREFIX}{kind}{TYPE_SUFFIX}")
}

fn is_payload_type(text: &str) -> bool {
    let kind =
        text.strip_prefix(TYPE_PREFIX).and_then(|rest| rest.strip_suffix(TYPE_SUFFIX)).unwrap_or_default();
    (1..=KIND_BYTES_MAX).contains(&kind.len()) && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// DSSE's pre-authentication encoding: both parts with their lengths, so that no byte can move between them.
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn decode<T: Statement>(payload: &[u8]) -> Result<T, StatementError> {
    serde_json::from_slice(payload).map_err(content)
}

fn content(error: serde_json::Error) -> StatementError {
    StatementError::Content(error.to_string())
}

impl From<Envelope> for Wire {
    fn from(envelope: Envelope) -> Self {
        Self {
            payload_type: envelope.payload_type,
            payload: STANDARD.encode(envelope.payload),
            signatures: vec![WireSignature {
                keyid: envelope.key.to_string(),
                sig: STANDARD.encode(envelope.signature),
            }],
        }
    }
}

impl TryFrom<Wire> for Envelope {
    type Error = StatementError;

    fn try_from(wire: Wire) -> Result<Self, StatementError> {
        use StatementError::Malformed;
        if !is_payload_type(&wire.payload_type) {
            return Err(Malformed("the payload type is not one of remote support"));
        }
        let [signature] = wire.signatures.as_slice() else {
            return Err(Malformed("it must have exactly one signature"));
        };
        let key = signature.keyid.parse().map_err(|_| Malformed("the key id is not a public key"))?;
        let bytes = STANDARD.decode(&signature.sig).map_err(|_| Malformed("the signature is not base64"))?;
        let signature = bytes.try_into().map_err(|_| Malformed("the signature does not have 64 bytes"))?;
        let payload = STANDARD.decode(&wire.payload).map_err(|_| Malformed("the payload is not base64"))?;
        let envelope = Self { payload_type: wire.payload_type, payload, key, signature };
        match envelope.payload.len() {
            found if found > ENVELOPE_BYTES_MAX => Err(StatementError::TooLong { found }),
            _ => Ok(envelope),
        }
    }
}
