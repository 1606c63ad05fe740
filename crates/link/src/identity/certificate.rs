//! Certificates of a trust domain: made, read, and judged. They are X.509 (RFC 5280), their keys ECDSA P-256, and who
//! somebody is stands in a URI: `uem://node/<id>/<name>` or `uem://user/<name>`.

use super::{LIFETIME_AUTHORITY, Pin, Revoked, SKEW, Who, check_name, der, node_id, random};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use std::fmt;
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage};

/// The one kind of signature that is used.
pub(crate) static SIGNATURES: &[&dyn SignatureVerificationAlgorithm] = &[webpki::ring::ECDSA_P256_SHA256];

/// The head of a SubjectPublicKeyInfo of P-256; the point follows, uncompressed.
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A public key: a point of P-256, uncompressed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Point(pub(super) [u8; 65]);

impl Point {
    /// As it stands in certificates.
    pub(super) fn spki(&self) -> Vec<u8> {
        [SPKI_HEAD.as_slice(), &self.0].concat()
    }

    /// The other way.
    pub(super) fn of_spki(spki: &[u8]) -> Option<Point> {
        spki.strip_prefix(&SPKI_HEAD)?.try_into().ok().map(Point)
    }

    /// Of a pair.
    pub(super) fn of(pair: &KeyPair) -> Result<Point, String> {
        let point = pair.public_key_raw().try_into().ok();
        point.map(Point).ok_or_else(|| "is not a key of the curve P-256".to_owned())
    }

    /// Whether the owner of the key signed that.
    pub(super) fn signed(&self, signature: &[u8], parts: &[&[u8]]) -> bool {
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_ASN1, self.0);
        key.verify(&parts.concat(), signature).is_ok()
    }
}

impl rcgen::PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// A time as rcgen wants it; what is beyond all calendars is its end.
pub(super) fn date(unix: u64) -> OffsetDateTime {
    let known = i64::try_from(unix).ok().and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok());
    known.unwrap_or(time::PrimitiveDateTime::MAX.assume_utc())
}

/// The day, for people.
fn day(time: UnixTime) -> String {
    let date = date(time.as_secs());
    format!("{}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

/// What is said of every certificate and list of a domain's authority.
pub(super) fn authority_params(pin: &Pin) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("uem trust domain {}", pin.short()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The authority's own certificate.
pub(super) fn authority(pair: &KeyPair, now: u64) -> Result<CertificateDer<'static>, String> {
    let mut params = authority_params(&Pin::of(&Point::of(pair)?));
    params.serial_number = Some(serial()?.as_slice().to_vec().into());
    params.not_before = date(now.saturating_sub(SKEW.as_secs()));
    params.not_after = date(now.saturating_add(LIFETIME_AUTHORITY.as_secs()));
    params
        .self_signed(pair)
        .map(Into::into)
        .map_err(|error| format!("cannot make the authority's certificate: {error}"))
}

/// A number that no other certificate has. Its first byte needs no care: positive, and not zero.
pub(super) fn serial() -> Result<[u8; 16], String> {
    let mut serial: [u8; 16] = random()?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

/// What a new certificate says.
pub(super) struct Claim<'a> {
    pub(super) who: &'a Who,
    pub(super) key: &'a Point,
    pub(super) serial: [u8; 16],
    pub(super) from: u64,
    pub(super) until: u64,
}

/// A certificate that says it, signed by the authority.
pub(super) fn certify(authority: &KeyPair, claim: &Claim<'_>) -> Result<CertificateDer<'static>, String> {
    let failed = |error| format!("cannot make a certificate: {error}");
    let mut params = CertificateParams::default();
    let uri = uri(claim.who).try_into().map_err(failed)?;
    params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, claim.who.name());
    params.serial_number = Some(claim.serial.to_vec().into());
    params.not_before = date(claim.from);
    params.not_after = date(claim.until);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let issuer = rcgen::Issuer::new(authority_params(&Pin::of(&Point::of(authority)?)), authority);
    params.signed_by(claim.key, &issuer).map(Into::into).map_err(failed)
}

pub(super) fn uri(who: &Who) -> String {
    match who {
        Who::Node { id, name } => format!("uem://node/{id}/{}", escape(name)),
        Who::User { name } => format!("uem://user/{}", escape(name)),
    }
}

/// Letters, digits, and what RFC 3986 calls unreserved stay; the other bytes are `%` and two digits.
fn escape(name: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    };
    name.bytes().map(one).collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Who such a URI is about. There is one way to write each.
pub(super) fn of_uri(text: &str) -> Option<Who> {
    let what = text.strip_prefix("uem://")?;
    let who = match what.split_once('/')? {
        ("user", name) => Who::User { name: unescape(name)? },
        ("node", rest) => {
            let (id, name) = rest.split_once('/')?;
            Who::Node { id: id.parse().ok()?, name: unescape(name)? }
        }
        _ => return None,
    };
    (check_name(who.name()).is_ok() && uri(&who) == text).then_some(who)
}

/// A certificate, read but not judged.
pub(crate) struct Shown<'a> {
    certificate: EndEntityCert<'a>,
}

impl<'a> Shown<'a> {
    /// `None`: it is no certificate.
    pub(crate) fn read(der: &'a CertificateDer<'a>) -> Option<Shown<'a>> {
        EndEntityCert::try_from(der).ok().map(|certificate| Shown { certificate })
    }

    /// Whose the certificate says it is, if it says so at all.
    pub(crate) fn who(&self) -> Option<Who> {
        let mut uris = self.certificate.valid_uri_names();
        let who = of_uri(uris.next()?)?;
        uris.next().is_none().then_some(who)
    }

    /// Its number.
    pub(crate) fn serial(&self) -> &[u8] {
        self.certificate.serial()
    }

    /// Its key.
    pub(super) fn key(&self) -> Option<Point> {
        Point::of_spki(&self.certificate.subject_public_key_info())
    }
}

