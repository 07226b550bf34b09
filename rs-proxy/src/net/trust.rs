//! Whose certificate is it: the endpoint's own, an inspecting proxy's, or a faulty one.
//!
//! The subject proves nothing, an inspecting proxy copies it; only the root tells. So the chain that was shown is
//! verified several times: against the roots known to be genuine, against what this machine trusts, and against the
//! public roots. Inspection is reported also where the machine trusts the inspecting CA.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::hop::{Failure, Hop};

/// Most certificates that a CA file may have.
pub const CA_CERTIFICATES_MAX: usize = 512;

/// The roots of Azure's endpoints.
const GENUINE: &[u8] = include_bytes!("../../data/genuine-roots.pem");

/// Why certificates cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The PEM text is broken.
    #[error("the certificate file is not PEM: {reason}; give a file with BEGIN CERTIFICATE blocks")]
    Pem {
        /// The parser's reason.
        reason: String,
    },
    /// No certificate in the file, or more than [`CA_CERTIFICATES_MAX`].
    #[error("the certificate file has {found} certificates; give 1 to {CA_CERTIFICATES_MAX}")]
    Count {
        /// Certificates found.
        found: usize,
    },
    /// A certificate that cannot be a root.
    #[error("a certificate in the file cannot be used as a root: {reason}")]
    Root {
        /// The reason.
        reason: String,
    },
    /// The TLS library refused its own provider.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// The reason.
        reason: String,
    },
}

/// What is trusted, and what is genuine.
///
/// # Examples
///
/// ```
/// use rs_proxy::net::Trust;
///
/// let trust = Trust::system()?;
/// assert!(trust.with_ca_pem(b"no certificate").is_err());
/// # Ok::<(), rs_proxy::net::TrustError>(())
/// ```
#[derive(Clone)]
pub struct Trust {
    provider: Arc<CryptoProvider>,
    /// What the operating system trusts; none where it has no store.
    platform: Option<Arc<dyn ServerCertVerifier>>,
    /// The CA file.
    extra: Option<Arc<WebPkiServerVerifier>>,
    genuine: Arc<WebPkiServerVerifier>,
    /// Organisations that the genuine roots belong to.
    genuine_owners: Arc<[String]>,
    public: Arc<WebPkiServerVerifier>,
}

