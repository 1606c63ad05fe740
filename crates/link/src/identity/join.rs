//! What is said to join: a *join* (who wants in, with which token and key) and a *grant* (certificates, or why not).
//!
//! A join: `1, pin[32], secret[16], key[65], length[1], name, signature`. The signature is over all that is before it, and
//! a few words, so that a key can be claimed only by who has it. A grant: `1, 0, sentence` is a refusal; `1, 1` is followed
//! by the certificate, the authority's, and the newest list of what is revoked, one DER document after the other.

use super::{Pin, TOKEN_SECRET, certificate::Point, der};
use rcgen::{KeyPair, SigningKey};

const VERSION: u8 = 1;
/// What a signature is for stands before what is signed, so that it is good for nothing else.
const PURPOSE: &[u8] = b"uem: this key wants to join\0";
/// Longest sentence of a refusal.
const SENTENCE_BYTES: usize = 1024;

/// A join, read.
pub(super) struct Join<'a> {
    pub(super) pin: Pin,
    pub(super) secret: &'a [u8],
    pub(super) key: Point,
    pub(super) name: &'a str,
}

impl<'a> Join<'a> {
    /// Writes one; `name` is cut at 255 bytes, and refused by who reads it.
    pub(super) fn write(pin: &Pin, secret: &[u8; TOKEN_SECRET], pair: &KeyPair, name: &str) -> Vec<u8> {
        let name = &name.as_bytes()[..name.len().min(255)];
        let mut body = vec![VERSION];
        body.extend_from_slice(&pin.0);
        body.extend_from_slice(secret);
        body.extend_from_slice(pair.public_key_raw());
        body.push(name.len() as u8);
        body.extend_from_slice(name);
        let signature = pair.sign(&[PURPOSE, &body].concat());
        body.extend_from_slice(&signature.expect("the system gives random numbers"));
        body
    }

    /// Reads one whose sender has the key. `None`: it is none.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Join<'a>> {
        let (version, rest) = bytes.split_first()?;
        let (pin, rest) = rest.split_first_chunk()?;
        let (secret, rest) = rest.split_at_checked(TOKEN_SECRET)?;
        let (key, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first()?;
        let (name, signature) = rest.split_at_checked(usize::from(*length))?;
        let body = &bytes[..bytes.len() - signature.len()];
        let join = Join { pin: Pin(*pin), secret, key: Point(*key), name: std::str::from_utf8(name).ok()? };
        (*version == VERSION && join.key.signed(signature, &[PURPOSE, body])).then_some(join)
    }
}

/// A grant, read.
pub(super) struct Grant<'a> {
    pub(super) certificate: &'a [u8],
    pub(super) authority: &'a [u8],
    pub(super) revoked: &'a [u8],
}

impl<'a> Grant<'a> {
    pub(super) fn write(&self) -> Vec<u8> {
        [&[VERSION, 1], self.certificate, self.authority, self.revoked].concat()
    }

    /// Reads one; `Err` is the sentence of a refusal, or that it is none.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Grant<'a>, String> {
        let documents = match bytes {
            [VERSION, 1, documents @ ..] => documents,
            [VERSION, 0, sentence @ ..] => {
                let sentence = String::from_utf8_lossy(&sentence[..sentence.len().min(SENTENCE_BYTES)]);
                return Err(sentence.chars().map(|c| if c.is_control() { ' ' } else { c }).collect());
            }
            _ => {
                return Err(
                    "the answer to the token cannot be understood: is uem there of another version?".into()
                );
            }
        };
        Grant::documents(documents)
            .ok_or_else(|| "the certificates that came for the token cannot be read".into())
    }

    /// A certificate, the authority's, and perhaps a list.
    pub(super) fn documents(bytes: &'a [u8]) -> Option<Grant<'a>> {
        let (certificate, rest) = der::expect(der::SEQUENCE, bytes)?;
        let (authority, revoked) = der::expect(der::SEQUENCE, rest)?;
        Some(Grant { certificate: certificate.whole, authority: authority.whole, revoked })
    }
}

/// A grant that is none, and says why.
pub fn refusal(sentence: &str) -> Vec<u8> {
    let end = sentence.floor_char_boundary(SENTENCE_BYTES);
    [&[VERSION, 0], &sentence.as_bytes()[..end]].concat()
}
