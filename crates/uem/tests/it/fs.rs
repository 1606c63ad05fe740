//! Another machine's files through a mount: what `mv` and `ln -s` do there.

use crate::home::{Home, eventually};
use std::fs;
use std::io::ErrorKind;

#[test]
fn files_of_another_node_are_renamed_through_a_mount() {
    let (n1, n2) = (Home::node("n1", &["--link", "tls!127.0.0.1!0", "--fs"]), Home::node("n2", &["--fs"]));
    n2.join(&n1);
    eventually("both are there", || n1.run(&["ls", "net"]).out == "n1\nn2\n");
    let mount = n1.dir.path().join("mnt");
    let mounted = n1.run(&["mount", mount.to_str().unwrap()]);
    if mounted.status != 0 && mounted.err.contains("fuse") {
        return; // a machine without FUSE
    }
    assert_eq!(mounted.status, 0, "{}", mounted.err);
    let dir = tempfile::tempdir().unwrap();
    let here = |name: &str| dir.path().join(name);
    let at = |node: &str, name: &str| {
        let path = here(name);
        mount.join("net").join(node).join("fs").join(path.strip_prefix("/").unwrap())
    };
    fs::create_dir(here("sub")).unwrap();
    fs::write(at("n2", "a"), "a").unwrap();
    fs::write(at("n2", "b"), "b").unwrap();
    fs::rename(at("n2", "a"), at("n2", "b")).unwrap();
    assert_eq!(fs::read_to_string(here("b")).unwrap(), "a");
    fs::rename(at("n2", "b"), at("n2", "sub/c")).unwrap();
    assert_eq!(fs::read_to_string(at("n2", "sub/c")).unwrap(), "a");
    assert!(!here("b").exists());
    let other = fs::rename(at("n2", "sub/c"), at("n1", "c")).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::CrossesDevices, "the two nodes may have one disk, but who knows");
    let core = fs::rename(at("n2", "sub/c"), mount.join("net/n2/c")).unwrap_err();
    assert_eq!(core.kind(), ErrorKind::CrossesDevices, "{core}");
    std::os::unix::fs::symlink("sub/c", at("n2", "link")).unwrap();
    assert_eq!(fs::read_link(here("link")).unwrap().to_str(), Some("sub/c"));
    assert_eq!(fs::read_link(at("n2", "link")).unwrap().to_str(), Some("sub/c"));
    assert_eq!(fs::read_to_string(at("n2", "link")).unwrap(), "a", "it leads to where it says");
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(at("n2", "sub/c")).unwrap().set_modified(time).unwrap();
    assert_eq!(fs::metadata(here("sub/c")).unwrap().modified().unwrap(), time);
    assert!(std::process::Command::new("touch").arg(at("n2", "sub/c")).status().unwrap().success());
    assert!(fs::metadata(here("sub/c")).unwrap().modified().unwrap() > time, "touch(1) gives no time");
    assert_eq!(n1.run(&["umount", mount.to_str().unwrap()]).status, 0);
}
