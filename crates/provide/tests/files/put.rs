//! Contents of the store that become files.

use crate::asking::{Asker, is_root, me, user};
use op::{Errno, Reply, Tag, User, Wall};
use provide::files::Put;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::Arc;

const ONE: u32 = 71_001;

struct Bench {
    dir: tempfile::TempDir,
    asker: Asker,
    tag: u64,
}

impl Bench {
    fn new() -> Bench {
        Bench { dir: tempfile::tempdir().unwrap(), asker: Asker::new(), tag: 1 << 32 }
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().into()
    }

    fn put(&mut self, user: &Arc<User>, path: &str, data: &[u8], mode: Option<u32>) -> Reply {
        let mut from = tempfile::tempfile().unwrap();
        from.write_all(data).unwrap();
        self.put_file(user, path, from, data.len() as u64, mode)
    }

    fn put_file(
        &mut self,
        user: &Arc<User>,
        path: &str,
        mut from: File,
        size: u64,
        mode: Option<u32>,
    ) -> Reply {
        std::io::Seek::rewind(&mut from).unwrap();
        self.tag += 1;
        let put = Put { from, size, path: path.into(), mode, mtime: Some(Wall(1_000_000_000_000_000_007)) };
        self.asker.files.put(Tag(self.tag), put, user);
        self.asker.wait(Tag(self.tag))
    }

    /// What is in the directory.
    fn names(&self) -> Vec<String> {
        let names =
            fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

fn refused(reply: &Reply, errno: Errno, words: &str) {
    match reply {
        Reply::Failed(error) => assert!(error.errno == errno && error.cause.contains(words), "{error:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_is_there_whole_with_its_mode_and_time() {
    let mut bench = Bench::new();
    let data: Vec<u8> = (0..3_000_003_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let path = bench.at("new");
    assert_eq!(bench.put(&me(), &path, &data, Some(0o751)), Reply::Done);
    let meta = fs::metadata(&path).unwrap();
    assert!(fs::read(&path).unwrap() == data);
    assert_eq!((meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec()), (0o751, 1_000_000_000, 7));
    // In place of it: whoever has the old one open goes on reading that.
    let old = File::open(&path).unwrap();
    assert_eq!(bench.put(&me(), &path, b"", None), Reply::Done);
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.len(), meta.mode() & 0o7777), (0, 0o751), "it keeps its mode");
    assert_eq!(old.metadata().unwrap().len(), data.len() as u64);
    let odd = bench.at("a\nb \u{f7ed}");
    assert_eq!(bench.put(&me(), &odd, b"x", None), Reply::Done);
    assert!(fs::metadata(bench.at("a\nb ")).is_err());
    let name = std::os::unix::ffi::OsStringExt::from_vec(b"a\nb \xed".to_vec());
    assert_eq!(fs::read(bench.dir.path().join::<std::ffi::OsString>(name)).unwrap(), b"x");
}

#[test]
fn what_cannot_be_put_leaves_what_was_there() {
    let mut bench = Bench::new();
    let (file, dir, fifo) = (bench.at("file"), bench.at("dir"), bench.at("fifo"));
    fs::write(&file, "old").unwrap();
    fs::create_dir(&dir).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &*fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let before = bench.names();
    let missing = bench.at("no/such");
    refused(&bench.put(&me(), &missing, b"x", None), Errno::NOENT, "cannot go to");
    refused(&bench.put(&me(), &dir, b"x", None), Errno::ISDIR, "cannot write");
    refused(&bench.put(&me(), &format!("{file}/x"), b"x", None), Errno::NOTDIR, "cannot");
    refused(&bench.put(&me(), &fifo, b"x", None), Errno::EXIST, "a pipe");
    refused(&bench.put(&me(), "/", b"x", None), Errno::ISDIR, "cannot write /");
    refused(&bench.put(&me(), &format!("{dir}/"), b"x", None), Errno::ISDIR, "cannot write");
    refused(&bench.put(&me(), &format!("{dir}/.."), b"x", None), Errno::EXIST, "cannot write");
    refused(&bench.put(&me(), &format!("{dir}/x\0y"), b"x", None), Errno::INVAL, "cannot write");
    refused(&bench.put(&me(), "/proc/self/fd/x", b"x", None), Errno::ACCES, "cannot go to");
    refused(&bench.put(&me(), &"/x".repeat(600), b"x", None), Errno::NAMETOOLONG, "cannot write");
    // It ends before its size: somebody has cut the store's file.
    let mut short = tempfile::tempfile().unwrap();
    short.write_all(b"half").unwrap();
    refused(&bench.put_file(&me(), &file, short, 8, None), Errno::IO, "cannot write");
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(bench.names(), before, "nothing is left of it");
    assert!(fs::read_dir(&dir).unwrap().next().is_none());
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    if !is_root() || !Path::new("/dev/full").exists() {
        return;
    }
    let mut bench = Bench::new();
    let small = bench.at("small");
    fs::create_dir(&small).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "uem-test", &small])
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("not tried: no mount");
        return;
    }
    let file = format!("{small}/file");
    fs::write(&file, "old").unwrap();
    let reply = bench.put(&me(), &file, &vec![7; 1 << 20], None);
    let (left, old) = (fs::read_dir(&small).unwrap().count(), fs::read_to_string(&file).unwrap());
    let unmounted = std::process::Command::new("umount").arg(&small).status().unwrap();
    refused(&reply, Errno::NOSPC, "No space left");
    assert_eq!((left, old.as_str()), (1, "old"));
    assert!(unmounted.success());
}

