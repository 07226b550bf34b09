//! A certificate that can be replaced while the server runs.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret, SecretString};

use super::TlsTransportError;

/// The certificate of a [`TlsTransport`](super::TlsTransport). Clones are handles to the same one.
#[derive(Clone)]
pub struct Certificate(Arc<Current>);

struct Current(RwLock<Arc<CertifiedKey>>);

impl Certificate {
    pub(super) fn new(
        certificate_pem: &str,
        key_pem: &SecretString,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsTransportError> {
        let key = certified_key(certificate_pem, key_pem, provider)?;
        Ok(Self(Arc::new(Current(RwLock::new(Arc::new(key))))))
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::clone(&self.0) as Arc<dyn ResolvesServerCert>
    }

    /// Uses another chain and key, both in PEM, for the handshakes to come.
    ///
    /// # Errors
    ///
    /// [`TlsTransportError`]; the old one stays in use then.
    pub fn replace(&self, certificate_pem: &str, key_pem: &SecretString) -> Result<(), TlsTransportError> {
        let key = certified_key(certificate_pem, key_pem, &rustls::crypto::aws_lc_rs::default_provider())?;
        *self.0.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
        Ok(())
    }
}

fn certified_key(
    certificate_pem: &str,
    key_pem: &SecretString,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsTransportError> {
    let chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsTransportError::Certificate)?;
    if chain.is_empty() {
        return Err(TlsTransportError::Certificate(rustls::pki_types::pem::Error::NoItemsFound));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key_pem.expose_secret().as_bytes()).map_err(TlsTransportError::Key)?;
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(…)")
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(…)")
    }
}
