use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use serde_json::{Value, json};

use super::*;
use crate::proto::{JwtGrant, RequestPath, Right};

const NOW: i64 = 1_893_456_000;
const ISSUER: &str = "https://issuer.test/";

fn settings(keys: IssuerKeys) -> IssuerSettings {
    IssuerSettings::new("issuer".parse().unwrap(), ISSUER, keys).grant(JwtGrant::new(
        "roles",
        ["send"],
        [Right::Send],
    ))
}

fn issuers(keys: IssuerKeys) -> Issuers {
    Issuers::new(vec![settings(keys)]).unwrap()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "https://relay.azure.net/", "exp": NOW + 60, "roles": ["send"]})
}

fn sign(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

fn judge(issuers: &Issuers, token: &str) -> Result<(), Refusal> {
    let (path, entity) = (RequestPath::parse("hyco").unwrap(), "hyco".parse().unwrap());
    let now = chrono::DateTime::from_timestamp(NOW, 0).unwrap();
    issuers.authorize(token, &Ask { right: Right::Send, path: &path, entity: &entity, now }).map(|_| ())
}

fn wrong(error: TokenError) -> Result<(), Refusal> {
    Err(Refusal::Token(error))
}

struct Ec {
    sign: EncodingKey,
    public_pem: String,
}

fn ec() -> Ec {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let sign = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    Ec { sign, public_pem: pair.public_key_pem() }
}

#[test]
fn each_kind_of_key_in_pem() {
    let p256 = ec();
    let by_p256 = issuers(IssuerKeys::Pem(p256.public_pem));
    assert_eq!(judge(&by_p256, &sign(Algorithm::ES256, None, &p256.sign, &claims())), Ok(()));
    assert_eq!(judge(&by_p256, &sign(Algorithm::ES256, Some("any"), &p256.sign, &claims())), Ok(()));

    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let by_p384 = issuers(IssuerKeys::Pem(p384.public_key_pem()));
    let key = EncodingKey::from_ec_pem(p384.serialize_pem().as_bytes()).unwrap();
    assert_eq!(judge(&by_p384, &sign(Algorithm::ES384, None, &key, &claims())), Ok(()));

    let ed = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let by_ed = issuers(IssuerKeys::Pem(ed.public_key_pem()));
    let key = EncodingKey::from_ed_pem(ed.serialize_pem().as_bytes()).unwrap();
    let token = sign(Algorithm::EdDSA, None, &key, &claims());
    assert_eq!(judge(&by_ed, &token), Ok(()));
    assert_eq!(judge(&by_p384, &token), wrong(TokenError::UnknownKey), "another issuer's key");
}

/// The RSA key as a Web Key Set, and a signer for it.
fn rsa() -> (EncodingKey, Value) {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::KeyPair as _;
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        base64::engine::general_purpose::STANDARD.encode(der.as_ref())
    );
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let public = pair.public_key();
    let jwk = json!({
        "kty": "RSA", "use": "sig", "kid": "one",
        "n": part(public.modulus().big_endian_without_leading_zero()),
        "e": part(public.exponent().big_endian_without_leading_zero()),
    });
    (EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(), jwk)
}

#[test]
fn sec18_keys_of_a_set_by_their_id() {
    let (key, jwk) = rsa();
    let (_, mut other) = rsa();
    other["kid"] = "two".into();
    let secret = json!({"kty": "oct", "kid": "three", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode("secret")});
    let encryption = json!({"kty": "RSA", "use": "enc", "kid": "four", "n": jwk["n"], "e": "AQAB"});
    let set = json!({"keys": [jwk, other, secret, encryption]}).to_string();
    let issuers = issuers(IssuerKeys::Jwks(set));
    let table = [
        ("its key", sign(Algorithm::RS256, Some("one"), &key, &claims()), Ok(())),
        ("no id", sign(Algorithm::RS256, None, &key, &claims()), Ok(())),
        (
            "another's id",
            sign(Algorithm::RS256, Some("two"), &key, &claims()),
            wrong(TokenError::InvalidSignature),
        ),
        ("unknown id", sign(Algorithm::RS256, Some("nine"), &key, &claims()), wrong(TokenError::UnknownKey)),
        (
            "for encryption",
            sign(Algorithm::RS256, Some("four"), &key, &claims()),
            wrong(TokenError::UnknownKey),
        ),
        (
            "another algorithm",
            sign(Algorithm::RS512, Some("one"), &key, &claims()),
            wrong(TokenError::UnknownKey),
        ),
        (
            "a shared secret",
            sign(Algorithm::HS256, Some("three"), &EncodingKey::from_secret(b"secret").unwrap(), &claims()),
            wrong(TokenError::UnknownKey),
        ),
    ];
    for (case, token, expected) in table {
        assert_eq!(judge(&issuers, &token), expected, "{case}");
    }
}

