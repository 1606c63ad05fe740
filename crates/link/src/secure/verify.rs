//! How certificates are judged in a handshake: by the trust domain's authority, and by nothing else.

use crate::identity::{Authority, Flaw, Part, Pin, Revoked, SIGNATURES};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use std::sync::{Arc, OnceLock};

/// Signatures in a handshake: ECDSA with P-256.
pub(super) const ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: SIGNATURES,
    mapping: &[(SignatureScheme::ECDSA_NISTP256_SHA256, SIGNATURES)],
};

/// What was wrong with a certificate, told beside TLS's own error, which has no room for it.
pub(super) type Verdict = Arc<OnceLock<Flaw>>;

/// Who may be at the other end.
#[derive(Debug)]
pub(super) enum Expected {
    /// Whoever that authority has a certificate for that is not on the list.
    Of { authority: Arc<Authority>, revoked: Option<Arc<Revoked>> },
    /// Whoever the authority with that key has a certificate for.
    Pinned(Pin),
}

/// Judges one connection's other end.
#[derive(Debug)]
pub(super) struct Verifier {
    expected: Expected,
    verdict: Verdict,
}

impl Verifier {
    pub(super) fn new(expected: Expected, verdict: &Verdict) -> Verifier {
        Verifier { expected, verdict: verdict.clone() }
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        part: Part,
    ) -> Result<(), Error> {
        let judged = match &self.expected {
            Expected::Of { authority, revoked } => {
                authority.judge(revoked.as_deref(), certificate, others, now, part)
            }
            Expected::Pinned(pin) => {
                let read = |other: &CertificateDer<'_>| Authority::read(other.clone().into_owned());
                let shown: Vec<Authority> = others.iter().filter_map(read).collect();
                match shown.iter().find(|authority| authority.pin == *pin) {
                    Some(authority) => authority.judge(None, certificate, others, now, part),
                    None => Err(Flaw::Foreign(shown.last().map(|authority| authority.pin))),
                }
            }
        };
        judged.map(|_| ()).map_err(|flaw| {
            let _ = self.verdict.set(flaw);
            // What TLS can tell the other end in its alert.
            Error::InvalidCertificate(match flaw {
                Flaw::Unreadable | Flaw::Stolen => CertificateError::BadEncoding,
                Flaw::Foreign(_) => CertificateError::UnknownIssuer,
                Flaw::Expired(_) | Flaw::TooEarly(_) => CertificateError::Expired,
                Flaw::Revoked => CertificateError::Revoked,
                Flaw::User => CertificateError::InvalidPurpose,
            })
        })
    }

    fn signed(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &ALGORITHMS)
    }

    fn old() -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity, intermediates, now, Part::Answered).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Verifier::old()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Verifier::signed(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity, intermediates, now, Part::Dialled).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Verifier::old()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Verifier::signed(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}
