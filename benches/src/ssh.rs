//! ssh as a peer: an sshd on a port of its own with keys of its own, that plays any number of hosts, and connections
//! kept open to them.

use crate::cost::family;
use crate::peers;
use crate::table::Outcome;
use crate::world::{Server, folder, wait_until};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// An sshd, and masters to it.
pub(crate) struct Ssh {
    folder: TempDir,
    server: Server,
    masters: Vec<Server>,
}

impl Ssh {
    /// What is missing for it.
    pub(crate) fn missing() -> Option<String> {
        let there = ["sshd", "ssh", "ssh-keygen"].iter().all(|name| peers::find(name).is_some());
        (!there).then(|| peers::absent("openssh-server openssh-client"))
    }

    /// With a connection kept open to each of so many hosts, h0 and so on.
    pub(crate) fn start(hosts: usize) -> Outcome<Ssh> {
        let folder = folder()?;
        let dir = folder.path();
        for key in ["host", "user"] {
            peers::run(
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(key)),
            )?;
        }
        std::fs::copy(dir.join("user.pub"), dir.join("authorized"))?;
        // Where sshd from Debian wants to be left alone.
        let _exists = std::fs::create_dir("/run/sshd");
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        // A second level of shell does not read its owner's start-up files, which may take a tenth of a second.
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nPidFile none\n\
             UsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nMaxStartups 1000\nSetEnv SHLVL=2\n",
            dir.display()
        );
        std::fs::write(dir.join("config"), config)?;
        let client = format!(
            "Host *\nHostName 127.0.0.1\nPort {port}\nIdentityFile {}/user\nIdentitiesOnly yes\nBatchMode yes\n\
             StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n",
            dir.display()
        );
        std::fs::write(dir.join("cold"), &client)?;
        std::fs::write(dir.join("warm"), format!("{client}ControlPath {}/m-%n\n", dir.display()))?;
        let log = std::fs::File::create(dir.join("log"))?;
        let sshd = peers::find("sshd").ok_or("sshd is gone")?;
        let mut command = Command::new(sshd);
        let server = Server::spawn(command.args(["-D", "-e", "-f"]).arg(dir.join("config")).stderr(log))?;
        wait_until("sshd", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        let mut ssh = Ssh { server, masters: Vec::new(), folder };
        for host in 0..hosts {
            let mut command = ssh.command(true);
            command.args(["-M", "-N", &format!("h{host}")]);
            ssh.masters.push(Server::spawn(command.stdin(Stdio::null()).stderr(Stdio::null()))?);
        }
        for host in 0..hosts {
            let name = format!("h{host}");
            wait_until("the first ssh", || {
                let check = ssh.command(true).args(["-O", "check", &name]).stderr(Stdio::null()).status();
                check.is_ok_and(|status| status.success())
            })?;
        }
        Ok(ssh)
    }

    /// For `ssh -F`: by the connections kept open, or not.
    pub(crate) fn config(&self, warm: bool) -> PathBuf {
        self.folder.path().join(if warm { "warm" } else { "cold" })
    }

    fn command(&self, warm: bool) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(self.config(warm));
        command
    }

    /// `true` on h0.
    pub(crate) fn run(&self, warm: bool) -> Outcome<()> {
        peers::run(self.command(warm).args(["h0", "true"]).stdin(Stdio::null()))
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        family(self.server.pid()).into_iter().chain(self.masters.iter().map(Server::pid)).collect()
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        self.masters.iter().for_each(Server::end);
    }
}