impl Trust {
    /// The operating system's store, and the built-in list of genuine roots.
    ///
    /// # Errors
    ///
    /// [`TrustError::Tls`] if the TLS library cannot be set up.
    pub fn system() -> Result<Self, TrustError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let platform = rustls_platform_verifier::Verifier::new(provider.clone()).ok();
        let public = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let genuine = certificates(GENUINE)?;
        Ok(Self {
            platform: platform.map(|verifier| Arc::new(verifier) as Arc<dyn ServerCertVerifier>),
            extra: None,
            genuine_owners: genuine.iter().filter_map(owner).collect(),
            genuine: verifier(&provider, genuine)?,
            public: build(&provider, public)?,
            provider,
        })
    }

    /// Adds the CA certificates of a PEM text to what is trusted, as if they were in the machine's store.
    ///
    /// # Errors
    ///
    /// [`TrustError`] when the text holds no usable certificate.
    pub fn with_ca_pem(mut self, pem: &[u8]) -> Result<Self, TrustError> {
        self.extra = Some(verifier(&self.provider, certificates(pem)?)?);
        Ok(self)
    }

    /// Replaces the list of genuine roots by those of a PEM text.
    ///
    /// # Errors
    ///
    /// [`TrustError`] when the text holds no usable certificate.
    pub fn with_genuine_pem(mut self, pem: &[u8]) -> Result<Self, TrustError> {
        let genuine = certificates(pem)?;
        self.genuine_owners = genuine.iter().filter_map(owner).collect();
        self.genuine = verifier(&self.provider, genuine)?;
        Ok(self)
    }

    /// A TLS client that verifies against the machine's store and the CA file. For real connections.
    ///
    /// # Errors
    ///
    /// [`TrustError::Tls`] if the TLS library cannot be set up.
    pub fn client_config(&self) -> Result<ClientConfig, TrustError> {
        self.config(Arc::new(self.clone()))
    }

    /// A TLS client that takes any certificate and keeps the chain, to be judged before anything else is done.
    pub(super) fn recording_config(&self) -> Result<(ClientConfig, Arc<Recorder>), TrustError> {
        let recorder = Arc::new(Recorder { provider: self.provider.clone(), chain: Mutex::new(Vec::new()) });
        let mut config = self.config(recorder.clone())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok((config, recorder))
    }

    fn config(&self, verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, TrustError> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone());
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|e| TrustError::Tls { reason: e.to_string() })?;
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }

    /// Whether this machine, with the CA file, trusts a chain.
    fn trusts(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>, now: UnixTime) -> bool {
        let platform = self.platform.as_ref().is_some_and(|v| verify(v.as_ref(), chain, name, now).is_ok());
        platform || self.extra.as_ref().is_some_and(|v| verify(v.as_ref(), chain, name, now).is_ok())
    }

    /// Whose chain it is. `own` says that the endpoint is the user's own, for which the CA file is genuine.
    pub(super) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        host: &str,
        now: UnixTime,
        own: bool,
    ) -> Judgement {
        let fault = |fault| Judgement::Fault(fault);
        let Some(leaf) = chain.first().and_then(|der| Leaf::read(der)) else {
            return fault(Fault::Unreadable);
        };
        let Ok(name) = ServerName::try_from(host.to_owned()) else { return fault(Fault::Unreadable) };
        let inside = leaf.moment_inside(now);
        let mut result = verify(self.genuine.as_ref(), chain, &name, inside);
        if let (Err(_), true, Some(extra)) = (&result, own, &self.extra) {
            result = verify(extra.as_ref(), chain, &name, inside);
        }
        let others = || self.trusts(chain, &name, inside);
        match result {
            Ok(()) => leaf
                .outside(now)
                .map_or_else(|| Judgement::Genuine { trusted: others(), issuer: leaf.issuer.clone() }, fault),
            Err(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
                fault(Fault::Name(leaf.names))
            }
            Err(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                fault(Fault::ChainExpired)
            }
            Err(_) if leaf.is_self_signed() && !others() => fault(Fault::SelfSigned(leaf.subject)),
            Err(_) if verify(self.public.as_ref(), chain, &name, inside).is_ok() => {
                leaf.outside(now).map_or(Judgement::OtherRoot { issuer: leaf.issuer }, fault)
            }
            Err(_) if chain.len() == 1 && !others() && self.is_genuine_owner(&leaf) => {
                fault(Fault::MissingIntermediate(leaf.issuer))
            }
            Err(_) => Judgement::Inspected { trusted: others(), issuer: leaf.issuer },
        }
    }

    fn is_genuine_owner(&self, leaf: &Leaf) -> bool {
        leaf.issuer_owner.as_ref().is_some_and(|owner| self.genuine_owners.contains(owner))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("platform", &self.platform.is_some())
            .field("ca", &self.extra.is_some())
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let try_one = |v: &dyn ServerCertVerifier| {
            v.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        let platform = self.platform.as_ref().map(|v| try_one(v.as_ref()));
        match (platform, &self.extra) {
            (Some(Ok(verified)), _) => Ok(verified),
            (_, Some(extra)) => try_one(extra.as_ref()),
            (Some(Err(error)), None) => Err(error),
            (None, None) => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Takes any chain and keeps it. The peer must still prove that it has the key.
#[derive(Debug)]
pub(super) struct Recorder {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl Recorder {
    /// The chain of the last handshake.
    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.lock().map(|chain| chain.clone()).unwrap_or_default()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).map(|der| der.clone().into_owned());
        if let Ok(mut kept) = self.chain.lock() {
            *kept = chain.collect();
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whose chain it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It ends in a genuine root; whether this machine trusts that root too.
    Genuine { trusted: bool, issuer: String },
    /// It ends in another public root.
    OtherRoot { issuer: String },
    /// It ends in a root that is not genuine.
    Inspected { issuer: String, trusted: bool },
    /// It is genuine or may be, but cannot be used.
    Fault(Fault),
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Unreadable,
    Expired(String),
    NotYetValid(String),
    ChainExpired,
    Name(Vec<String>),
    SelfSigned(String),
    MissingIntermediate(String),
}

impl Judgement {
    /// Who issued the certificate, where that is known.
    pub(super) fn issuer(&self) -> Option<&str> {
        match self {
            Self::Genuine { issuer, .. }
            | Self::OtherRoot { issuer }
            | Self::Inspected { issuer, .. }
            | Self::Fault(Fault::MissingIntermediate(issuer)) => Some(issuer),
            Self::Fault(_) => None,
        }
    }

    pub(super) fn is_not_yet_valid(&self) -> bool {
        matches!(self, Self::Fault(Fault::NotYetValid(_)))
    }

    pub(super) fn is_expired(&self) -> bool {
        matches!(self, Self::Fault(Fault::Expired(_) | Fault::ChainExpired))
    }

    pub(super) fn genuine_issuer(&self) -> Option<String> {
        matches!(self, Self::Genuine { .. }).then(|| self.issuer().map(str::to_owned)).flatten()
    }

    pub(super) fn missing_issuer(&self) -> Option<String> {
        matches!(self, Self::Fault(Fault::MissingIntermediate(_)))
            .then(|| self.issuer().map(str::to_owned))
            .flatten()
    }

    pub(super) fn as_missing(&self) -> Self {
        Self::Fault(Fault::MissingIntermediate(self.issuer().unwrap_or_default().to_owned()))
    }

    pub(super) fn as_inspected(&self) -> Self {
        Self::Inspected { issuer: self.issuer().unwrap_or_default().to_owned(), trusted: false }
    }

    /// The failure, if it is one.
    pub(super) fn failure(&self, host: &str) -> Option<Failure> {
        match self {
            Self::Genuine { .. } | Self::OtherRoot { .. } => None,
            Self::Inspected { issuer, trusted } => {
                let known =
                    if *trusted { "which this machine trusts" } else { "which this machine does not trust" };
                Some(Failure::new(
                    Hop::TlsInspection,
                    format!("issuer {issuer}"),
                    format!(
                        "TLS to {host} is opened on the way: the certificate is issued by {issuer}, {known}. Azure does not support inspection"
                    ),
                    format!(
                        "exempt {host} and the other endpoints from TLS inspection on the device that uses {issuer}"
                    ),
                ))
            }
            Self::Fault(fault) => Some(fault.failure(host)),
        }
    }
}

impl Fault {
    fn failure(&self, host: &str) -> Failure {
        let (evidence, explanation, fix) = match self {
            Self::Unreadable => (
                "unreadable certificate".to_owned(),
                "its certificate cannot be read".to_owned(),
                "look at what answers for this name",
            ),
            Self::Expired(when) => (
                format!("valid until {when}"),
                "its certificate has expired, or this machine's clock is ahead".to_owned(),
                "check this machine's clock first, then what answers for this name",
            ),
            Self::NotYetValid(when) => (
                format!("valid from {when}"),
                "its certificate is not valid yet, so this machine's clock is most likely behind".to_owned(),
                "check this machine's clock first",
            ),
            Self::ChainExpired => (
                "expired issuer".to_owned(),
                "a certificate of its chain is outside its time".to_owned(),
                "check this machine's clock first",
            ),
            Self::Name(names) => (
                format!("names {}", names.join(", ")),
                "its certificate is for other names".to_owned(),
                "check DNS and what answers for this name: another server does",
            ),
            Self::SelfSigned(subject) => (
                format!("self-signed {subject}"),
                "its certificate is self-signed".to_owned(),
                "look at what answers for this name: it is not the endpoint, or a device in between",
            ),
            Self::MissingIntermediate(issuer) => (
                format!("issuer {issuer} not sent"),
                "the server does not send its intermediate certificate".to_owned(),
                "install the intermediate certificate, or report it to the endpoint's owner; this is not inspection",
            ),
        };
        Failure::new(Hop::TlsCertificate, evidence, format!("{host} answers, but {explanation}"), fix)
    }
}

/// What is read from a leaf certificate.
#[derive(Debug)]
struct Leaf {
    subject: String,
    issuer: String,
    issuer_owner: Option<String>,
    self_issued: bool,
    not_before: (i64, String),
    not_after: (i64, String),
    names: Vec<String>,
}

impl Leaf {
    fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|san| san.value.general_names.iter().filter_map(dns_name).take(20).collect());
        let time = |time: x509_parser::time::ASN1Time| (time.timestamp(), time.to_string());
        let issuer = certificate.issuer();
        let text = |name: &x509_parser::x509::X509Name<'_>| {
            name.iter_common_name()
                .next()
                .and_then(|cn| cn.as_str().ok())
                .map_or_else(|| name.to_string(), str::to_owned)
        };
        Some(Self {
            subject: crate::name::shown(&text(certificate.subject())),
            issuer: crate::name::shown(&text(issuer)),
            issuer_owner: issuer.iter_organization().next().and_then(|o| o.as_str().ok()).map(str::to_owned),
            self_issued: certificate.subject() == issuer,
            not_before: time(certificate.validity().not_before),
            not_after: time(certificate.validity().not_after),
            names: names.unwrap_or_default(),
        })
    }

    fn is_self_signed(&self) -> bool {
        self.self_issued
    }

    /// `now`, or the nearest moment at which the leaf is valid, so that its time does not hide whose it is.
    fn moment_inside(&self, now: UnixTime) -> UnixTime {
        let seconds = i64::try_from(now.as_secs())
            .unwrap_or(i64::MAX)
            .clamp(self.not_before.0, self.not_after.0.max(self.not_before.0));
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// The fault, when `now` is outside the leaf's time.
    fn outside(&self, now: UnixTime) -> Option<Fault> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now < self.not_before.0 {
            Some(Fault::NotYetValid(self.not_before.1.clone()))
        } else if now > self.not_after.0 {
            Some(Fault::Expired(self.not_after.1.clone()))
        } else {
            None
        }
    }
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(crate::name::shown(name)),
        _ => None,
    }
}

