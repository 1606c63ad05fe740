//! Running other programs: each is shown as it is started, and what it says is passed on as it says it.

use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A sentence that says what went wrong.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// This cargo.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs to the end; an error if that was not a success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    show(command);
    let status = command.stdin(Stdio::null()).status().map_err(|e| format!("{}: {e}", line(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", line(command))) }
}

/// The same, and gives each line of stdout to `hear` after it was passed on. Whether it was a success.
pub(crate) fn listen(command: &mut Command, mut hear: impl FnMut(&str)) -> Result<bool> {
    show(command);
    let failed = |e: std::io::Error, command: &Command| format!("{}: {e}", line(command));
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|e| failed(e, command))?;
    let mut from = child.stdout.take().expect("stdout is a pipe");
    let (mut buffer, mut partial) = ([0; 8192], Vec::new());
    loop {
        let n = from.read(&mut buffer).map_err(|e| failed(e, command))?;
        if n == 0 {
            break;
        }
        let mut stdout = std::io::stdout().lock();
        let _nobody_reads = stdout.write_all(&buffer[..n]).and_then(|()| stdout.flush());
        partial.extend(&buffer[..n]);
        while let Some(end) = partial.iter().position(|b| *b == b'\n') {
            hear(&String::from_utf8_lossy(&partial[..end]));
            partial.drain(..=end);
        }
    }
    hear(&String::from_utf8_lossy(&partial));
    Ok(child.wait().map_err(|e| failed(e, command))?.success())
}

/// Builds programs with this `cargo build` and says where they are. Where that is depends on settings of cargo's
/// that are not ours to know.
pub(crate) fn build<const N: usize>(command: &mut Command, programs: [&str; N]) -> Result<[PathBuf; N]> {
    show(command);
    command.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stderr(Stdio::inherit());
    let out = command.output().map_err(|e| format!("{}: {e}", line(command)))?;
    if !out.status.success() {
        return Err(format!("{}: {}", line(command), out.status));
    }
    let messages = out.stdout.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice::<Value>(l).ok());
    let built: Vec<Value> = messages.filter(|message| message["executable"].is_string()).collect();
    let mut paths = programs.map(|_| PathBuf::new());
    for (path, program) in paths.iter_mut().zip(programs) {
        let made = built.iter().find(|message| message["target"]["name"] == program);
        let made = made.and_then(|message| message["executable"].as_str());
        *path = made.ok_or_else(|| format!("cargo does not say where it built {program}"))?.into();
    }
    Ok(paths)
}

/// What it prints, if it is there and succeeds.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let out = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Whether a program is in `PATH`, or where root's programs are.
pub(crate) fn have(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| Path::new(dir).join(program).is_file())
}

fn show(command: &Command) {
    println!("$ {}", line(command));
}

fn line(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let words = command.get_args().map(|word| {
        let word = word.to_string_lossy();
        if word.contains([' ', '$', ';']) { format!("'{word}'") } else { word.into_owned() }
    });
    std::iter::once(name.into_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
