//! Authorities, and the certificates that they sign.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A certificate with its key, as PEM.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Signs certificates.
pub(super) struct Authority {
    pub(super) certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("it can be signed").pem();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    /// Signs a certificate for a common name and hosts.
    pub(super) fn sign(&self, name: &str, hosts: &[&str]) -> Certificate {
        self.sign_params(&params(name, hosts))
    }

    pub(super) fn sign_params(&self, params: &CertificateParams) -> Certificate {
        let key = KeyPair::generate().expect("a key can be made");
        let signed = params.signed_by(&key, &self.issuer);
        Certificate {
            certificate: signed.expect("it can be signed").pem(),
            key: key.serialize_pem(),
        }
    }
}

pub(super) fn params(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("the hosts are well formed");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
