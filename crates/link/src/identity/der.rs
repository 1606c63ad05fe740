//! Enough of DER (X.690) to find one's way in documents whose signature is checked, or that webpki has parsed.

/// A tag that matters here.
pub(super) const INTEGER: u8 = 0x02;
/// Bits; the first byte says how many of the last byte are unused.
pub(super) const BIT_STRING: u8 = 0x03;
/// Bytes.
pub(super) const OCTET_STRING: u8 = 0x04;
/// The name of a thing.
pub(super) const OID: u8 = 0x06;
/// Elements one after the other.
pub(super) const SEQUENCE: u8 = 0x30;

/// One element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Element<'a> {
    /// What it is.
    pub(super) tag: u8,
    /// What is in it.
    pub(super) content: &'a [u8],
    /// The same with its head.
    pub(super) whole: &'a [u8],
}

/// The first element, and what follows it. `None`: it is not whole, or its length has more than four bytes.
pub(super) fn first(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = if short < 0x80 {
        (usize::from(short), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |all, digit| all << 8 | usize::from(*digit)), rest)
    };
    let (content, after) = rest.split_at_checked(length)?;
    let whole = &bytes[..bytes.len() - after.len()];
    Some((Element { tag, content, whole }, after))
}

/// The first element, if it has that tag.
pub(super) fn expect(tag: u8, bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    first(bytes).filter(|(element, _)| element.tag == tag)
}

/// The elements of a content, up to the first that is not whole.
pub(super) fn elements(mut bytes: &[u8]) -> impl Iterator<Item = Element<'_>> {
    std::iter::from_fn(move || {
        let (element, rest) = first(bytes)?;
        bytes = rest;
        Some(element)
    })
}

/// What is signed in a certificate or list, and the signature.
pub(super) fn signed(document: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (all, rest) = expect(SEQUENCE, document)?;
    let (body, after) = expect(SEQUENCE, all.content)?;
    let (_, after) = expect(SEQUENCE, after)?;
    let (bits, after) = expect(BIT_STRING, after)?;
    let (unused, signature) = bits.content.split_first()?;
    (rest.is_empty() && after.is_empty() && *unused == 0).then_some((body, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_whole_or_not_there() {
        let long = [[0x30, 0x82, 0x01, 0x00].as_slice(), &[7; 256]].concat();
        assert_eq!(first(&long).unwrap().0.content.len(), 256);
        for cut in 0..long.len() {
            assert_eq!(first(&long[..cut]), None, "{cut}");
        }
        assert_eq!(first(&[0x02, 0x01, 0x05, 0xff]).unwrap().1, [0xff]);
        assert_eq!(first(&[0x30, 0x80]), None);
        assert_eq!(first(&[0x30, 0x85, 0, 0, 0, 0, 1, 9]), None);
        assert_eq!(first(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 9]), None);
    }
}
