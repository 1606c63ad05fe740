//! What only the authority of a trust domain does: found it, invite, grant, revoke.

use super::{
    Home, INVITES, JOIN_BYTES, Kind, LIFETIME, MEMBER_BYTES, MEMBERS, Pin, Revoked, SKEW, TOKEN_SECRET,
    Token, Who,
    certificate::{self, Claim, Point},
    check_name,
    folder::Lock,
    hex, home,
    join::{Grant, Join, refusal},
    node_id, now, random, sha256,
};
use op::NodeId;
use rcgen::KeyPair;
use std::time::Duration;

/// Longest file of a token that waits, in bytes.
const INVITE_BYTES: usize = 256;

/// A certificate that was granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// It is a user's, not a node's.
    pub user: bool,
    /// Of its key. A user's certificates have each another.
    pub id: NodeId,
    /// What it was granted for.
    pub name: String,
    /// When, in seconds since 1970.
    pub granted: u64,
    /// It was taken back.
    pub revoked: bool,
    serial: Vec<u8>,
}

impl Member {
    fn line(&self) -> String {
        let kind = if self.user { "user" } else { "node" };
        format!("{kind} {} {} {} {}", self.id, self.name, hex(&self.serial), self.granted)
    }

    /// `None`: a crash has cut the line.
    fn read(line: &str) -> Option<Member> {
        let mut words = line.split(' ');
        let user = match words.next()? {
            "user" => true,
            "node" => false,
            _ => return None,
        };
        let (id, name) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        let serial = u128::from_str_radix(words.next()?, 16).ok()?.to_be_bytes().to_vec();
        let granted = words.next()?.parse().ok()?;
        words.next().is_none().then_some(Member { user, id, name, granted, revoked: false, serial })
    }
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({})", if self.user { "user" } else { "node" }, self.name, self.id)
    }
}

/// A token that waits to be used.
pub(super) struct Invite {
    kind: Kind,
    expires: u64,
    /// How long the certificate will be good, in seconds.
    lifetime: u64,
}

impl Invite {
    fn line(&self) -> String {
        let user = self.kind.user().map(|name| format!(" {name}")).unwrap_or_default();
        format!("{} {}{user}", self.expires, self.lifetime)
    }

    fn read(bytes: &[u8]) -> Option<Invite> {
        let mut words = std::str::from_utf8(bytes).ok()?.split_whitespace();
        let (expires, lifetime) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let kind = words.next().map_or(Kind::Node, |name| Kind::User(name.to_owned()));
        words.next().is_none().then_some(Invite { kind, expires, lifetime })
    }
}

/// The file of a token: whoever reads its name cannot make the token of it.
fn invite_file(secret: &[u8]) -> String {
    format!("invites/{}", hex(&sha256(&[b"uem invite", secret])))
}

impl Home {
    /// Makes a trust domain, whose authority this node is, and its certificate in it. Does nothing at an authority.
    pub fn found(&mut self, name: &str) -> Result<(), String> {
        check_name(name)?;
        let lock = self.lock()?;
        if self.is_authority() {
            return Ok(());
        }
        if let Some(domain) = &self.domain {
            return Err(not_here(&domain.authority.pin));
        }
        // Of a domain that was.
        self.forget(&["revoked", "members"])?;
        let pair = home::make_key(&self.folder, "authority-key", true, &lock)?;
        let authority = certificate::authority(&pair, now())?;
        let who = Who::Node { id: self.id, name: name.to_owned() };
        let certificate = self.sign(&lock, &pair, &who, &Point::of(&self.key)?, LIFETIME.as_secs())?;
        self.settle(&lock, &[certificate.as_slice(), &authority].concat())?;
        let stamp = self.folder.stamp()?;
        self.reload(stamp)?;
        Ok(())
    }

    /// Gives a token that is good once, and so long.
    pub fn invite(&mut self, kind: Kind, ttl: Duration) -> Result<Token, String> {
        self.invite_for(kind, ttl, LIFETIME)
    }

    /// The same, for a certificate that is good so long.
    pub fn invite_for(&mut self, kind: Kind, ttl: Duration, lifetime: Duration) -> Result<Token, String> {
        kind.user().map_or(Ok(()), check_name)?;
        let _lock = self.lock()?;
        let pin = self.authority_key().map(|(pin, _)| pin)?;
        self.folder.directory("invites")?;
        let now = now();
        let mut waiting = 0;
        for name in self.folder.names("invites", 2 * INVITES)? {
            let file = format!("invites/{name}");
            let invite = self.folder.read(&file, INVITE_BYTES)?.and_then(|bytes| Invite::read(&bytes));
            if invite.is_some_and(|invite| invite.expires >= now) {
                waiting += 1;
            } else {
                self.folder.remove(&file)?;
            }
        }
        if waiting >= INVITES {
            return Err(format!(
                "{waiting} tokens wait to be used, and no more can: let some of them expire"
            ));
        }
        let secret: [u8; TOKEN_SECRET] = random()?;
        let token = Token { pin, secret, user: kind.user().is_some() };
        let invite =
            Invite { kind, expires: now.saturating_add(ttl.as_secs()), lifetime: lifetime.as_secs() };
        self.folder.write(&invite_file(&secret), invite.line().as_bytes(), true)?;
        Ok(token)
    }

    /// Answers what [`Home::join`] wrote at another node: with certificates, or with the sentence why not.
    pub fn answer(&mut self, join: &[u8]) -> Vec<u8> {
        self.grant(join).unwrap_or_else(|sentence| refusal(&sentence))
    }

