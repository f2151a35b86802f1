//! What can be done about the commonest failures of a handshake.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Returns the cure, where rustls is among the sources of an error and its cause is a known one.
pub(in super::super) fn cure(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    use AlertDescription as Alert;
    use CertificateError as Certificate;

    let cure = match rustls_error(error)? {
        Error::InvalidCertificate(reason) => match reason {
            Certificate::UnknownIssuer => {
                "no root that is trusted here has signed the server's certificate: give sslrootcert=FILE with the \
                 certificate of its CA"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "connect to a host in the certificate's subjectAltName, its common name does not count; or say \
                 sslmode=verify-ca, if every certificate of this CA is the database's"
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "renew the server's certificate, or set the clock here"
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "set the clock here, or wait"
            }
            _ => {
                "the server needs a certificate of X.509 version 3 for servers, signed by a CA and not itself one"
            }
        },
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::DecryptError
            | Alert::AccessDenied,
        ) => {
            "the server refuses the client's certificate: give sslcert and sslkey with one that the server's \
             ssl_ca_file has signed"
        }
        Error::AlertReceived(Alert::ProtocolVersion) | Error::PeerIncompatible(_) => {
            "the server has to speak TLS 1.2 or newer"
        }
        _ => return None,
    };
    Some(cure)
}

fn rustls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        // What an `io::Error` wraps is not among its sources.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .and_then(|error| error.downcast_ref());
        if let Some(found) = error.downcast_ref().or(wrapped) {
            return Some(found);
        }
        next = error.source();
    }
    None
}
