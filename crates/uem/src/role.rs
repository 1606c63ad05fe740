//! The two roles in the background: `uem keeper` and `uem node`. Nobody types them; `uem up` does.

use crate::failure::{Failure, Outcome, say};
use crate::start::NodeArgs;
use host::dial::Addr;
use host::{Local, Node, Settings};
use link::identity::{Home, Who};
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
    provide::keep_memory();
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
    let name = name(args)?;
    let links = links(args)?;
    if args.link.as_deref() == Some(NONE) {
        // Nor where it did before.
        let _there_was_none = std::fs::remove_file(crate::invite::trust(&args.dir).join("listen"));
    }
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
    labels.extend(args.link.iter().filter(|link| *link == NONE).map(|none| ("link".into(), none.clone())));
    labels.extend(mount.iter().map(|dir| ("mount".into(), dir.display().to_string())));
    Ok(Settings {
        name,
        state: args.dir.clone(),
        mount,
        ninep: ninep.map_err(Failure::misuse)?,
        labels,
        env: environment(),
        stdio: args.stdio,
        link: links.listen,
        parents: links.parents,
        parent_auto: links.auto,
        beat: links.beat,
        fs: args.fs,
        store: store(args)?,
        loc: args.loc.clone(),
    })
}

/// How much of what programs are given is kept.
pub(crate) fn store(args: &NodeArgs) -> Result<Option<u64>, Failure> {
    let parse = |text: &String| {
        op::parse_size(text)
            .ok_or_else(|| Failure::misuse(format!("--store {text:?} is no size; write 4G or 500M")))
    };
    args.store.as_ref().map(parse).transpose()
}

/// As it was told; else as the others know it; else as its host.
fn name(args: &NodeArgs) -> Result<String, Failure> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => match Home::open(&args.dir)?.who() {
            Some(Who::Node { name, .. }) => name,
            Some(Who::User { .. }) | None => host::host_name(),
        },
    };
    check_name(&name).map(|()| name)
}

/// What flags say of links, understood.
pub(crate) struct Links {
    listen: Option<Addr>,
    parents: Vec<Addr>,
    auto: bool,
    beat: Duration,
}

/// For `--link`: nowhere.
pub(crate) const NONE: &str = "none";
/// For `--parent`: one of the same trust domain on the local network.
const AUTO: &str = "auto";
/// Between heartbeats, unless told otherwise.
const BEAT: Duration = Duration::from_secs(1);

/// Understands what flags say of links.
pub(crate) fn links(args: &NodeArgs) -> Result<Links, Failure> {
    let parse = |text: &String| Addr::parse_link(text).map_err(Failure::misuse);
    let listen = args.link.as_ref().filter(|link| *link != NONE).map(parse).transpose()?;
    if let Some(Addr::Ssh(host)) = &listen {
        return Err(Failure::misuse(format!("--link ssh!{host}: listen at tls!*!PORT or tls!host!port")));
    }
    let (auto, named): (Vec<&String>, Vec<&String>) = args.parent.iter().partition(|parent| *parent == AUTO);
    let parents = named.into_iter().map(parse).collect::<Result<_, _>>()?;
    let beat = match &args.beat {
        None => BEAT,
        Some(text) => {
            let beat = text.parse::<f64>().ok().and_then(|secs| Duration::try_from_secs_f64(secs).ok());
            let beat = beat.filter(|beat| link::wire::BEATS.contains(beat));
            beat.ok_or_else(|| {
                Failure::misuse(format!("--beat {text:?} is no number of seconds from 0.01 to 60"))
            })?
        }
    };
    if let Some(loc) = &args.loc {
        let fine =
            |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(char::is_whitespace);
        if !loc.split('/').all(fine) {
            return Err(Failure::misuse(format!("--loc {loc:?} is no place; write site/room/rack")));
        }
    }
    Ok(Links { listen, parents, auto: !auto.is_empty(), beat })
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
    fn links_are_understood() {
        let args = |link: Option<&str>, parents: &[&str], beat: Option<&str>, loc: Option<&str>| NodeArgs {
            link: link.map(String::from),
            parent: parents.iter().map(ToString::to_string).collect(),
            beat: beat.map(String::from),
            loc: loc.map(String::from),
            ..NodeArgs::default()
        };
        let all =
            links(&args(Some("tls!*!7"), &["gw:7", "auto", "ssh!gw"], Some("0.1"), Some("a/b"))).unwrap();
        assert_eq!(all.listen, Some(Addr::Tls("*".into(), 7)));
        assert_eq!(all.parents, [Addr::Tls("gw".into(), 7), Addr::Ssh("gw".into())]);
        assert!(all.auto && all.beat == Duration::from_millis(100));
        let none = links(&args(Some("none"), &[], None, None)).unwrap();
        assert!(none.listen.is_none() && !none.auto && none.beat == BEAT);
        for wrong in [
            args(Some("tcp!a!1"), &[], None, None),
            args(Some("ssh!a"), &[], None, None),
            args(None, &["none"], None, None),
            args(None, &["/a"], None, None),
            args(None, &[], Some("0"), None),
            args(None, &[], Some("-1"), None),
            args(None, &[], Some("x"), None),
            args(None, &[], None, Some("a//b")),
            args(None, &[], None, Some("../b")),
        ] {
            assert_eq!(links(&wrong).err().map(|failure| failure.status), Some(crate::failure::MISUSE));
        }
    }

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
