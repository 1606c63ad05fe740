//! `uem join ssh!HOST`: uem is brought to hosts by a real sshd, and joins there.

use crate::ended::{Running, eventually};
use crate::host::{BEAT, Host, Lab};
use std::io::Write;

/// An sshd with keys of its own, on port 22 of the host.
fn sshd(host: &Host, key: &str) -> Running {
    let dir = host.home().join("sshd");
    host.ok("mkdir -p sshd .ssh && chmod 700 sshd .ssh && ssh-keygen -q -t ed25519 -N '' -f sshd/key");
    std::fs::write(host.home().join(".ssh/authorized_keys"), key).unwrap();
    host.ok("chmod 600 .ssh/authorized_keys");
    let config = format!(
        "HostKey {0}/key\nPidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n\
         PermitRootLogin yes\nMaxStartups 100\nPrintMotd no\n",
        dir.display()
    );
    std::fs::write(dir.join("config"), config).unwrap();
    // sshd insists on this directory, which need not be this machine's.
    let running = host.start(&format!(
        "mount -t tmpfs run /run && mkdir -m 755 /run/sshd && exec $(command -v sshd || echo /usr/sbin/sshd) -D -e -f {}/config",
        dir.display()
    ));
    eventually("sshd listens", || host.sh("ss -ltn").out.contains(":22 "));
    running
}

#[test]
fn uem_is_brought_to_hosts_over_ssh_and_joins() {
    let Some(lab) = Lab::new() else { return };
    let wire = lab.segment(1);
    let a = lab.host("a", &[&wire]);
    if a.sh("command -v ssh && command -v ssh-keygen && { command -v sshd || ls /usr/sbin/sshd; }").status
        != 0
    {
        let _nobody_listens =
            writeln!(std::io::stderr(), "SKIPPED: no sshd or ssh; not tested: uem join ssh!HOST");
        return;
    }
    let hosts = ["x", "y"].map(|name| lab.host(name, &[&wire]));
    a.ok("mkdir -m 700 .ssh && ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519");
    std::fs::write(
        a.home().join(".ssh/config"),
        hosts
            .iter()
            .map(|host| format!("Host {}\n HostName {}\n", host.name, host.ip(1)))
            .collect::<String>()
            + "Host *\n StrictHostKeyChecking accept-new\n",
    )
    .unwrap();
    let key = std::fs::read_to_string(a.home().join(".ssh/id_ed25519.pub")).unwrap();
    let _daemons: Vec<Running> = hosts.iter().map(|host| sshd(host, &key)).collect();
    a.up("");
    let joined =
        a.start(&format!("uem join --no-mount --beat {BEAT} 'ssh!x' 'ssh!y' 'ssh!nowhere.invalid'")).ended();
    println!("{}{}", joined.out, joined.err);
    assert_eq!(joined.status, 125, "one of them is not there");
    assert!(joined.out.contains("x: ") && joined.out.contains("y: "), "{}{}", joined.out, joined.err);
    assert!(joined.err.contains("nowhere.invalid"), "{}", joined.err);
    for host in &hosts {
        a.sees(&host.name, "up");
        assert_eq!(a.ok(&format!("uem run --on {} -- hostname", host.name)), format!("{}\n", host.name));
        assert!(host.home().join(".local/bin/uem").exists());
    }
    // A token is in no command line.
    assert!(!a.sh("ps axww").out.contains("uem1-"));
}
