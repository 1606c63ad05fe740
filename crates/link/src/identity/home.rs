//! A node's part in a trust domain, as files in its state directory, and joining one.

use super::{
    ADDRESS_BYTES, Authority, GRANT_BYTES, INVITES, Kind, PARENTS, Part, Pin, REVOKED_BYTES, Revoked, Shown,
    Token, Who,
    certificate::Point,
    check_name,
    folder::{Folder, Lock, Stamp},
    join::{Grant, Join},
    node_id,
};
use op::NodeId;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    crypto::ring::sign::any_ecdsa_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime},
    sign::CertifiedKey,
};
use std::{path::Path, sync::Arc};

/// Longest key in a file, in bytes.
const KEY_BYTES: usize = 1024;

/// Who this node is. Everything in it is also in files, which other processes may change: see [`Home::refresh`].
pub struct Home {
    pub(super) folder: Folder,
    pub(super) key: KeyPair,
    pub(super) id: NodeId,
    pub(super) domain: Option<Domain>,
    stamp: Option<Stamp>,
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Home({}, {:?}, {:?})", self.id, self.who(), self.domain())
    }
}

/// The trust domain that this node is of.
pub(crate) struct Domain {
    pub(crate) authority: Arc<Authority>,
    /// Our certificate and the authority's, with our key.
    pub(crate) shown: Arc<CertifiedKey>,
    pub(crate) who: Who,
    pub(crate) revoked: Option<Arc<Revoked>>,
    /// The domain's key, where we are its authority.
    pub(super) authority_key: Option<KeyPair>,
}

impl Domain {
    /// Whether the others would take our certificate, as far as we know.
    pub(crate) fn standing(&self) -> Result<(), String> {
        let revoked = self.revoked.as_deref();
        let judged = self.authority.judge(revoked, &self.shown.cert[0], &[], UnixTime::now(), Part::Dialled);
        judged.map(|_| ()).map_err(|flaw| format!("this node cannot show who it is: {flaw}"))
    }
}

impl Home {
    /// Opens `trust/` in a state directory, and makes it, with a key, if it is not there.
    pub fn open(state: &Path) -> Result<Home, String> {
        let folder = Folder::open(state.join("trust"))?;
        let stamp = folder.stamp()?;
        let key = match read_key(&folder, "key")? {
            Some(key) => key,
            None => {
                let lock = folder.lock()?;
                // Another process may have been faster.
                match read_key(&folder, "key")? {
                    Some(key) => key,
                    None => make_key(&folder, "key", false, &lock)?,
                }
            }
        };
        let id =
            node_id(&Point::of(&key).map_err(|what| format!("{} {what}", folder.path("key").display()))?);
        let domain = read_domain(&folder, &key)?;
        Ok(Home { folder, key, id, domain, stamp })
    }

    /// What this node is known by: from its key, so the same in every domain that it is ever of.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Reads the files again if another process has changed them; whether anything is different. Costs one system call
    /// when nothing has happened.
    pub fn refresh(&mut self) -> Result<bool, String> {
        let stamp = self.folder.stamp()?;
        if stamp.is_some() && stamp == self.stamp {
            return Ok(false);
        }
        self.reload(stamp)
    }

    pub(super) fn reload(&mut self, stamp: Option<Stamp>) -> Result<bool, String> {
        let domain = read_domain(&self.folder, &self.key)?;
        let says = |domain: &Option<Domain>| {
            domain.as_ref().map(|domain| {
                let list = domain.revoked.as_ref().map(|list| list.number);
                (domain.shown.cert.clone(), list, domain.authority_key.is_some())
            })
        };
        let changed = says(&self.domain) != says(&domain);
        (self.domain, self.stamp) = (domain, stamp);
        Ok(changed)
    }

    /// Keeps other processes from changing the files, and knows what they changed before.
    pub(super) fn lock(&mut self) -> Result<Lock, String> {
        let lock = self.folder.lock()?;
        let stamp = self.folder.stamp()?;
        self.reload(stamp)?;
        Ok(lock)
    }

    /// What this node's certificate says. `None`: it is of no trust domain yet.
    pub fn who(&self) -> Option<Who> {
        self.domain.as_ref().map(|domain| domain.who.clone())
    }

    /// Which trust domain this node is of.
    pub fn domain(&self) -> Option<Pin> {
        self.domain.as_ref().map(|domain| domain.authority.pin)
    }

    /// Whether this node has the domain's key.
    pub fn is_authority(&self) -> bool {
        self.domain.as_ref().is_some_and(|domain| domain.authority_key.is_some())
    }

    pub(crate) fn of_domain(&self) -> Result<&Domain, String> {
        self.domain.as_ref().ok_or_else(|| {
            "this node is of no trust domain yet: make one with \"uem invite\", or join one with \"uem join\"".into()
        })
    }

    /// What to send to join: who gets it learns the token's secret. Ask [`Home::may_join`] first.
    pub fn join(&self, token: &Token, name: &str) -> Vec<u8> {
        Join::write(&token.pin, &token.secret, &self.key, name)
    }

