//! Mutual TLS as a state machine: bytes in, bytes out.
//!
//! ```text
//!   bytes of the socket ──▶ receive ──▶ plain bytes        plain bytes ──▶ send ──▶ output, consume ──▶ the socket
//! ```
//!
//! TLS 1.3 and nothing older. No session is ever resumed, and nothing is sent before the handshake is done: each
//! connection shows certificates anew, so that what is revoked stays out. There are no names of hosts in it: who somebody
//! is, his certificate says, and only the domain's authority can make it say so.
//!
//! The end that dialled has done its handshake one flight before the other has seen its certificate. A refusal of ours
//! comes as an error of [`Secure::receive`] after [`Secure::handshaking`] was over: nothing but what the other end says
//! afterwards proves that it took us.
#![expect(clippy::missing_errors_doc, reason = "every error here is a sentence for people")]

mod sentence;
mod verify;

use crate::identity::{Flaw, Home, Pin, Shown, Who};
use rustls::{
    ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection,
    client::Resumption,
    crypto::{CryptoProvider, ring as suite},
    pki_types::ServerName,
    sign::SingleCertAndKey,
};
use sentence::{not_tls, sentence};
use std::{
    io::BufRead,
    sync::{Arc, OnceLock},
};
use verify::{Expected, Verdict, Verifier};

/// An empty buffer of at most so many bytes is kept as it is.
const KEPT: usize = 64 * 1024;
/// So much is encrypted before it is moved to the output: rustls keeps each record by itself until then, and this much
/// stays in the processor's cache.
const STEP: usize = 64 * 1024;
/// A record has at most so many bytes, and what TLS adds to each.
const RECORD: usize = 16 * 1024;
const RECORD_HEAD: usize = 32;

/// One end of a connection.
pub struct Secure {
    tls: Connection,
    /// What our verifier thought of the other end's certificate, in more words than TLS has.
    verdict: Verdict,
    dialled: bool,
    /// Something came.
    begun: bool,
    peer: Option<Peer>,
    failed: Option<String>,
    output: Vec<u8>,
    /// So much of `output` is consumed.
    consumed: usize,
}

struct Peer {
    who: Who,
    serial: Vec<u8>,
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match (&self.failed, self.handshaking()) {
            (Some(why), _) => why,
            (None, true) => "handshaking",
            (None, false) => "up",
        };
        write!(f, "Secure({:?}, {state})", self.peer())
    }
}

/// What of cryptography is used: little, so that little can be wrong.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        use suite::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256};
        let mut provider = suite::default_provider();
        provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256];
        if !fast_aes() {
            provider.cipher_suites.reverse();
        }
        provider.kx_groups = vec![suite::kx_group::X25519];
        provider.signature_verification_algorithms = verify::ALGORITHMS;
        Arc::new(provider)
    };
    PROVIDER.get_or_init(make).clone()
}

/// Whether this processor has instructions for AES; without them, ChaCha20 is several times faster.
fn fast_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

impl Secure {
    /// The end that dialled, with this node's certificate; the other must be a node of its trust domain.
    pub fn dial(home: &Home) -> Result<Secure, String> {
        let domain = home.of_domain()?;
        domain.standing()?;
        let expected = Expected::Of { authority: domain.authority.clone(), revoked: domain.revoked.clone() };
        Ok(Secure::client(expected, Some(SingleCertAndKey::from(domain.shown.clone()))))
    }

    /// The end that dialled, without a certificate: to join. The other must be a node of that trust domain.
    pub fn dial_pinned(pin: &Pin) -> Secure {
        Secure::client(Expected::Pinned(*pin), None)
    }

    fn client(expected: Expected, ours: Option<SingleCertAndKey>) -> Secure {
        let verdict = Verdict::default();
        let verifier = Arc::new(Verifier::new(expected, &verdict));
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the suites are those of TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match ours {
            Some(ours) => config.with_client_cert_resolver(Arc::new(ours)),
            None => config.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        // TLS wants a name to dial; nobody looks at it.
        let name = ServerName::try_from("uem").expect("a name");
        let tls = ClientConnection::new(Arc::new(config), name)
            .expect("nothing in our settings contradicts itself");
        Secure::new(tls.into(), verdict, true)
    }

    /// The end that was dialled. Who dialled is asked for a certificate: one that is shown must be of this node's trust
    /// domain; when none is shown, nothing but a join may follow.
    pub fn accept(home: &Home) -> Result<Secure, String> {
        let domain = home.of_domain()?;
        domain.standing()?;
        if let Who::User { name } = &domain.who {
            return Err(format!(
                "the certificate here is that of the user {name}: only nodes can be dialled"
            ));
        }
        let expected = Expected::Of { authority: domain.authority.clone(), revoked: domain.revoked.clone() };
        Ok(Secure::server(expected, SingleCertAndKey::from(domain.shown.clone())))
    }

    fn server(expected: Expected, ours: SingleCertAndKey) -> Secure {
        let verdict = Verdict::default();
        let verifier = Arc::new(Verifier::new(expected, &verdict));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the suites are those of TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(ours));
        // Each of these alone would do; nothing is given out, and nothing would be remembered.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let tls =
            ServerConnection::new(Arc::new(config)).expect("nothing in our settings contradicts itself");
        Secure::new(tls.into(), verdict, false)
    }