/// The authority of a trust domain, as others know it.
pub(crate) struct Authority {
    pub(crate) pin: Pin,
    pub(crate) certificate: CertificateDer<'static>,
    pub(super) key: Point,
    anchor: TrustAnchor<'static>,
}

impl Authority {
    /// Of its certificate. `None`: it is none of uem's.
    pub(crate) fn read(certificate: CertificateDer<'static>) -> Option<Authority> {
        let key = Shown::read(&certificate)?.key()?;
        // By itself: else somebody on the way of a grant could have changed what it says.
        let (body, signature) = der::signed(&certificate)?;
        if !key.signed(signature, &[body.whole]) {
            return None;
        }
        let anchor = webpki::anchor_from_trusted_cert(&certificate).ok()?.to_owned();
        Some(Authority { pin: Pin::of(&key), key, anchor, certificate })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.pin)
    }
}

/// What somebody shows a certificate for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// He dialled us.
    Dialled,
    /// We dialled him.
    Answered,
}

/// Why a certificate is not accepted. Its `Display` is a sentence about "its certificate".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// It cannot be read, or says nothing that we understand.
    Unreadable,
    /// Another authority signed it: this one, or one that is not said.
    Foreign(Option<Pin>),
    /// Its time is over.
    Expired(UnixTime),
    /// Its time has not come.
    TooEarly(UnixTime),
    /// The authority took it back.
    Revoked,
    /// It is a user's, shown by who answered.
    User,
    /// Its id is not that of its key.
    Stolen,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Unreadable => write!(f, "its certificate is none of uem's"),
            Flaw::Foreign(Some(pin)) => write!(
                f,
                "its certificate is of another trust domain ({}): join this one with \"uem join\"",
                pin.short()
            ),
            Flaw::Foreign(None) => {
                write!(f, "its certificate is of another trust domain: join this one with \"uem join\"")
            }
            Flaw::Expired(end) => write!(
                f,
                "its certificate expired on {}, by this machine's clock: it needs a new token of \"uem invite\"",
                day(*end)
            ),
            Flaw::TooEarly(start) => write!(
                f,
                "its certificate is good from {} on, and by this machine's clock that is still to come: one of the two \
                 clocks is wrong",
                day(*start)
            ),
            Flaw::Revoked => write!(f, "its certificate is revoked: it needs a new token of \"uem invite\""),
            Flaw::User => write!(f, "its certificate is a user's, and a node's is wanted here"),
            Flaw::Stolen => write!(f, "its certificate names an id that is not the id of its key"),
        }
    }
}

impl Authority {
    /// Judges a certificate, shown with those others, at that time.
    pub(crate) fn judge(
        &self,
        revoked: Option<&Revoked>,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        part: Part,
    ) -> Result<Who, Flaw> {
        let shown = Shown::read(certificate).ok_or(Flaw::Unreadable)?;
        // Our certificates say nothing of purposes: what one is good for follows from whose it is, below.
        let usage = KeyUsage::client_auth();
        let anchors = std::slice::from_ref(&self.anchor);
        let foreign = || {
            let mut pins = others.iter().filter_map(|other| Some(Pin::of(&Shown::read(other)?.key()?)));
            Flaw::Foreign(pins.next_back().filter(|pin| *pin != self.pin))
        };
        // No certificates between the authority's and this one: there are none in a domain.
        shown.certificate.verify_for_usage(SIGNATURES, anchors, &[], now, usage, None, None).map_err(
            |error| match error {
                webpki::Error::CertExpired { not_after, .. } => Flaw::Expired(not_after),
                webpki::Error::CertNotValidYet { not_before, .. } => Flaw::TooEarly(not_before),
                webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => foreign(),
                webpki::Error::CaUsedAsEndEntity => foreign(),
                _ => Flaw::Unreadable,
            },
        )?;
        if revoked.is_some_and(|list| list.has(shown.serial())) {
            return Err(Flaw::Revoked);
        }
        let who = shown.who().ok_or(Flaw::Unreadable)?;
        match &who {
            Who::Node { id, .. } if shown.key().map(|key| node_id(&key)) != Some(*id) => Err(Flaw::Stolen),
            Who::User { .. } if part == Part::Answered => Err(Flaw::User),
            Who::Node { .. } | Who::User { .. } => Ok(who),
        }
    }
}