    fn grant(&mut self, join: &[u8]) -> Result<Vec<u8>, String> {
        let join = (join.len() <= JOIN_BYTES).then(|| Join::read(join)).flatten();
        let join =
            join.ok_or("what came is no request to join, or another's: is uem there of another version?")?;
        let lock = self.lock()?;
        let pin = self.authority_key().map(|(pin, _)| pin)?;
        if join.pin != pin {
            return Err(format!(
                "this token is of another trust domain ({}) than the one that was asked ({})",
                join.pin.short(),
                pin.short()
            ));
        }
        let invite = self.redeem(&lock, &join)?;
        let who = match invite.kind {
            Kind::Node => Who::Node { id: node_id(&join.key), name: join.name.to_owned() },
            Kind::User(name) => Who::User { name },
        };
        let (_, authority) = self.authority_key()?;
        let certificate = self.sign(&lock, authority, &who, &join.key, invite.lifetime)?;
        let domain = self.of_domain()?;
        let revoked = self.revoked().unwrap_or_default();
        Ok(Grant { certificate: &certificate, authority: &domain.authority.certificate, revoked }.write())
    }

    /// Takes a token in: from then on it is used, whatever comes of it.
    pub(super) fn redeem(&self, _: &Lock, join: &Join<'_>) -> Result<Invite, String> {
        const USED: &str = "this token was used already, or never given: ask for another with \"uem invite\"";
        let file = invite_file(join.secret);
        let invite = self.folder.read(&file, INVITE_BYTES)?.ok_or(USED)?;
        let invite = Invite::read(&invite).ok_or(USED)?;
        let late = now().saturating_sub(invite.expires);
        if late > 0 {
            self.folder.remove(&file)?;
            return Err(format!(
                "this token expired {} ago: ask for another with \"uem invite\"",
                span(late)
            ));
        }
        if invite.kind == Kind::Node {
            // A name that cannot be costs no token.
            check_name(join.name)?;
        }
        if self.folder.remove(&file)? { Ok(invite) } else { Err(USED.into()) }
    }

    /// A certificate from now on, which is among the members before anybody has it.
    fn sign(
        &self,
        _: &Lock,
        authority: &KeyPair,
        who: &Who,
        key: &Point,
        lifetime: u64,
    ) -> Result<Vec<u8>, String> {
        let members = self.folder.read("members", MEMBERS * MEMBER_BYTES)?.unwrap_or_default();
        if members.split(|byte| *byte == b'\n').count() > MEMBERS {
            return Err(format!(
                "the authority has granted {MEMBERS} certificates, and no more can be: found a new domain"
            ));
        }
        let (now, serial) = (now(), certificate::serial()?);
        let until = now.saturating_add(lifetime);
        let claim = Claim { who, key, serial, from: now.saturating_sub(SKEW.as_secs()), until };
        let certificate = certificate::certify(authority, &claim)?;
        let (user, name) = (matches!(who, Who::User { .. }), who.name().to_owned());
        let member =
            Member { user, id: node_id(key), name, granted: now, revoked: false, serial: serial.to_vec() };
        self.folder.append("members", &member.line())?;
        Ok(certificate.to_vec())
    }

    fn authority_key(&self) -> Result<(Pin, &KeyPair), String> {
        let domain = self.of_domain()?;
        let pin = domain.authority.pin;
        domain.authority_key.as_ref().map(|key| (pin, key)).ok_or_else(|| not_here(&pin))
    }

    /// What was granted, in order; read from the file at each call. Nothing where this node is not the authority.
    pub fn members(&self) -> Result<Vec<Member>, String> {
        let Some(domain) = self.domain.as_ref().filter(|domain| domain.authority_key.is_some()) else {
            return Ok(Vec::new());
        };
        let bytes = self.folder.read("members", MEMBERS * MEMBER_BYTES)?.unwrap_or_default();
        let mut members: Vec<Member> =
            String::from_utf8_lossy(&bytes).lines().filter_map(Member::read).collect();
        for member in &mut members {
            member.revoked = domain.revoked.as_ref().is_some_and(|list| list.has(&member.serial));
        }
        Ok(members)
    }

    /// Takes back every certificate of a node or user, told by its name or its id.
    pub fn revoke(&mut self, name_or_id: &str) -> Result<(), String> {
        let lock = self.lock()?;
        let (_, key) = self.authority_key()?;
        let id = NodeId::from_word(name_or_id);
        let mut members = self.members()?;
        let by_id = members.iter().any(|member| Some(member.id) == id);
        members.retain(|member| if by_id { Some(member.id) == id } else { member.name == name_or_id });
        if members.is_empty() {
            return Err(format!(
                "no certificate was granted for {name_or_id:?}, neither as a name nor as an id"
            ));
        }
        members.retain(|member| !member.revoked);
        let Some(first) = members.first() else {
            return Err(format!("{name_or_id} is revoked already"));
        };
        if members.iter().any(|member| member.id != first.id) {
            members.dedup_by_key(|member| member.id);
            let list: Vec<String> = members.iter().take(20).map(ToString::to_string).collect();
            return Err(format!("{name_or_id} is the name of {}: say which by its id", list.join(" and ")));
        }
        if first.id == self.id {
            return Err("this node is the authority itself, and cannot be revoked".into());
        }
        let domain = self.of_domain()?;
        let serials = members.into_iter().map(|member| member.serial);
        let list = Revoked::following(domain.revoked.as_deref(), serials, key, now())?;
        let list = Revoked::read(&list, &domain.authority)?;
        self.keep_revoked(&lock, list)
    }
}

fn not_here(pin: &Pin) -> String {
    format!(
        "this node is not the authority of its trust domain ({}): ask at the node where it was founded",
        pin.short()
    )
}

/// A length of time, for people.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