#[test]
fn links_are_followed_and_stay_links() {
    let mut bench = Bench::new();
    let at = |bench: &Bench, name: &str| bench.at(name);
    fs::create_dir(at(&bench, "real")).unwrap();
    fs::write(at(&bench, "real/f"), "old").unwrap();
    symlink("real", at(&bench, "dir")).unwrap();
    symlink("real/f", at(&bench, "link")).unwrap();
    symlink("nowhere", at(&bench, "dangling")).unwrap();
    let (through, link, dangling) = (at(&bench, "dir/g"), at(&bench, "link"), at(&bench, "dangling"));
    assert_eq!(bench.put(&me(), &through, b"g", None), Reply::Done);
    assert_eq!(fs::read_to_string(at(&bench, "real/g")).unwrap(), "g");
    assert_eq!(bench.put(&me(), &link, b"new", None), Reply::Done);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(at(&bench, "real/f")).unwrap(), "new");
    refused(&bench.put(&me(), &dangling, b"x", None), Errno::NOENT, "cannot write");
}

#[test]
fn it_is_written_with_the_rights_of_whoever_asks() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::new();
    fs::set_permissions(bench.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let one = user(ONE, &[ONE]);
    let (his, roots) = (bench.at("his"), bench.at("roots"));
    fs::create_dir(&his).unwrap();
    chown(&his, Some(ONE), Some(ONE)).unwrap();
    fs::write(&roots, "root's").unwrap();
    let mine = format!("{his}/f");
    assert_eq!(bench.put(&one, &mine, b"f", Some(0o600)), Reply::Done);
    assert_eq!(fs::metadata(&mine).unwrap().uid(), ONE);
    refused(&bench.put(&one, &roots, b"mine", None), Errno::ACCES, "u71001 cannot write beside");
    assert_eq!(fs::read_to_string(&roots).unwrap(), "root's");
    assert_eq!(bench.put(&me(), &mine, b"g", None), Reply::Done);
    assert_eq!(fs::metadata(&mine).unwrap().uid(), ONE, "what was his stays his");
    refused(&bench.put(&user(op::Uid::FOREIGN.0, &[0]), &mine, b"x", None), Errno::ACCES, "no account");
    // Many at once, more than there are threads.
    for n in 0..300 {
        let path = format!("{his}/many{n}");
        assert_eq!(bench.put(&one, &path, n.to_string().as_bytes(), None), Reply::Done);
    }
    assert_eq!(fs::read_dir(&his).unwrap().count(), 301);
}