#[test]
fn sec18_no_algorithm_is_taken_from_the_token() {
    let ec = ec();
    let issuers = issuers(IssuerKeys::Pem(ec.public_pem.clone()));
    let good = sign(Algorithm::ES256, None, &ec.sign, &claims());
    assert_eq!(judge(&issuers, &good), Ok(()), "the control");
    // The public key as the secret of an HMAC.
    let confused = EncodingKey::from_secret(ec.public_pem.as_bytes()).unwrap();
    let token = sign(Algorithm::HS256, None, &confused, &claims());
    assert_eq!(judge(&issuers, &token), wrong(TokenError::UnknownKey));
    // No signature at all.
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["none", "None", "nOnE", ""] {
        let token = format!("{}.{}.AA", part(&json!({"alg": alg})), part(&claims()));
        assert!(matches!(judge(&issuers, &token), Err(Refusal::Token(TokenError::Malformed(_)))), "{alg}");
    }
    assert!(!Issuers::is_jwt(&format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims()))));
    // An extension that must be understood.
    let header = json!({"alg": "ES256", "crit": ["x"], "x": 1});
    let mut parts: Vec<_> = good.split('.').map(str::to_owned).collect();
    parts[0] = part(&header);
    assert!(judge(&issuers, &parts.join(".")).is_err());
    // Keys that come with the token.
    let other = self::ec();
    let header = json!({"alg": "ES256", "jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}});
    parts = sign(Algorithm::ES256, None, &other.sign, &claims()).split('.').map(str::to_owned).collect();
    parts[0] = part(&header);
    assert!(judge(&issuers, &parts.join(".")).is_err());
}

#[test]
fn sec18_changed_tokens() {
    let ec = ec();
    let issuers = issuers(IssuerKeys::Pem(ec.public_pem));
    let good = sign(Algorithm::ES256, None, &ec.sign, &claims());
    let mut more = claims();
    more["roles"] = json!(["send", "listen"]);
    let parts: Vec<_> = good.split('.').collect();
    let payload = URL_SAFE_NO_PAD.encode(more.to_string());
    let changed = format!("{}.{payload}.{}", parts[0], parts[2]);
    assert_eq!(judge(&issuers, &changed), wrong(TokenError::InvalidSignature));
    let mut other = claims();
    other["iss"] = json!("https://other.test/");
    let token = sign(Algorithm::ES256, None, &ec.sign, &other);
    assert_eq!(judge(&issuers, &token), wrong(TokenError::UnknownKey));
    let mut late = claims();
    late["exp"] = json!(NOW);
    assert_eq!(judge(&issuers, &sign(Algorithm::ES256, None, &ec.sign, &late)), wrong(TokenError::Expired));
    for text in ["a.b.c", "e30.e30.e30", "..", "a.b"] {
        assert!(judge(&issuers, text).is_err(), "{text}");
    }
    assert_eq!(judge(&Issuers::default(), &good), wrong(TokenError::Unsupported));
}

#[test]
fn keys_that_cannot_be_used() {
    let cause = |keys| Issuers::new(vec![settings(keys)]).unwrap_err().cause;
    assert_eq!(cause(IssuerKeys::Pem("x".into())), "it is no public key in PEM");
    assert_eq!(cause(IssuerKeys::Jwks("x".into())), "the text is no JSON Web Key Set");
    assert!(cause(IssuerKeys::Jwks(r#"{"keys":[]}"#.into())).starts_with("there is no key"));
    let (_, jwk) = rsa();
    let set = |count: usize| IssuerKeys::Jwks(json!({"keys": vec![jwk.clone(); count]}).to_string());
    assert!(Issuers::new(vec![settings(set(KEYS_MAX))]).is_ok());
    assert_eq!(cause(set(KEYS_MAX + 1)), "there are more than 64");
}
