//! Checks the signatures of JSON Web Tokens.
//!
//! The algorithm comes from the key, never from the token: a key of an issuer is good for one algorithm, and a token that
//! says another one is not even tried. Nothing of a token counts before its signature does, except to find the key.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use crate::proto::{Ask, Authorized, IssuerKeys, IssuerSettings, JwtClaims, KeyName, Refusal, TokenError};

/// Keys of one issuer.
const KEYS_MAX: usize = 64;

/// Keys that are tried for one token: those that have its key id, or none.
const KEYS_TRIED_MAX: usize = 4;

/// Issuers of a namespace, ready for use.
#[derive(Debug, Default)]
pub(crate) struct Issuers(Vec<Issuer>);

struct Issuer {
    settings: IssuerSettings,
    keys: Vec<Key>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("name", self.settings.name()).field("keys", &self.keys.len()).finish()
    }
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
    algorithm: Algorithm,
}

/// The keys of an issuer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the keys of the issuer {issuer} cannot be used: {cause}")]
pub struct IssuerError {
    /// Which issuer.
    pub issuer: KeyName,
    /// Why.
    pub cause: &'static str,
}

impl Issuers {
    pub(crate) fn new(settings: Vec<IssuerSettings>) -> Result<Self, IssuerError> {
        let issuers = settings.into_iter().map(|settings| {
            let keys = keys(settings.keys())
                .map_err(|cause| IssuerError { issuer: settings.name().clone(), cause })?;
            Ok(Issuer { settings, keys })
        });
        issuers.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a text has the form of a JSON Web Token.
    pub(crate) fn is_jwt(text: &str) -> bool {
        let parts: Vec<_> = text.split('.').collect();
        let base64 = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        parts.len() == 3 && parts.iter().all(base64)
    }

    /// Decides whether a token permits what is asked.
    pub(crate) fn authorize(&self, token: &str, ask: &Ask<'_>) -> Result<Authorized, Refusal> {
        if self.0.is_empty() {
            return Err(TokenError::Unsupported.into());
        }
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| TokenError::Malformed("its header cannot be read, or names an unknown algorithm"))?;
        let named: Named = jsonwebtoken::dangerous::insecure_decode_claims(token)
            .map_err(|_| TokenError::Malformed("its claims cannot be read"))?;
        let issuer = self.0.iter().find(|issuer| issuer.settings.issuer() == named.iss);
        let issuer = issuer.ok_or(TokenError::UnknownKey)?;
        let fits = |key: &&Key| {
            let id = match (&key.id, &header.kid) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => true,
            };
            id && key.algorithm == header.alg
        };
        let mut candidates = issuer.keys.iter().filter(fits).take(KEYS_TRIED_MAX).peekable();
        if candidates.peek().is_none() {
            return Err(TokenError::UnknownKey.into());
        }
        let claims = candidates.find_map(|key| key.verify(token)).ok_or(TokenError::InvalidSignature)?;
        issuer.settings.permit(&claims, ask)
    }
}

/// What is looked at before the signature, only to find the key.
#[derive(Deserialize)]
struct Named {
    iss: String,
}

impl Key {
    fn verify(&self, token: &str) -> Option<JwtClaims> {
        // Times and audience are judged by the core, with the server's own clock.
        let mut validation = Validation::new(self.algorithm);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        jsonwebtoken::decode(token, &self.key, &validation).ok().map(|data| data.claims)
    }
}

fn keys(keys: &IssuerKeys) -> Result<Vec<Key>, &'static str> {
    let keys = match keys {
        IssuerKeys::Pem(pem) => vec![from_pem(pem.as_bytes())?],
        IssuerKeys::Jwks(text) => {
            let set: JwkSet = serde_json::from_str(text).map_err(|_| "the text is no JSON Web Key Set")?;
            set.keys.iter().filter(|key| is_for_signatures(key)).filter_map(from_jwk).collect()
        }
    };
    match keys.len() {
        0 => Err("there is no key for RS256, PS256, ES256, ES384 or EdDSA among them"),
        1..=KEYS_MAX => Ok(keys),
        _ => Err("there are more than 64"),
    }
}

fn is_for_signatures(key: &Jwk) -> bool {
    !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption))
}

/// A key of the set, if it is a public one that we can use. A shared secret is none.
fn from_jwk(jwk: &Jwk) -> Option<Key> {
    let usual = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => Algorithm::ES256,
            EllipticCurve::P384 => Algorithm::ES384,
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(_) => Algorithm::EdDSA,
        _ => return None,
    };
    let algorithm = match (jwk.common.key_algorithm, usual) {
        (None, usual) => usual,
        (Some(KeyAlgorithm::RS256), Algorithm::RS256) => Algorithm::RS256,
        (Some(KeyAlgorithm::PS256), Algorithm::RS256) => Algorithm::PS256,
        (Some(KeyAlgorithm::ES256), Algorithm::ES256) => Algorithm::ES256,
        (Some(KeyAlgorithm::ES384), Algorithm::ES384) => Algorithm::ES384,
        (Some(KeyAlgorithm::EdDSA), Algorithm::EdDSA) => Algorithm::EdDSA,
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(Key { id: jwk.common.key_id.clone(), key, algorithm })
}

/// Length of the DER form of a P-256 public key in its envelope; that of P-384 is longer.
const P256_DER_BYTES: usize = 91;

fn from_pem(pem: &[u8]) -> Result<Key, &'static str> {
    let (key, algorithm) = if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        (key, Algorithm::RS256)
    } else if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        (key, Algorithm::EdDSA)
    } else {
        let key = DecodingKey::from_ec_pem(pem).map_err(|_| "it is no public key in PEM")?;
        let der = rustls::pki_types::pem::PemObject::from_pem_slice(pem);
        let der: rustls::pki_types::SubjectPublicKeyInfoDer<'_> =
            der.map_err(|_| "it is no public key in PEM")?;
        let algorithm = if der.len() <= P256_DER_BYTES { Algorithm::ES256 } else { Algorithm::ES384 };
        (key, algorithm)
    };
    Ok(Key { id: None, key, algorithm })
}

#[cfg(test)]
mod tests;
