//! The two roles in the background: `uem keeper` and `uem node`. Nobody types them; `uem up` does.

use crate::failure::{Failure, Outcome, say};
use crate::start::NodeArgs;
use host::dial::Addr;
use host::{Local, Node, Settings};
use provide::keeper::Inheritance;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// A node that lived this long did not die of its start.
const LIVED: Duration = Duration::from_secs(10);

/// Becomes the keeper of a node, in a session of its own, so that no terminal's signals reach it.
pub(crate) fn keeper(args: &NodeArgs) -> Outcome {
    // Fails for the leader of a process group, which `uem up --foreground` is: that one wants to hear ^C.
    let _is_a_leader = rustix::process::setsid();
    keep(args)
}

/// Keeps a node, in whatever session this is.
pub(crate) fn keep(args: &NodeArgs) -> Outcome {
    let config = provide::keeper::Config { state: args.dir.clone(), node: args.words("node")?, lived: LIVED };
    let Err(error) = provide::keeper::run(config);
    Err(match error.kind() {
        std::io::ErrorKind::WouldBlock => Failure::new(format!("a node uses {} already", args.dir.display())),
        _ => Failure::new(format!("the keeper failed: {error}")),
    })
}

/// Is the node, until it is told to stop.
pub(crate) fn node(args: &NodeArgs) -> Outcome {
    let inherited = Inheritance::from_env()?;
    let settings = settings(args)?;
    let config = provide::process::Config {
        state: settings.state.clone(),
        node: settings.name.clone(),
        keeper: inherited,
    };
    let processes = provide::process::Processes::new(config).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Failure::new(format!("a node uses {} already", args.dir.display())),
        _ => Failure::new(format!("programs cannot be run: {error}")),
    })?;
    let provider = Local { processes, keeper: args.words("keeper")?, alone: false };
    let mut node = Node::open(settings, provider).map_err(Failure::new)?;
    let _stopped = node.run().map_err(Failure::new)?;
    Ok(0)
}

fn settings(args: &NodeArgs) -> Result<Settings, Failure> {
    let name = args.name.clone().unwrap_or_else(host::host_name);
    check_name(&name)?;
    let ninep: Result<Vec<Addr>, String> = args.ninep.iter().map(|text| Addr::parse(text)).collect();
    let mut labels = args.label.iter().map(|text| label(text)).collect::<Result<Vec<_>, _>>()?;
    let mount = args.mount.clone().filter(|dir| match fuse::Mount::new(dir) {
        Ok(_only_tried) => true,
        // It worked when `uem up` tried. A node that is started again must not die of it.
        Err(error) => {
            say("node", &format!("going on without a mount: {error}"));
            false
        }
    });
    labels.extend(mount.iter().map(|dir| ("mount".into(), dir.display().to_string())));
    Ok(Settings {
        name,
        state: args.dir.clone(),
        mount,
        ninep: ninep.map_err(Failure::misuse)?,
        labels,
        env: environment(),
        stdio: args.stdio,
    })
}

/// A node's name is one element of a path, and one word. Numbers are sessions.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let a_name = |c: char| c != '.' && !c.is_ascii_digit();
    match name.chars().all(plain) && name.chars().any(a_name) && name.len() <= 64 {
        true => Ok(()),
        false => Err(Failure::misuse(format!(
            "--name {name:?}: letters, digits and - _ . up to 64, and not digits alone"
        ))),
    }
}

/// `key=value`.
pub(crate) fn label(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(Failure::misuse(format!("--label {text:?} is not KEY=VALUE"))),
    }
}

/// What programs get of our environment. Whoever runs one sends his own along; this is for all the others, and
/// what belongs to the terminal that the node was started from must not leak into them.
fn environment() -> Vec<Vec<u8>> {
    let shared = |name: &str| matches!(name, "PATH" | "LANG" | "TZ" | "TMPDIR") || name.starts_with("LC_");
    let all = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(shared));
    all.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels() {
        for name in ["node01", "a.b-c_d"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "..", "a/b", "a b", "12", "1.2"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert_eq!(label("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert!(label("a").is_err() && label("=b").is_err());
    }
}
