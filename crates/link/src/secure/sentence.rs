//! What went wrong with TLS, in sentences for people.

use crate::identity::Flaw;
use rustls::{AlertDescription, Error, PeerIncompatible};

/// First bytes of a record: a handshake, or an alert that refuses one.
const HANDSHAKE: u8 = 0x16;
const ALERT: u8 = 0x15;
/// So many bytes of what is not TLS are shown.
const SHOWN: usize = 16;

/// Whether the first bytes of a connection can be TLS.
pub(super) fn not_tls(bytes: &[u8]) -> Result<(), String> {
    match bytes {
        [] | [HANDSHAKE | ALERT] | [HANDSHAKE | ALERT, 3, ..] => Ok(()),
        _ => {
            let shown = bytes[..bytes.len().min(SHOWN)].escape_ascii();
            // size[4], then Tversion or Rversion.
            let guess = match bytes {
                [_, _, _, _, 100 | 101, ..] => "; it looks like 9P in the clear: dial tls!HOST!PORT",
                _ if bytes.starts_with(b"SSH-") => "; an ssh server is there: is the port right?",
                _ if bytes.starts_with(b"HTTP/") => "; a web server is there: is the port right?",
                _ => "",
            };
            Err(format!("this is not TLS: it begins with \"{shown}\"{guess}"))
        }
    }
}

/// What an error means. `flaw`: what our own verifier found; `dialled`: we did, so the other end is who answered.
pub(super) fn sentence(error: &Error, flaw: Option<&Flaw>, dialled: bool) -> String {
    let other = if dialled { "the other end" } else { "who dialled" };
    match error {
        Error::InvalidCertificate(_) => match flaw {
            Some(flaw) => flaw.to_string(),
            None => "its certificate is not its own: it could not sign with the certificate's key".into(),
        },
        Error::NoCertificatesPresented => format!("{other} has shown no certificate"),
        Error::AlertReceived(alert) => refused(*alert, other),
        Error::PeerIncompatible(PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon) => {
            "it is none of uem's: it does not take certificates of the kind that a trust domain has".into()
        }
        Error::PeerIncompatible(_) => {
            format!(
                "{other} speaks another TLS than uem, which speaks 1.3: is something else at that address?"
            )
        }
        Error::InvalidMessage(_) => format!("what {other} sent is not TLS, or was cut on the way"),
        Error::DecryptError => "what came was changed on the way, or is not of this connection".into(),
        Error::PeerSentOversizedRecord => format!("{other} sent more at once than TLS allows"),
        Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_) => {
            format!("{other} does not keep to TLS: is something else than uem there?")
        }
        Error::FailedToGetRandomBytes => "the system gives no random numbers".into(),
        Error::FailedToGetCurrentTime => "this machine's clock stands before 1970".into(),
        _ => format!("TLS with {other} failed for a reason that has no name here"),
    }
}

/// What the other end's alert means.
fn refused(alert: AlertDescription, other: &str) -> String {
    let why = match alert {
        AlertDescription::UnknownCA => "is of another trust domain: join its own with \"uem join\"",
        AlertDescription::CertificateExpired => {
            "has expired, or is not good yet, by the clock there: compare the clocks, or join again with a new token"
        }
        AlertDescription::CertificateRevoked => "is revoked: join again with a new token of \"uem invite\"",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "cannot be understood there"
        }
        AlertDescription::UnsupportedCertificate => "is a user's, and a node's is wanted there",
        AlertDescription::CertificateRequired => {
            return format!("{other} wants a certificate, and this node has none: join with \"uem join\"");
        }
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            return format!("{other} speaks another TLS than uem, which speaks 1.3");
        }
        AlertDescription::CloseNotify | AlertDescription::UserCanceled => {
            return format!("{other} broke off");
        }
        alert => return format!("{other} broke off the TLS connection (alert {})", u8::from(alert)),
    };
    format!("{other} says that this node's certificate {why}")
}
