//! The trust domain: its authority, tokens, certificates, and what is revoked.
//!
//! A *trust domain* is a key: the [`Pin`] is its hash. One node, the *authority*, has it, and signs who everybody is. All of
//! a node's part in this is a directory of files, [`Home`]:
//!
//! ```text
//!   trust/key            this node's key (PKCS #8), made when the node is first started; its hash is the node's id
//!   trust/domain         its certificate, then the authority's: the node is of that domain; one file, so never half
//!   trust/revoked        the newest list of revoked certificates that was heard of
//!   trust/parents        where to dial, an address a line
//!   trust/listen         where to listen
//!   trust/lock           who changes something holds it
//!   trust/authority-key  at the authority: the domain's key
//!   trust/invites/HASH   at the authority: a token that was given and not used, by the hash of its secret
//!   trust/members        at the authority: a line for each certificate that it signed
//! ```
//!
//! ```text
//!            found, or accept of a grant                     accept, while nobody else is of the domain
//!   no domain ─────────────────────────▶ of a domain ─────────────────────────▶ of another domain
//! ```
#![expect(clippy::missing_errors_doc, reason = "every error here is a sentence for whoever gave the command")]

mod authority;
mod certificate;
mod der;
mod folder;
mod home;
mod join;
mod revoked;
mod token;

pub use authority::Member;
pub(crate) use certificate::{Authority, Flaw, Part, SIGNATURES, Shown};
pub use home::Home;
pub use join::refusal;
pub(crate) use revoked::Revoked;
pub use token::{Kind, Token};

use certificate::Point;
use op::NodeId;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of a token's secret.
const TOKEN_SECRET: usize = 16;
/// Longest name of a node or user, in bytes.
pub const NAME_BYTES: usize = 64;
/// Longest list of revoked certificates, in bytes: some 13,000 of them.
pub const REVOKED_BYTES: usize = 512 * 1024;
/// Longest join that is read, in bytes: a name of 255 and what has a fixed size.
pub const JOIN_BYTES: usize = 512;
/// Longest grant that is read, in bytes: the list, and two certificates.
pub const GRANT_BYTES: usize = REVOKED_BYTES + 16 * 1024;
/// Tokens that may wait to be used.
const INVITES: usize = 1024;
/// Certificates that an authority signs in its life.
const MEMBERS: usize = 65_536;
/// Longest line of the file of members: kind, id, name, number, time.
const MEMBER_BYTES: usize = 256;
/// Addresses of parents that are kept, and the longest of them in bytes.
const PARENTS: usize = 32;
const ADDRESS_BYTES: usize = 512;
/// How long a certificate is good unless told otherwise.
pub const LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);
/// How long the authority's is.
const LIFETIME_AUTHORITY: Duration = Duration::from_hours(50 * 365 * 24);
/// Clocks may differ by so much: certificates are good from so long before they are made.
const SKEW: Duration = Duration::from_hours(24);

/// What a trust domain is known by: the SHA-256 of its authority's public key (the SubjectPublicKeyInfo).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin([u8; 32]);

impl Pin {
    fn of(key: &Point) -> Pin {
        Pin(sha256(&[&key.spki()]))
    }

    /// Its first digits, which people can compare.
    pub fn short(&self) -> String {
        hex(&self.0[..6])
    }
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pin({self})")
    }
}

/// Who somebody is, as a certificate says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// A node.
    Node {
        /// The first 128 bits of the SHA-256 of its public key.
        id: NodeId,
        /// What it is called; others may be called the same.
        name: String,
    },
    /// A user, wherever he is.
    User {
        /// The login name.
        name: String,
    },
}

impl Who {
    /// What he or it is called.
    pub fn name(&self) -> &str {
        match self {
            Who::Node { name, .. } | Who::User { name } => name,
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Who::Node { id, name } => write!(f, "node {name} ({id})"),
            Who::User { name } => write!(f, "user {name}"),
        }
    }
}

/// Whether a node or user can be called that: one path element, not all digits, without spaces.
pub fn check_name(name: &str) -> Result<(), String> {
    let wrong = if name.is_empty() {
        "is empty"
    } else if name.len() > NAME_BYTES {
        return Err(format!("a name of {} bytes is too long: {NAME_BYTES} are allowed", name.len()));
    } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
        "is all digits, as ids of sessions are"
    } else if name.contains('/') {
        "has a slash"
    } else if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "has a space or an unprintable character"
    } else if matches!(name, "." | ".." | "...") {
        "means a directory"
    } else {
        return Ok(());
    };
    Err(format!("the name {name:?} {wrong}: choose another"))
}

/// The id of the node that has that key.
fn node_id(key: &Point) -> NodeId {
    let hash = sha256(&[&key.spki()]);
    NodeId(hash.iter().take(16).fold(0, |id, byte| id << 8 | u128::from(*byte)))
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    parts.iter().for_each(|part| hash.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    filled.map(|()| bytes).map_err(|_| "the system gives no random numbers".into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since 1970, by this machine's clock.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
pub(crate) mod tests;