/// The organisation a root belongs to.
fn owner(der: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let owner = certificate.subject().iter_organization().next()?.as_str().ok()?.to_owned();
    Some(owner)
}

/// The certificates of a PEM text.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem).take(CA_CERTIFICATES_MAX + 1).collect();
    let found = found.map_err(|error| TrustError::Pem { reason: error.to_string() })?;
    if found.is_empty() || found.len() > CA_CERTIFICATES_MAX {
        return Err(TrustError::Count { found: found.len() });
    }
    Ok(found)
}

fn verifier(
    provider: &Arc<CryptoProvider>,
    roots: Vec<CertificateDer<'static>>,
) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root).map_err(|error| TrustError::Root { reason: error.to_string() })?;
    }
    build(provider, store)
}

fn build(
    provider: &Arc<CryptoProvider>,
    store: RootCertStore,
) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
        .build()
        .map_err(|error: VerifierBuilderError| TrustError::Tls { reason: error.to_string() })
}

/// Verifies a chain; an error that is not about the certificate counts as an unknown issuer.
fn verify(
    verifier: &dyn ServerCertVerifier,
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), CertificateError> {
    let Some((leaf, rest)) = chain.split_first() else { return Err(CertificateError::UnknownIssuer) };
    match verifier.verify_server_cert(leaf, rest, name, &[], now) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(error)) => Err(error),
        Err(_) => Err(CertificateError::UnknownIssuer),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_built_in_roots_are_roots() {
        let roots = certificates(GENUINE).unwrap();
        assert_eq!(roots.len(), 5);
        let owners: Vec<String> = roots.iter().filter_map(owner).collect();
        assert!(owners.iter().all(|o| o == "DigiCert Inc" || o == "Microsoft Corporation"), "{owners:?}");
    }

    #[test]
    fn ca_files_have_a_bound() {
        let one = String::from_utf8_lossy(GENUINE);
        let (_, one) = one.split_once("-----BEGIN").unwrap();
        let one = format!("-----BEGIN{}-----END CERTIFICATE-----\n", one.split("-----END").next().unwrap());
        assert_eq!(
            certificates(one.repeat(CA_CERTIFICATES_MAX).as_bytes()).unwrap().len(),
            CA_CERTIFICATES_MAX
        );
        assert!(certificates(one.repeat(CA_CERTIFICATES_MAX + 1).as_bytes()).is_err());
        assert_eq!(certificates(b""), Err(TrustError::Count { found: 0 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_bytes_of_a_peer_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..900, with: u8) {
            let trust = Trust::system().unwrap();
            let now = UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000));
            let judged = trust.judge(&[CertificateDer::from(bytes)], "h.example", now, false);
            prop_assert!(judged.failure("h.example").is_some());
            let mut der = certificates(GENUINE).unwrap()[0].to_vec();
            if let Some(byte) = der.get_mut(at) {
                *byte = with;
            }
            let _ = trust.judge(&[CertificateDer::from(der)], "h.example", now, false);
        }
    }
}
