//! Peers: where they are, how they are installed, how they are run. None is needed: what is absent says so in its row.

use crate::cost::Meter;
use crate::table::{Outcome, Racer, Sample, Who};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program in `$PATH` or where daemons are.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// How to get one that is not there.
pub(crate) fn absent(package: &str) -> String {
    format!("not installed: apt install {package}")
}

/// HyperQueue's Python, in `target/bench/venv`.
pub(crate) fn hyperqueue() -> Result<PathBuf, String> {
    let venv = crate::world::results().join("venv");
    let installed = std::fs::read_dir(venv.join("lib")).into_iter().flatten().flatten();
    let mut installed = installed.map(|lib| lib.path().join("site-packages/hyperqueue"));
    match installed.any(|path| path.is_dir()) {
        true => Ok(venv.join("bin/python")),
        false => Err("not installed: benches setup".into()),
    }
}

/// Installs what can be installed without root, and says how to get the rest.
pub(crate) fn setup() -> Outcome<()> {
    let venv = crate::world::results().join("venv");
    std::fs::create_dir_all(crate::world::results())?;
    if hyperqueue().is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "hyperqueue"]))?;
    }
    let missing: Vec<&str> = [
        ("xargs", "findutils"),
        ("parallel", "parallel"),
        ("diod", "diod"),
        ("sshd", "openssh-server"),
        ("pdsh", "pdsh"),
        ("clush", "clustershell"),
        ("ss", "iproute2"),
    ]
    .into_iter()
    .filter(|(name, _)| find(name).is_none())
    .map(|(_, package)| package)
    .collect();
    match missing.is_empty() {
        true => println!("all peers are installed"),
        false => println!("apt-get install --no-install-recommends {}", missing.join(" ")),
    }
    if let Err(why) = crate::world::uem() {
        println!("uem is {why}");
    }
    Ok(())
}

pub(crate) fn run(command: &mut Command) -> Outcome<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// A peer that is given a line for each run on its stdin.
pub(crate) fn by_lines<'a>(
    name: &str,
    package: &str,
    count: usize,
    folder: &'a Path,
    words: Vec<std::ffi::OsString>,
) -> Racer<'a> {
    let title = format!("{name}, {count} runs");
    let Some(path) = find(&words[0].to_string_lossy()) else {
        return Racer::absent(Who::Peer, title, absent(package));
    };
    Racer::new(Who::Peer, title, move || {
        std::fs::write(folder.join("lines"), "x\n".repeat(count))?;
        let lines = std::fs::File::open(folder.join("lines"))?;
        let out = std::fs::File::create(folder.join("out"))?;
        let meter = Meter::start(&[]);
        run(Command::new(&path).args(&words[1..]).stdin(lines).stdout(out))?;
        let bytes = std::fs::read(folder.join("out"))?;
        assert!(bytes.is_empty() || bytes.len() == 3 * count, "every output is there");
        Ok(Sample { values: vec![count as f64 / meter.seconds()], cpu_us: meter.cpu_us(count) })
    })
}

/// HyperQueue, by its Python interface: what `programs/hq.py` prints.
pub(crate) fn hq<'a>(mode: &'a str, count: usize, program: Vec<std::ffi::OsString>) -> Racer<'a> {
    let title = format!("HyperQueue (PyPI), {count} runs");
    match hyperqueue() {
        Err(why) => Racer::absent(Who::Peer, title, why),
        Ok(python) => Racer::new(Who::Peer, title, move || {
            let told = hq_run(&python, mode, count, &program)?;
            let number = |key: &str| told[key].as_f64().unwrap_or(f64::NAN);
            Ok(Sample { values: vec![number("rate")], cpu_us: number("cpu_us") })
        }),
    }
}

/// Runs the script once.
pub(crate) fn hq_run(
    python: &Path,
    mode: &str,
    count: usize,
    program: &[std::ffi::OsString],
) -> Outcome<serde_json::Value> {
    let folder = crate::world::folder()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/hq.py");
    let mut command = Command::new(find("timeout").ok_or("timeout (coreutils) is not there")?);
    command.args(["-s", "KILL", "120"]).arg(python).arg(script).arg(mode).arg(count.to_string());
    command.arg(folder.path()).arg("--").args(program).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with('{')).ok_or("it printed no result")?;
    Ok(serde_json::from_str(line)?)
}