    /// Whether this node may use a token, and be called that. (A token for a user has his name; `name` is nothing then.)
    pub fn may_join(&self, token: &Token, name: &str) -> Result<(), String> {
        if !token.user {
            check_name(name)?;
        }
        let Some(domain) = &self.domain else { return Ok(()) };
        let (pin, short) = (domain.authority.pin, domain.authority.pin.short());
        if pin == token.pin {
            return match &domain.authority_key {
                Some(_) => {
                    Err("this node is the authority of that trust domain: use the token on another machine"
                        .into())
                }
                None => Ok(()),
            };
        }
        let out =
            format!("to take it out for good, stop it and remove {}", self.folder.path("domain").display());
        if domain.authority_key.is_none() {
            return Err(format!("this node is of another trust domain ({short}), as {}; {out}", domain.who));
        }
        let others =
            self.members()?.into_iter().filter(|member| member.id != self.id && !member.revoked).count();
        match others {
            0 => Ok(()),
            _ => Err(format!(
                "this node is the authority of another trust domain ({short}), which has {others} more members; {out}"
            )),
        }
    }

    /// Takes the answer to [`Home::join`]: checks it, and keeps it.
    pub fn accept(&mut self, token: &Token, grant: &[u8]) -> Result<Who, String> {
        if grant.len() > GRANT_BYTES {
            return Err(format!(
                "the answer to the token has {} bytes, and {GRANT_BYTES} are allowed",
                grant.len()
            ));
        }
        let grant = Grant::read(grant)?;
        let wrong = |what: &str| format!("the answer to the token is wrong: {what}");
        let authority = Authority::read(CertificateDer::from(grant.authority.to_vec()));
        let authority = authority.filter(|authority| authority.pin == token.pin);
        let authority = authority.ok_or_else(|| wrong("it is of another trust domain than the token"))?;
        let certificate = CertificateDer::from(grant.certificate);
        let who = authority.judge(None, &certificate, &[], UnixTime::now(), Part::Dialled);
        let who = who.map_err(|flaw| wrong(&flaw.to_string()))?;
        if Shown::read(&certificate).and_then(|shown| shown.key()) != Some(Point::of(&self.key)?) {
            return Err(wrong("its certificate is for another key"));
        }
        if token.user != matches!(who, Who::User { .. }) {
            return Err(wrong(
                "a node's token was answered with a user's certificate, or the other way round",
            ));
        }
        if !grant.revoked.is_empty() {
            Revoked::read(grant.revoked, &authority).map_err(|what| wrong(&what))?;
        }
        let lock = self.lock()?;
        self.may_join(token, who.name())?;
        self.settle(&lock, &[grant.certificate, grant.authority].concat())?;
        if !grant.revoked.is_empty() {
            self.folder.write("revoked", grant.revoked, true)?;
        }
        let stamp = self.folder.stamp()?;
        self.reload(stamp)?;
        Ok(who)
    }

    /// Makes these certificates ours, with what was another domain's removed. The write of `domain` is the moment at
    /// which it counts: what was before belongs to no domain then, and is not looked at.
    pub(super) fn settle(&self, _: &Lock, certificates: &[u8]) -> Result<(), String> {
        // The key was not made durable when the node was first started; now others rely on it.
        self.folder.write("key", self.key.serialized_der(), true)?;
        let other = match (&self.domain, Grant::documents(certificates)) {
            (Some(old), Some(new)) => old.authority.certificate.as_ref() != new.authority,
            (None, _) | (_, None) => false,
        };
        self.folder.write("domain", certificates, true)?;
        if other {
            self.forget(&["authority-key", "revoked", "members"])?;
        }
        Ok(())
    }

    /// Removes files of a domain that was, and its tokens.
    pub(super) fn forget(&self, files: &[&str]) -> Result<(), String> {
        for name in files {
            self.folder.remove(name)?;
        }
        for name in self.folder.names("invites", 2 * INVITES)? {
            self.folder.remove(&format!("invites/{name}"))?;
        }
        Ok(())
    }

    /// The newest list of revoked certificates, to pass on.
    pub fn revoked(&self) -> Option<&[u8]> {
        Some(&self.domain.as_ref()?.revoked.as_ref()?.der)
    }

    /// Takes a list of revoked certificates, if the authority signed it and it is newer than ours; whether it was.
    pub fn learn_revoked(&mut self, der: &[u8]) -> Result<bool, String> {
        let domain = self.of_domain()?;
        if self.revoked() == Some(der) {
            return Ok(false);
        }
        let list = Revoked::read(der, &domain.authority)?;
        let newer = |home: &Home| {
            let ours = home.domain.as_ref().and_then(|domain| domain.revoked.as_ref());
            ours.is_none_or(|ours| ours.number < list.number)
        };
        if !newer(self) {
            return Ok(false);
        }
        let pin = domain.authority.pin;
        let lock = self.lock()?;
        if !newer(self) || self.domain() != Some(pin) {
            return Ok(false);
        }
        self.keep_revoked(&lock, list)?;
        Ok(true)
    }

