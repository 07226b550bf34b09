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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Note {
        text: String,
    }

    impl Statement for Note {
        const KIND: &'static str = "note";
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Memo {
        text: String,
    }

    impl Statement for Memo {
        const KIND: &'static str = "memo";
    }

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed([n; 32])
    }

    fn note(text: &str) -> Note {
        Note { text: text.to_owned() }
    }

    fn open(json: &[u8]) -> Result<Note, StatementError> {
        Envelope::from_json(json)?.open(&[key(1).public()])
    }

    #[test]
    fn the_form_is_dsse() {
        let envelope = Envelope::sign(&note("a"), &key(1)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&envelope.to_json()).unwrap();
        assert_eq!(json["payloadType"], "application/vnd.remote-support.note.v1+json");
        assert_eq!(json["payload"], STANDARD.encode(r#"{"text":"a"}"#));
        assert_eq!(json["signatures"][0]["keyid"], key(1).public().to_string());
        let signed = b"DSSEv1 43 application/vnd.remote-support.note.v1+json 12 {\"text\":\"a\"}";
        assert_eq!(json["signatures"][0]["sig"], STANDARD.encode(key(1).sign(signed)));
    }

    #[test]
    fn sec18_every_change_of_a_byte_is_refused() {
        let json = Envelope::sign(&note("only this"), &key(1)).unwrap().to_json().into_bytes();
        assert_eq!(open(&json), Ok(note("only this")));
        for at in 0..json.len() {
            for bit in [at % 8, (at + 3) % 8] {
                let mut changed = json.clone();
                changed[at] ^= 1 << bit;
                assert!(open(&changed).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn sec18_every_cut_and_every_addition_is_refused() {
        let json = Envelope::sign(&note("only this"), &key(1)).unwrap().to_json().into_bytes();
        for end in 0..json.len() {
            assert!(open(&json[..end]).is_err(), "cut at {end}");
        }
        assert!(open(&[&json[..], b"x"].concat()).is_err());
    }

    #[test]
    fn sec18_kind_and_key_must_be_the_expected_ones() {
        let envelope = Envelope::sign(&note("a"), &key(1)).unwrap();
        let other = envelope.open::<Memo>(&[key(1).public()]);
        assert!(
            matches!(other, Err(StatementError::OtherKind { .. })),
            "a memo has the same content, but is no note"
        );
        let untrusted = envelope.open::<Note>(&[key(2).public(), key(3).public()]);
        assert_eq!(untrusted, Err(StatementError::UntrustedKey(key(1).public())));
        assert_eq!(envelope.open::<Note>(&[]), Err(StatementError::UntrustedKey(key(1).public())));
        assert_eq!(envelope.open::<Note>(&[key(2).public(), key(1).public()]), Ok(note("a")));
    }

    #[test]
    fn a_self_signed_statement_must_name_its_signer() {
        let envelope = Envelope::sign(&note("a"), &key(1)).unwrap();
        assert_eq!(envelope.open_self_signed(|_: &Note| key(1).public()), Ok(note("a")));
        let other = envelope.open_self_signed(|_: &Note| key(2).public());
        assert_eq!(other, Err(StatementError::UntrustedKey(key(1).public())));
    }

    /// Control: with the key of the attacker trusted, the same bytes open, so it is the key that refuses them.
    #[test]
    fn sec18_the_envelope_does_not_choose_its_key() {
        let forged = Envelope::sign(&note("a"), &key(6)).unwrap();
        assert!(forged.open::<Note>(&[key(1).public()]).is_err());
        assert_eq!(forged.open::<Note>(&[key(6).public()]), Ok(note("a")));
        let named = Envelope { key: key(1).public(), ..forged };
        assert_eq!(named.open::<Note>(&[key(1).public()]), Err(StatementError::BadSignature));
    }

    #[test]
    fn forms_that_dsse_would_allow_are_refused() {
        let good: serde_json::Value =
            serde_json::from_str(&Envelope::sign(&note("a"), &key(1)).unwrap().to_json()).unwrap();
        let refused = |change: fn(&mut serde_json::Value)| {
            let mut json = good.clone();
            change(&mut json);
            let error = Envelope::from_json(json.to_string().as_bytes()).unwrap_err();
            assert!(matches!(error, StatementError::Malformed(_)), "{error}");
        };
        refused(|json| json["signatures"] = serde_json::json!([]));
        refused(|json| {
            json["signatures"] = serde_json::json!([json["signatures"][0], json["signatures"][0]])
        });
        refused(|json| json["extra"] = 1.into());
        refused(|json| json["signatures"][0]["alg"] = "none".into());
        refused(|json| json["signatures"][0]["keyid"] = "1".into());
        refused(|json| json["signatures"][0]["sig"] = "AAAA".into());
        refused(|json| json["payload"] = "eyJ0ZXh0IjoiYSJ9==".into());
        refused(|json| json["payloadType"] = "text/plain".into());
        refused(|json| json["payloadType"] = "application/vnd.remote-support..v1+json".into());
        refused(|json| json["payloadType"] = "application/vnd.remote-support.note.v2+json".into());
    }

    #[test]
    fn the_length_is_bounded_at_both_ends() {
        let longest =
            (0..).find(|n| Envelope::sign(&note(&"x".repeat(n * 3 + 12_000)), &key(1)).is_err()).unwrap();
        let at = Envelope::sign(&note(&"x".repeat((longest - 1) * 3 + 12_000)), &key(1)).unwrap().to_json();
        assert!(at.len() <= ENVELOPE_BYTES_MAX && ENVELOPE_BYTES_MAX - at.len() < 4);
        assert!(open(at.as_bytes()).is_ok());
        let blanks = |n: usize| open(format!("{at}{}", " ".repeat(n)).as_bytes());
        assert!(blanks(ENVELOPE_BYTES_MAX - at.len()).is_ok());
        let found = ENVELOPE_BYTES_MAX + 1;
        assert_eq!(blanks(found - at.len()), Err(StatementError::TooLong { found }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn sec18_every_other_byte_in_any_place_is_refused(at: prop::sample::Index, other: u8) {
            let json = Envelope::sign(&note("only this"), &key(1)).unwrap().to_json().into_bytes();
            let mut changed = json.clone();
            changed[at.index(json.len())] = other;
            prop_assert_eq!(open(&changed).is_ok(), changed == json);
        }

        #[test]
        fn what_is_signed_opens_as_it_was(text in any::<String>()) {
            let envelope = Envelope::sign(&note(&text), &key(1)).unwrap();
            prop_assert_eq!(open(envelope.to_json().as_bytes()), Ok(note(&text)));
        }

        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
            let _ = open(&bytes);
        }
    }
}
