//! What the tests need of the machine beyond Rust and a C linker: said, and installed where we may.

use crate::run::{Result, have, output, run};
use std::path::Path;
use std::process::Command;

/// A program that tests use.
struct Need {
    program: &'static str,
    /// Debian's package of it.
    package: &'static str,
    /// What is not tested without it.
    tests: &'static str,
}

const NEEDS: &[Need] = &[
    Need { program: "cc", package: "gcc", tests: "everything: Rust programs are linked by it" },
    Need { program: "fusermount3", package: "fuse3", tests: "mounts as an ordinary user" },
    Need { program: "diodcat", package: "diod", tests: "the tree read by diod's 9P2000.L client" },
    Need { program: "python3", package: "python3", tests: "the tree used by a 9P2000.L client in Python" },
    Need { program: "setpriv", package: "util-linux", tests: "what other users may and may not do" },
    Need {
        program: "ip",
        package: "iproute2",
        tests: "nodes on several machines, which are network namespaces",
    },
    Need {
        program: "unshare",
        package: "util-linux",
        tests: "nodes on several machines, which are network namespaces",
    },
    Need { program: "ssh", package: "openssh-client", tests: "uem join ssh!HOST, and links over ssh" },
    Need { program: "sshd", package: "openssh-server", tests: "uem join ssh!HOST, and links over ssh" },
    Need { program: "pdsh", package: "pdsh", tests: "the benches' fan-out beside pdsh" },
    Need { program: "clush", package: "clustershell", tests: "the benches' fan-out beside clush" },
    Need { program: "ps", package: "procps", tests: "that programs leave no processes behind" },
];

/// Where Python's 9P client is put; tests find it by this path below the repository.
pub(crate) const VENV: &str = "target/venv";
const P9FS: &str = "p9fs==0.0.4";

/// Makes the machine fit for the tests; tells of all that it lacks and cannot have.
pub(crate) fn prepare(root: &Path) {
    let mut missing: Vec<&Need> = NEEDS.iter().filter(|need| !have(need.program)).collect();
    if !missing.is_empty() {
        let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
        println!("missing here: {}", packages.join(" "));
        if let Err(error) = install(&packages) {
            println!("cannot install: {error}");
        }
        missing.retain(|need| !have(need.program));
    }
    for need in missing {
        skipped(&format!("no {} (apt-get install {})", need.program, need.package), need.tests);
    }
    if !Path::new("/dev/fuse").exists() {
        skipped("no /dev/fuse (modprobe fuse, or give the container the device)", "every mount");
    }
    if !am_root() {
        skipped("not root", "mounts for all users, and programs run as other users");
    }
    if have("python3")
        && let Err(error) = python(root)
    {
        skipped(&error, "the tree used by a 9P2000.L client in Python");
    }
}

fn skipped(cause: &str, tests: &str) {
    println!("SKIPPED: {cause}; not tested: {tests}");
}

fn am_root() -> bool {
    output(Command::new("id").arg("-u")).is_some_and(|uid| uid.trim() == "0")
}

fn install(packages: &[&str]) -> Result<()> {
    if !have("apt-get") {
        return Err("there is no apt-get here".into());
    }
    if !am_root() {
        return Err(format!("apt-get needs root; run: sudo apt-get install -y {}", packages.join(" ")));
    }
    let apt = |args: &[&str]| {
        run(Command::new("apt-get").arg("-q").args(args).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"], packages].concat())
}

/// A Python of our own with the client in it.
fn python(root: &Path) -> Result<()> {
    let venv = root.join(VENV);
    let python = venv.join("bin/python3");
    let fits = || output(Command::new(&python).args(["-c", "import py9p, p9fs"])).is_some();
    if fits() {
        return Ok(());
    }
    println!("missing here: {P9FS} in {VENV}");
    let make = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    // Debian's python3 can make no venv without a package of its own.
    make().or_else(|_| install(&["python3-venv"]).and_then(|()| make()))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", P9FS]))?;
    if fits() { Ok(()) } else { Err(format!("{P9FS} was installed and cannot be imported")) }
}