    pub(super) fn keep_revoked(&mut self, _: &Lock, list: Revoked) -> Result<(), String> {
        self.folder.write("revoked", &list.der, true)?;
        if let Some(domain) = &mut self.domain {
            domain.revoked = Some(Arc::new(list));
        }
        self.stamp = self.folder.stamp()?;
        Ok(())
    }

    /// Where to dial: the addresses that were kept, best first.
    pub fn parents(&self) -> Result<Vec<String>, String> {
        let bytes = self.folder.read("parents", PARENTS * (ADDRESS_BYTES + 1))?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().filter(|line| !line.is_empty()).take(PARENTS).map(Into::into).collect())
    }

    /// Keeps where to dial.
    pub fn set_parents(&mut self, addresses: &[String]) -> Result<(), String> {
        if addresses.len() > PARENTS {
            return Err(format!("{} parents are too many: {PARENTS} are kept", addresses.len()));
        }
        addresses.iter().try_for_each(|address| check_address(address))?;
        self.keep("parents", &addresses.join("\n"))
    }

    /// Where to listen, if that was kept.
    pub fn listen(&self) -> Result<Option<String>, String> {
        let bytes = self.folder.read("listen", ADDRESS_BYTES + 1)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().next().filter(|line| !line.is_empty()).map(Into::into))
    }

    /// Keeps where to listen.
    pub fn set_listen(&mut self, address: &str) -> Result<(), String> {
        check_address(address)?;
        self.keep("listen", address)
    }

    fn keep(&mut self, name: &str, text: &str) -> Result<(), String> {
        let _lock = self.folder.lock()?;
        self.folder.write(name, format!("{text}\n").as_bytes(), false)
    }
}

fn check_address(address: &str) -> Result<(), String> {
    if address.len() > ADDRESS_BYTES || address.is_empty() || address.contains(char::is_control) {
        return Err(format!(
            "{address:?} is no address that can be kept: one line of 1 to {ADDRESS_BYTES} bytes is"
        ));
    }
    Ok(())
}

impl Kind {
    /// The name that is in it.
    pub(super) fn user(&self) -> Option<&str> {
        match self {
            Kind::Node => None,
            Kind::User(name) => Some(name),
        }
    }
}

pub(super) fn read_key(folder: &Folder, name: &str) -> Result<Option<KeyPair>, String> {
    let Some(bytes) = folder.read_secret(name, KEY_BYTES)? else { return Ok(None) };
    if bytes.is_empty() {
        // A power cut after the first start: nobody has heard of this key.
        return Ok(None);
    }
    let pair =
        KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(bytes), &PKCS_ECDSA_P256_SHA256);
    // What is wrong with it is not said: nothing of a key is ever shown.
    pair.map(Some).map_err(|_| {
        format!(
            "{0} is not a key of uem's: put back a copy, or remove it and join again",
            folder.path(name).display()
        )
    })
}

pub(super) fn make_key(folder: &Folder, name: &str, durable: bool, _: &Lock) -> Result<KeyPair, String> {
    let pair = KeyPair::generate().map_err(|_| "the system gives no random numbers for a key".to_owned())?;
    folder.write(name, pair.serialized_der(), durable)?;
    Ok(pair)
}

fn read_domain(folder: &Folder, key: &KeyPair) -> Result<Option<Domain>, String> {
    let Some(bytes) = folder.read("domain", GRANT_BYTES)? else { return Ok(None) };
    let wrong = |what: &str| {
        let path = folder.path("domain");
        format!("{} {what}: remove it and join again with \"uem join\"", path.display())
    };
    let unreadable = || wrong("has no certificates of uem's");
    let documents = Grant::documents(&bytes).ok_or_else(unreadable)?;
    let certificate = CertificateDer::from(documents.certificate.to_vec());
    let authority = CertificateDer::from(documents.authority.to_vec());
    let shown = Shown::read(&certificate).ok_or_else(unreadable)?;
    let who = shown.who().ok_or_else(unreadable)?;
    if shown.key() != Some(Point::of(key)?) {
        return Err(wrong("is for another key than this node's"));
    }
    let authority = Arc::new(Authority::read(authority).ok_or_else(unreadable)?);
    // What is left of a domain that was is another key's, and does not count.
    let authority_key = read_key(folder, "authority-key")?;
    let authority_key = authority_key.filter(|key| Point::of(key).is_ok_and(|key| key == authority.key));
    let revoked = folder.read("revoked", REVOKED_BYTES)?;
    let revoked = revoked.and_then(|der| Revoked::read(&der, &authority).ok()).map(Arc::new);
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialized_der()));
    let signer = any_ecdsa_type(&private).map_err(|_| wrong("cannot be used with this node's key"))?;
    let chain = vec![certificate.clone(), authority.certificate.clone()];
    let shown = Arc::new(CertifiedKey::new(chain, signer));
    Ok(Some(Domain { authority, shown, who, revoked, authority_key }))
}
