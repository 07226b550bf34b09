//! Certificates for a relay that has none: an authority of its own, and a server certificate signed by it.
//!
//! Good for one site whose clients are given the authority's certificate. Not a public key infrastructure: there is no
//! revocation, and the authority's key lies beside the relay.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use secrecy::{ExposeSecret, SecretString};

/// Making a certificate failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevCertificateError {
    /// A name is no DNS name and no IP address.
    #[error("{name:?} is no DNS name and no IP address, so no certificate can be made for it")]
    Name {
        /// The name.
        name: String,
    },
    /// No name was given.
    #[error("no name was given to make a certificate for")]
    NoName,
    /// The authority's PEM text cannot be read.
    #[error("the authority's key cannot be read")]
    Authority(#[source] rcgen::Error),
    /// Signing failed.
    #[error("the certificate could not be made")]
    Make(#[source] rcgen::Error),
}

/// A certificate authority of one relay.
pub struct DevAuthority {
    certificate_pem: String,
    key_pem: SecretString,
}

impl DevAuthority {
    /// A new authority with a key of its own.
    ///
    /// # Errors
    ///
    /// [`DevCertificateError::Make`].
    pub fn create() -> Result<Self, DevCertificateError> {
        let key = KeyPair::generate().map_err(DevCertificateError::Make)?;
        let certificate = authority_params().self_signed(&key).map_err(DevCertificateError::Make)?;
        Ok(Self { certificate_pem: certificate.pem(), key_pem: key.serialize_pem().into() })
    }

    /// An authority made by [`DevAuthority::create`] and stored as PEM.
    #[must_use]
    pub fn from_pem(certificate_pem: String, key_pem: SecretString) -> Self {
        Self { certificate_pem, key_pem }
    }

    /// The authority's certificate in PEM: what clients are given.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's key in PEM: for a file that only its owner can read.
    #[must_use]
    pub fn key_pem(&self) -> &SecretString {
        &self.key_pem
    }

    /// A server certificate for DNS names and IP addresses.
    ///
    /// # Errors
    ///
    /// [`DevCertificateError`].
    pub fn issue<N: Into<String>>(
        &self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<DevCertificate, DevCertificateError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let first = names.first().cloned().ok_or(DevCertificateError::NoName)?;
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            return Err(DevCertificateError::Name { name: name.clone() });
        }
        let authority_key =
            KeyPair::from_pem(self.key_pem.expose_secret()).map_err(DevCertificateError::Authority)?;
        let issuer = Issuer::new(authority_params(), authority_key);
        let key = KeyPair::generate().map_err(DevCertificateError::Make)?;
        let mut params = CertificateParams::new(names).map_err(DevCertificateError::Make)?;
        params.distinguished_name = common_name(&first);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params);
        let certificate = params.signed_by(&key, &issuer).map_err(DevCertificateError::Make)?;
        Ok(DevCertificate {
            authority_pem: self.certificate_pem.clone(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem().into(),
        })
    }
}

impl std::fmt::Debug for DevAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevAuthority").finish_non_exhaustive()
    }
}

/// A server certificate with its key and the authority that signed it.
pub struct DevCertificate {
    authority_pem: String,
    certificate_pem: String,
    key_pem: SecretString,
}

impl DevCertificate {
    /// The authority's certificate in PEM: what clients are given.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// The server's certificate chain in PEM, authority included.
    #[must_use]
    pub fn server_pem(&self) -> String {
        format!("{}{}", self.certificate_pem, self.authority_pem)
    }

    /// The server's key in PEM: for a file that only its owner can read.
    #[must_use]
    pub fn key_pem(&self) -> &SecretString {
        &self.key_pem
    }
}

impl std::fmt::Debug for DevCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevCertificate").finish_non_exhaustive()
    }
}

/// A fresh authority and a server certificate in one step; the authority's key is thrown away.
///
/// # Errors
///
/// [`DevCertificateError`].
///
/// ```
/// use rs_relay::server::dev_certificate;
///
/// let made = dev_certificate(["localhost", "127.0.0.1"])?;
/// assert!(made.authority_pem().starts_with("-----BEGIN CERTIFICATE-----"));
/// assert!(dev_certificate(["not a name"]).is_err());
/// # Ok::<(), rs_relay::server::DevCertificateError>(())
/// ```
pub fn dev_certificate<N: Into<String>>(
    names: impl IntoIterator<Item = N>,
) -> Result<DevCertificate, DevCertificateError> {
    DevAuthority::create()?.issue(names)
}

fn is_name(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() || rustls::pki_types::DnsName::try_from(name).is_ok()
}

/// The same for every authority, so that one that was stored can sign again.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = common_name("Remote support relay authority");
    set_validity(&mut params);
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

/// Fixed dates: nothing here depends on the clock of the machine, which may be wrong at the first start.
fn set_validity(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
}