    fn new(mut tls: Connection, verdict: Verdict, dialled: bool) -> Secure {
        // What may wait to be sent is bounded by who sends: he sees `output`.
        tls.set_buffer_limit(None);
        let (output, consumed) = (Vec::new(), 0);
        let mut secure =
            Secure { tls, verdict, dialled, begun: false, peer: None, failed: None, output, consumed };
        secure.collect();
        secure
    }

    /// Takes bytes of the socket, and appends what they mean to `plain`: at most as many. An error is the end of the
    /// connection, in a sentence; `output` may still have the alert that tells the other end.
    pub fn receive(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), String> {
        if let Some(why) = &self.failed {
            return Err(why.clone());
        }
        let received = self.decrypt(bytes, plain);
        self.collect();
        received.inspect_err(|why| self.failed = Some(why.clone()))
    }

    fn decrypt(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), String> {
        if !self.begun && !bytes.is_empty() {
            self.begun = true;
            not_tls(bytes)?;
        }
        while !bytes.is_empty() {
            let taken = self.tls.read_tls(&mut bytes).map_err(|error| format!("TLS: {error}"))?;
            if taken == 0 {
                // The other end has said that it sends no more.
                break;
            }
            let state = self
                .tls
                .process_new_packets()
                .map_err(|error| sentence(&error, self.flaw().as_ref(), self.dialled))?;
            let mut left = state.plaintext_bytes_to_read();
            let mut reader = self.tls.reader();
            while left > 0 {
                let Ok(chunk) = reader.fill_buf() else { break };
                plain.extend_from_slice(chunk);
                let read = chunk.len();
                reader.consume(read);
                left = left.saturating_sub(read.max(1));
            }
        }
        if self.peer.is_none() && !self.tls.is_handshaking() {
            let shown = self.tls.peer_certificates().and_then(|chain| chain.first());
            self.peer = shown.and_then(|certificate| {
                let shown = Shown::read(certificate)?;
                Some(Peer { who: shown.who()?, serial: shown.serial().to_vec() })
            });
        }
        Ok(())
    }

    fn flaw(&self) -> Option<Flaw> {
        self.verdict.get().copied()
    }

    /// Moves what TLS wants to say to `output`.
    fn collect(&mut self) {
        while self.tls.wants_write() {
            if !self.tls.write_tls(&mut self.output).is_ok_and(|written| written > 0) {
                break;
            }
        }
    }

    /// Sends bytes: they are in `output` then, or will be when the handshake is done. Nothing is refused: who sends looks
    /// at `output` first. After an error, it goes nowhere.
    pub fn send(&mut self, plain: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.consumed > self.output.len() / 2 {
            // Who always sends before all is taken must not make this grow.
            self.output.drain(..self.consumed);
            self.consumed = 0;
        }
        self.output.reserve(plain.len() + (plain.len() / RECORD + 2) * RECORD_HEAD);
        for step in plain.chunks(STEP) {
            let written = std::io::Write::write_all(&mut self.tls.writer(), step);
            debug_assert!(written.is_ok(), "there is no limit to reach");
            self.collect();
        }
    }

    /// Says that nothing more will be sent.
    pub fn close(&mut self) {
        self.tls.send_close_notify();
        self.collect();
    }

    /// Bytes for the socket.
    pub fn output(&self) -> &[u8] {
        &self.output[self.consumed..]
    }

    /// So many of them are written.
    pub fn consume(&mut self, count: usize) {
        self.consumed = (self.consumed + count).min(self.output.len());
        if self.consumed == self.output.len() {
            // A large buffer is given back when so little was in it that the large times seem to be over.
            let little = self.output.len() < self.output.capacity() / 4;
            self.consumed = 0;
            self.output.clear();
            if little {
                self.output.shrink_to(KEPT);
            }
        }
    }

    /// The handshake is not done: who is there is not known.
    pub fn handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Who is at the other end. `None`: not known yet, or it has shown no certificate.
    pub fn peer(&self) -> Option<&Who> {
        self.peer.as_ref().map(|peer| &peer.who)
    }

    /// Whether the other end's certificate is on the list of what is revoked by now.
    pub fn peer_revoked(&self, home: &Home) -> bool {
        let list = home.of_domain().ok().and_then(|domain| domain.revoked.as_ref());
        list.zip(self.peer.as_ref()).is_some_and(|(list, peer)| list.has(&peer.serial))
    }

    /// What to say when the socket has ended.
    pub fn hung_up(&self) -> String {
        let side = if self.dialled { "the other end" } else { "who dialled" };
        match &self.failed {
            Some(why) => why.clone(),
            None if !self.begun => format!("{side} hung up without a word"),
            None if self.tls.is_handshaking() => format!("{side} hung up in the middle of the TLS handshake"),
            None => format!("{side} hung up"),
        }
    }
}

#[cfg(test)]
mod tests;
