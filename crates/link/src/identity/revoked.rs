//! The list of what is revoked: an X.509 CRL (RFC 5280, section 5) that the authority signs. It only grows, and each new
//! one has a higher number.

use super::{
    Pin, REVOKED_BYTES,
    certificate::{Authority, Point, authority_params, date},
    der,
};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, KeyPair, RevokedCertParams};
use std::collections::BTreeMap;

/// The extension that has a list's number: 2.5.29.20.
const NUMBER: [u8; 3] = [0x55, 0x1d, 0x14];

/// A list whose signature was checked.
#[derive(Debug)]
pub(crate) struct Revoked {
    /// As it was signed.
    pub(super) der: Vec<u8>,
    /// Later lists have higher ones.
    pub(super) number: u64,
    /// When each certificate was put on it, by its own number.
    entries: BTreeMap<Vec<u8>, u64>,
}

impl Revoked {
    /// Whether a certificate is on it.
    pub(crate) fn has(&self, serial: &[u8]) -> bool {
        self.entries.contains_key(serial)
    }

    /// Reads a list, if that authority signed it.
    pub(super) fn read(der: &[u8], authority: &Authority) -> Result<Revoked, String> {
        if der.len() > REVOKED_BYTES {
            return Err(format!(
                "a list of revoked certificates may have {REVOKED_BYTES} bytes, not {}",
                der.len()
            ));
        }
        let unreadable = || "what should be a list of revoked certificates cannot be read".to_owned();
        let (body, signature) = der::signed(der).ok_or_else(unreadable)?;
        if !authority.key.signed(signature, &[body.whole]) {
            return Err(
                "a list of revoked certificates is not signed by the authority of this trust domain".into()
            );
        }
        let number = number(body.content).ok_or_else(unreadable)?;
        let list = webpki::BorrowedCertRevocationList::from_der(der).map_err(|_| unreadable())?;
        let entry = |one: webpki::BorrowedRevokedCert<'_>| {
            (one.serial_number.to_vec(), one.revocation_date.as_secs())
        };
        let entries = (&list).into_iter().map(|one| one.map(entry)).collect::<Result<_, _>>();
        Ok(Revoked { der: der.to_vec(), number, entries: entries.map_err(|_| unreadable())? })
    }

    /// The list that follows `before`, with those certificates added.
    pub(super) fn following(
        before: Option<&Revoked>,
        serials: impl Iterator<Item = Vec<u8>>,
        authority: &KeyPair,
        now: u64,
    ) -> Result<Vec<u8>, String> {
        let mut entries = before.map(|list| list.entries.clone()).unwrap_or_default();
        entries.extend(serials.map(|serial| (serial, now)));
        let one = |(serial, at): (Vec<u8>, u64)| RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: date(at),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date(now),
            // A list is good until the next one comes, whenever that is.
            next_update: date(now.saturating_add(super::LIFETIME_AUTHORITY.as_secs())),
            crl_number: (before.map_or(0, |list| list.number) + 1).into(),
            issuing_distribution_point: None,
            revoked_certs: entries.into_iter().map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = rcgen::Issuer::new(authority_params(&Pin::of(&Point::of(authority)?)), authority);
        let list = params
            .signed_by(&issuer)
            .map_err(|error| format!("cannot sign a list of revoked certificates: {error}"))?;
        if list.der().len() > REVOKED_BYTES {
            return Err(format!(
                "the list of revoked certificates would be longer than {REVOKED_BYTES} bytes: found a new trust domain"
            ));
        }
        Ok(list.der().to_vec())
    }
}

/// The number, in the body of a list.
fn number(body: &[u8]) -> Option<u64> {
    let tagged = der::elements(body).find(|element| element.tag == 0xa0)?;
    let (extensions, _) = der::expect(der::SEQUENCE, tagged.content)?;
    for extension in der::elements(extensions.content) {
        let (oid, rest) = der::expect(der::OID, extension.content)?;
        if oid.content != NUMBER {
            continue;
        }
        let value = der::elements(rest).find(|element| element.tag == der::OCTET_STRING)?;
        let (integer, _) = der::expect(der::INTEGER, value.content)?;
        let digits = integer.content.strip_prefix(&[0]).unwrap_or(integer.content);
        return (digits.len() <= 8).then(|| digits.iter().fold(0, |all, digit| all << 8 | u64::from(*digit)));
    }
    None
}
